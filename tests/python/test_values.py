"""Values and gradients of every feature against double precision."""
import itertools

import pytest
import torch
from flash_cosine_sim_attention import flash_cosine_sim_attention

import reference
from reference import BF16, F16, F32, assert_close, gradients, qkv

DTYPES = pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=["f32", "f16", "bf16"])


def check(inputs, dtype=F32, bias=None, factor=1.0, reference_bias=None, **options):
    """Output and gradients of q, k and v, and of the bias and the scale where they want one."""
    scale = options.pop("scale", 8.0)
    extra = [t for t in (bias, scale) if isinstance(t, torch.Tensor) and t.requires_grad]
    dout = torch.randn_like(inputs[0])
    named = {key: value for key, value in options.items() if key not in ("attn_bias_batch_dim", "deterministic", "logit_bound")}
    out = flash_cosine_sim_attention(*inputs, attn_bias=bias, scale=scale, **options)
    wanted = reference.attention(*inputs, bias=bias if reference_bias is None else reference_bias(bias), scale=scale, **named)
    assert out.shape == inputs[0].shape and out.dtype == dtype
    assert_close(out, wanted, dtype, factor)
    got = torch.autograd.grad(out, [*inputs, *extra], dout)
    exact = torch.autograd.grad(wanted, [*inputs, *extra], dout.double())
    for g, e, t in zip(got, exact, [*inputs, *extra]):
        assert g.shape == t.shape and g.dtype == t.dtype
        assert_close(g, e, dtype, 2 * factor)


@DTYPES
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rows,columns", [(33, 33), (17, 40), (40, 17), (1, 65), (130, 5)])
def test_lengths(device, dtype, causal, rows, columns):
    check(qkv(device, (2, 3, rows, 64), columns=columns, dtype=dtype, requires_grad=True), dtype, causal=causal)


@DTYPES
@pytest.mark.parametrize("head_dim", [16, 32, 64, 96, 128, 256])
def test_head_dims(device, dtype, head_dim):
    check(qkv(device, (1, 2, 20, head_dim), dtype=dtype, requires_grad=True), dtype, causal=True)


@pytest.mark.parametrize("groups,head_dim", [(2, 64), (4, 64), (8, 32), (4, 40), (3, 48), (5, 40), (1, 8), (1, 1), (1, 72), (2, 10)])
def test_groups_and_head_dims_that_are_padded(device, groups, head_dim):
    factor = 20 if head_dim == groups else 2  # a channel over its norm is 1: gradients are roundings alone
    check(qkv(device, (2, 2, 20, head_dim), requires_grad=True), groups=groups, factor=factor)
    check(qkv(device, (2, 2, 20, head_dim), requires_grad=True), groups=groups, causal=True, scale=2.0, factor=factor)


@DTYPES
def test_masks_of_keys_with_and_without_causal(device, dtype):
    for causal in (False, True):
        mask = torch.rand(2, 33, device=device) > 0.4
        check(qkv(device, dtype=dtype, requires_grad=True), dtype, mask=mask, causal=causal)
    check(qkv(device, requires_grad=True), mask=torch.rand(2, 66, device=device)[:, ::2] > 0.4)
    one = torch.rand(1, 33, device=device) > 0.4
    inputs = qkv(device)
    out = flash_cosine_sim_attention(*inputs, mask=one)
    assert_close(out, reference.attention(*inputs, mask=one.expand(2, -1)))


def test_a_row_that_sees_nothing_is_zero_and_so_are_its_gradients(device):
    q, k, v = inputs = qkv(device, (2, 2, 9, 32), columns=4, requires_grad=True)
    mask = torch.tensor([[False] * 4, [True] * 4], device=device)
    out = flash_cosine_sim_attention(q, k, v, mask, causal=True)
    assert (out[0] == 0).all() and (out[1, :, :5] == 0).all() and (out[1, :, 5:] != 0).any()
    dq, dk, dv = torch.autograd.grad(out, inputs, torch.ones_like(out))
    assert all(torch.isfinite(g).all() for g in (dq, dk, dv))
    assert (dq[0] == 0).all() and (dq[1, :, :5] == 0).all() and (dk[0] == 0).all() and (dv[0] == 0).all()
    bias = torch.zeros(9, 4, device=device, dtype=torch.bool)
    bias[3:] = True
    out = flash_cosine_sim_attention(q, k, v, attn_bias=bias)
    assert (out[:, :, :3] == 0).all() and (out[:, :, 3:] != 0).any()
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(out, inputs, torch.ones_like(out)))


@pytest.mark.parametrize("kv_heads", [1, 2, 3, 6])
def test_grouped_key_value_heads(device, kv_heads):
    check(qkv(device, (2, 6, 21, 32), kv_heads=kv_heads, requires_grad=True), causal=True)


