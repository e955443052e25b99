"""torch.func, derivatives that don't exist, and what they must not silently be."""
import pytest
import torch
from flash_cosine_sim_attention import flash_cosine_sim_attention, plain_cosine_sim_attention
from torch.func import functional_call, grad, jacrev, jvp, vmap

import reference
from reference import BF16, assert_close, qkv

SECOND = "can be differentiated once: second derivatives are not implemented"
FORWARD_MODE = "no forward-mode derivatives"


def loss(q, k, v, **options):
    return (flash_cosine_sim_attention(q, k, v, causal=True, **options) * torch.linspace(-1, 1, q.shape[-1], device=q.device)).sum()


def exact_loss(q, k, v, **options):
    return (reference.attention(q, k, v, causal=True, **options) * torch.linspace(-1, 1, q.shape[-1], device=q.device)).sum()


def test_func_grad(device):
    inputs = qkv(device, (2, 3, 9, 32))
    for got, wanted in zip(grad(loss, (0, 1, 2))(*inputs), grad(exact_loss, (0, 1, 2))(*inputs)):
        assert_close(got, wanted, factor=2)


@pytest.mark.parametrize("axes", [(0, 0, 0), (0, None, None), (None, 1, 1), (2, 0, 1)])
def test_vmap(device, axes):
    stacked = [torch.randn(5, 2, 3, 9, 32, device=device) for _ in range(3)]
    inputs = [s[0] if a is None else s.movedim(0, a) for s, a in zip(stacked, axes)]
    run = lambda *a: flash_cosine_sim_attention(*a, causal=True)
    got = vmap(run, axes)(*inputs)
    wanted = torch.stack([reference.attention(*(s[0] if a is None else s[i] for s, a in zip(stacked, axes)), causal=True)
                          for i in range(5)])
    assert_close(got, wanted)


def test_vmap_with_masks_biases_and_scales(device):
    q, k, v = (torch.randn(5, 2, 3, 9, 32, device=device) for _ in range(3))
    mask, bias = torch.rand(5, 2, 9, device=device) > 0.3, torch.randn(5, 3, 9, 9, device=device)
    mask[..., 0] = True
    scale = torch.rand(5, 3, device=device) * 8
    run = lambda q, k, v, m, b, s: flash_cosine_sim_attention(q, k, v, m, attn_bias=b, scale=s)
    exact = lambda i, m, b, s: reference.attention(q[i], k[i], v[i], m, b, s)
    shared = (mask[0], bias[0], scale[0])
    for axes in ((0, 0, 0), (0, 0, None), (None, 0, None), (None, None, None), (None, None, 0)):
        extra = [t if a == 0 else t[0] for t, a in zip((mask, bias, scale), axes)]
        got = vmap(run, (0, 0, 0, *axes))(q, k, v, *extra)
        wanted = torch.stack([exact(i, *(t if a is None else t[i] for t, a in zip(extra, axes))) for i in range(5)])
        assert_close(got, wanted)
    assert shared


def test_gradients_of_each_sample(device):
    q, k, v = (torch.randn(5, 2, 3, 9, 32, device=device) for _ in range(3))
    bias, scale = torch.randn(3, 9, 9, device=device), torch.tensor([2.0, 4.0, 8.0], device=device)
    run = lambda q, k, v, b, s: loss(q, k, v, attn_bias=b, scale=s)
    exact = lambda q, k, v, b, s: exact_loss(q, k, v, bias=b, scale=s)
    got = vmap(grad(run, (0, 1, 2, 3, 4)), (0, 0, 0, None, None))(q, k, v, bias, scale)
    wanted = [grad(exact, (0, 1, 2, 3, 4))(q[i], k[i], v[i], bias, scale) for i in range(5)]
    for i, g in enumerate(got):
        assert_close(g, torch.stack([w[i] for w in wanted]), factor=3)
    got = vmap(grad(run, (0, 3)), (0, 0, 0, None, None))(q, k, v, bias, scale)
    for g, i in zip(got, (0, 3)):
        assert_close(g, torch.stack([w[i] for w in wanted]), factor=3)


def test_jacobians_by_rows(device):
    q, k, v = qkv(device, (1, 1, 3, 16))
    run, exact = (lambda q: flash_cosine_sim_attention(q, k, v)), (lambda q: reference.attention(q, k, v))
    assert_close(jacrev(run)(q), jacrev(exact)(q), factor=3)
    q.requires_grad_()
    rows = torch.eye(48, device=device).reshape(48, 1, 1, 3, 16)
    batched, = torch.autograd.grad(run(q), q, rows, is_grads_batched=True)
    assert_close(batched.reshape(1, 1, 3, 16, 1, 1, 3, 16), jacrev(exact)(q), factor=3)


def test_the_gradient_of_a_module_by_functional_call(device):
    layer = torch.nn.Linear(32, 96, bias=False).to(device)

    def run(parameters, x, fn):
        q, k, v = functional_call(layer, parameters, x).chunk(3, -1)
        return (fn(q, k, v) * torch.linspace(-1, 1, 32, device=device)).sum()
    x = torch.randn(2, 3, 9, 32, device=device)
    parameters = dict(layer.named_parameters())
    got = grad(run)(parameters, x, flash_cosine_sim_attention)["weight"]
    assert_close(got, grad(run)(parameters, x, reference.attention)["weight"], factor=5)