def test_one_head_of_keys_and_values_without_an_axis_for_it(device):
    q, k, v = qkv(device, (2, 4, 21, 32), kv_heads=1, requires_grad=True)
    dout = torch.randn_like(q)
    run = lambda q, k, v: flash_cosine_sim_attention(q, k[:, 0], v[:, 0], causal=True)
    exact = lambda q, k, v: reference.attention(q, k, v, causal=True)
    assert_close(run(q, k, v), exact(q, k, v))
    for got, wanted in zip(gradients(run, (q, k, v), dout), gradients(exact, (q, k, v), dout)):
        assert_close(got, wanted, factor=2)


def test_merged_batch_and_heads_with_mask_and_bias(device):
    q, k, v = qkv(device, (6, 1, 21, 32), columns=30, requires_grad=True)
    mask = torch.rand(6, 30, device=device) > 0.3
    bias = torch.randn(6, 21, 30, device=device, requires_grad=True)
    dout = torch.randn(6, 1, 21, 32, device=device)
    for flag in (False, True):
        run = lambda q, k, v, b: flash_cosine_sim_attention(q[:, 0], k[:, 0], v[:, 0], mask, b, causal=True,
                                                            attn_bias_batch_dim=flag)[:, None]
        exact = lambda q, k, v, b: reference.attention(q, k, v, mask, b[:, None], causal=True)
        assert_close(run(q, k, v, bias), exact(q, k, v, bias))
        for got, wanted in zip(gradients(run, (q, k, v, bias), dout), gradients(exact, (q, k, v, bias), dout)):
            assert_close(got, wanted, factor=3)


@DTYPES
@pytest.mark.parametrize("shape,batch_dim", [
    ((3, 13, 17), False), ((2, 13, 17), True), ((2, 3, 13, 17), False), ((1, 3, 13, 17), False), ((2, 1, 13, 17), False),
    ((13, 17), False), ((3, 1, 17), False), ((2, 3, 13, 1), False), ((1, 1, 1, 17), False)])
def test_bias_and_its_gradient_with_every_broadcast(device, dtype, shape, batch_dim):
    bias = torch.randn(shape, device=device).to(dtype).requires_grad_()
    with_axes = (lambda b: b[:, None]) if batch_dim else None
    factor = 20 if shape[-1] == 1 else 2  # the same for all keys: the gradient is roundings alone
    check(qkv(device, (2, 3, 13, 32), columns=17, dtype=dtype, requires_grad=True), dtype, bias, factor=factor, reference_bias=with_axes,
          attn_bias_batch_dim=batch_dim, causal=True)


def test_a_bias_that_is_expanded_along_every_axis(device):
    inputs = qkv(device, (2, 3, 13, 32), requires_grad=True)
    row = torch.randn(1, 1, 1, 13, device=device)
    for shape in ((1, 1, 13, 13), (2, 1, 13, 13), (1, 3, 13, 13), (2, 3, 13, 13)):
        check(inputs, bias=row.expand(shape))
        leaf = row.clone().requires_grad_()
        out = flash_cosine_sim_attention(*inputs, attn_bias=leaf.expand(shape))
        exact = reference.attention(*inputs, bias=leaf)
        dout = torch.randn_like(out)
        assert_close(torch.autograd.grad(out, leaf, dout)[0], torch.autograd.grad(exact, leaf, dout.double())[0], factor=10)


def test_bias_of_other_dtypes_and_strides(device):
    inputs = qkv(device, (2, 3, 13, 32), dtype=BF16, requires_grad=True)
    for bias in (torch.randn(3, 13, 13, device=device), torch.randn(3, 13, 13, device=device, dtype=F16),
                 torch.randn(3, 13, 13, device=device, dtype=torch.float64), torch.randn(3, 13, 26, device=device)[..., ::2],
                 torch.randn(3, 13, 20, device=device)[..., :13], torch.randn(13, 13, 3, device=device).permute(2, 0, 1)):
        check(inputs, BF16, bias)
        check(inputs, BF16, bias.detach().requires_grad_())


def test_the_gradient_of_the_bias_is_computed_only_where_it_is_wanted(device, monkeypatch):
    from flash_cosine_sim_attention import execute
    wanted, run_backward = [], execute.run_backward
    monkeypatch.setattr(execute, "run_backward", lambda *a: wanted.append(a[-2:]) or run_backward(*a))
    inputs = qkv(device, (2, 3, 13, 32), requires_grad=True)
    for requires in (False, True):
        bias = torch.randn(3, 13, 13, device=device, requires_grad=requires)
        flash_cosine_sim_attention(*inputs, attn_bias=bias).sum().backward()
        assert (bias.grad is not None) == requires
    assert [tuple(w) for w in wanted] == [(False, False), (True, False)]


def test_boolean_masks_of_queries_and_keys(device):
    inputs = qkv(device, (2, 3, 13, 32), requires_grad=True)
    visible = torch.rand(2, 3, 13, 13, device=device) > 0.3
    visible[..., 0] = True
    check(inputs, bias=visible)
    check(inputs, bias=visible[0, 0])
    check(inputs, bias=visible[:, :1], causal=True)