@pytest.mark.parametrize("with_other_terms", [False, True])
@pytest.mark.parametrize("wants", ["q", "k", "v", "qkv"])
def test_second_derivatives_raise(device, wants, with_other_terms):
    inputs = [t.requires_grad_(name in wants) for name, t in zip("qkv", qkv(device, (1, 2, 5, 32)))]
    leaves = [t for t in inputs if t.requires_grad]
    out = flash_cosine_sim_attention(*inputs)
    first = torch.autograd.grad(out.sum(), leaves, create_graph=True)
    penalty = sum(g.pow(2).sum() for g in first)
    if with_other_terms:
        penalty = penalty + sum(t.pow(3).sum() for t in leaves) + out.sum()
    with pytest.raises(NotImplementedError, match=SECOND):
        penalty.backward()


def test_second_derivatives_raise_through_the_bias_the_scale_and_the_gradient_of_the_output(device):
    q, k, v = qkv(device, (1, 2, 5, 32))
    bias, scale = torch.randn(2, 5, 5, device=device, requires_grad=True), torch.tensor(3.0, device=device, requires_grad=True)
    dout = torch.randn_like(q).requires_grad_()
    for leaves in ([bias], [scale], [bias, scale]):
        out = flash_cosine_sim_attention(q, k, v, attn_bias=bias, scale=scale)
        first = torch.autograd.grad(out.pow(2).sum(), leaves, create_graph=True)
        with pytest.raises(NotImplementedError, match=SECOND):
            (sum(g.pow(2).sum() for g in first) + scale.pow(2)).backward()
    v.requires_grad_()
    first, = torch.autograd.grad(flash_cosine_sim_attention(q, k, v), v, dout, create_graph=True)
    with pytest.raises(NotImplementedError, match=SECOND):
        first.pow(2).sum().backward()


def test_second_derivatives_raise_where_tensors_are_padded_merged_or_expanded(device):
    for shape, kv in (((1, 2, 5, 40), None), ((6, 5, 32), None), ((2, 4, 5, 32), (2, 5, 32))):
        q = torch.randn(shape, device=device, requires_grad=True)
        k = torch.randn(kv or shape, device=device, requires_grad=True)
        first = torch.autograd.grad(flash_cosine_sim_attention(q, k, k).pow(2).sum(), [q, k], create_graph=True)
        with pytest.raises(NotImplementedError, match=SECOND):
            sum(g.pow(2).sum() for g in first).backward()


def test_second_derivatives_of_func_raise(device):
    q, k, v = qkv(device, (1, 1, 3, 16))
    with pytest.raises(NotImplementedError, match=SECOND):
        grad(lambda q: grad(lambda q: loss(q, k, v))(q).pow(2).sum())(q)


def test_a_graph_of_first_derivatives_alone_is_right(device):
    q, k, v = inputs = qkv(device, (1, 2, 5, 32), requires_grad=True)
    dout = torch.randn_like(q)
    got = torch.autograd.grad(flash_cosine_sim_attention(q, k, v), inputs, dout, create_graph=True)
    for g, w in zip(got, torch.autograd.grad(reference.attention(q, k, v), inputs, dout.double())):
        assert_close(g, w, factor=2)


def test_plain_attention_has_second_derivatives(device):
    q, k, v = (t.double().requires_grad_() for t in qkv(device, (1, 1, 3, 16)))
    assert torch.autograd.gradgradcheck(lambda *a: plain_cosine_sim_attention(*a), (q, k, v))


@pytest.mark.parametrize("which", ["q", "k", "v", "attn_bias", "scale"])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_forward_mode_derivatives_raise(device, which, requires_grad):
    arguments = dict(zip("qkv", qkv(device, (1, 2, 5, 32), requires_grad=requires_grad)))
    arguments.update(attn_bias=torch.randn(2, 5, 5, device=device), scale=torch.tensor([8.0, 3.0], device=device))
    with torch.autograd.forward_ad.dual_level():
        t = arguments[which].detach()
        arguments[which] = torch.autograd.forward_ad.make_dual(t, torch.ones_like(t))
        with pytest.raises(NotImplementedError, match=FORWARD_MODE):
            flash_cosine_sim_attention(**arguments)
    with torch.autograd.forward_ad.dual_level():
        plain = dict(zip("qkv", qkv(device, (1, 2, 5, 32))))
        assert_close(flash_cosine_sim_attention(**plain), reference.attention(**plain))


def test_forward_mode_derivatives_of_func_raise(device):
    q, k, v = qkv(device, (1, 2, 5, 32))
    with pytest.raises((NotImplementedError, RuntimeError), match="forward-mode|jvp"):
        jvp(lambda q: flash_cosine_sim_attention(q, k, v), (q,), (torch.ones_like(q),))
    with pytest.raises((NotImplementedError, RuntimeError), match="forward-mode|jvp"):
        torch.func.jacfwd(lambda q: flash_cosine_sim_attention(q, k, v))(q)
    with pytest.raises((NotImplementedError, RuntimeError), match="forward-mode|jvp|differentiated once"):
        torch.func.hessian(lambda q: loss(q, k, v))(q)


def test_bfloat16_through_transforms(device):
    q, k, v = qkv(device, (4, 2, 9, 32), dtype=BF16)
    got = vmap(lambda *a: flash_cosine_sim_attention(*a))(q[:, None], k[:, None], v[:, None])
    assert_close(got[:, 0], reference.attention(q, k, v), BF16)