@DTYPES
def test_scale_as_a_tensor_and_its_gradient(device, dtype):
    for scale in (torch.tensor(5.0, device=device), torch.tensor([5.0], device=device),
                  torch.tensor([1.0, 5.0, 9.0], device=device), torch.tensor([1.0, 5.0, 9.0], device=device)[:, None, None],
                  torch.tensor([1.0, 5.0, 9.0], device=device, dtype=torch.float64)):
        check(qkv(device, (2, 3, 13, 32), dtype=dtype, requires_grad=True), dtype, scale=scale.requires_grad_(), factor=2)
    q, k, v = qkv(device, (2, 3, 13, 32), dtype=dtype)
    assert_close(flash_cosine_sim_attention(q, k, v, scale=torch.tensor(5.0)), reference.attention(q, k, v, scale=5.0), dtype)


def test_raw_queries_and_keys_with_and_without_a_stated_bound(device):
    q, k, v = qkv(device, requires_grad=True)
    check((q, k, v), l2norm_qk=False, scale=0.1)
    limit = (0.1 * torch.einsum("bhid,bhjd->bhij", q, k)).abs().max().item() * 1.01
    check((q, k, v), l2norm_qk=False, scale=0.1, logit_bound=limit)
    check((q, k, v), l2norm_qk=False, scale=3.0)


def test_only_some_of_q_k_and_v_want_gradients(device):
    for wants in itertools.product([False, True], repeat=3):
        if not any(wants):
            continue
        inputs = [t.requires_grad_(w) for t, w in zip(qkv(device, (1, 2, 9, 32)), wants)]
        dout = torch.randn_like(inputs[0])
        got = gradients(lambda *a: flash_cosine_sim_attention(*a, causal=True), inputs, dout)
        exact = gradients(lambda *a: reference.attention(*a, causal=True), inputs, dout)
        for g, e in zip(got, exact):
            assert_close(g, e, factor=2)


@DTYPES
def test_lse_and_that_it_is_not_differentiable(device, dtype):
    q, k, v = qkv(device, dtype=dtype)
    exact = (8 * torch.einsum("bhid,bhjd->bhij", reference.normalised(q.double(), 1), reference.normalised(k.double(), 1)))
    for grad in (False, True):
        q.requires_grad_(grad)
        out, lse = flash_cosine_sim_attention(q, k, v, return_lse=True)
        assert lse.dtype == F32 and lse.shape == (2, 4, 33) and not lse.requires_grad and out.requires_grad == grad
        assert_close(lse, exact.logsumexp(-1), dtype)
    merged = [t.detach().flatten(0, 1) for t in (q, k, v)]
    assert flash_cosine_sim_attention(*merged, return_lse=True)[1].shape == (8, 33)
    nothing = torch.zeros(2, 33, device=device, dtype=torch.bool)
    assert (flash_cosine_sim_attention(q, k, v, nothing, return_lse=True)[1] == float("-inf")).all()


def test_deterministic_gives_the_same_bits_and_follows_torch(device, monkeypatch):
    from flash_cosine_sim_attention import native
    asked, problem = [], native.Problem
    monkeypatch.setattr(native, "Problem", lambda **f: asked.append(f.get("deterministic")) or problem(**f))
    inputs = qkv(device, (1, 2, 77, 32), dtype=BF16, requires_grad=True)
    dout = torch.randn_like(inputs[0])
    run = lambda *a: flash_cosine_sim_attention(*a, causal=True, deterministic=True)
    first, second = (gradients(run, inputs, dout) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second)) and asked[-1] is True
    gradients(lambda *a: flash_cosine_sim_attention(*a, causal=True), inputs, dout)
    assert asked[-1] is False
    torch.use_deterministic_algorithms(True)
    try:
        gradients(lambda *a: flash_cosine_sim_attention(*a), inputs, dout)
        assert asked[-1] is True
    finally:
        torch.use_deterministic_algorithms(False)


def test_float64_by_plain_operations_passes_gradcheck_and_gradgradcheck(device):
    q, k, v = (t.detach().requires_grad_() for t in qkv(device, (1, 2, 4, 6), dtype=torch.float64))
    bias = torch.randn(2, 4, 4, device=device, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([2.0, 3.0], device=device, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, False, True, True]], device=device)
    fn = lambda q, k, v, bias, scale: flash_cosine_sim_attention(q, k, v, mask, attn_bias=bias, scale=scale, causal=True, groups=2)
    assert torch.autograd.gradcheck(fn, (q, k, v, bias, scale))
    assert torch.autograd.gradgradcheck(fn, (q, k, v, bias, scale))
    assert_close(fn(q, k, v, bias, scale), reference.attention(q, k, v, mask, bias, scale, 2, True), torch.float64)


@pytest.mark.gpu
def test_allow_tf32_follows_torch(monkeypatch):
    from flash_cosine_sim_attention import native
    asked, problem = [], native.Problem
    monkeypatch.setattr(native, "Problem", lambda **f: asked.append(f.get("allow_tf32")) or problem(**f))
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        for allowed in (False, True):
            torch.backends.cuda.matmul.allow_tf32 = allowed
            flash_cosine_sim_attention(*qkv("cuda", (1, 3, 19, 48)))
            assert asked[-1] == allowed
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
