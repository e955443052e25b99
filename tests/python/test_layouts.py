"""Strides, pointers and sizes: what is read where it lies, what is copied, and what has no elements."""
import pytest
import torch
from flash_cosine_sim_attention import execute, flash_cosine_sim_attention

import reference
from reference import BF16, assert_close, gradients, qkv


@pytest.fixture
def copies(monkeypatch):
    """Tensors that are copied."""
    made, dense = [], execute.dense
    monkeypatch.setattr(execute, "dense", lambda t: made.append(tuple(t.shape)) or dense(t))
    return made


def check(inputs, **options):
    dout = torch.randn(inputs[0].shape, device=inputs[0].device).to(inputs[0].dtype)
    dtype = inputs[0].dtype
    fn, exact = (lambda *a: flash_cosine_sim_attention(*a, **options)), (lambda *a: reference.attention(*a, **options))
    assert_close(fn(*inputs), exact(*inputs), dtype)
    for got, wanted in zip(gradients(fn, inputs, dout), gradients(exact, inputs, dout)):
        assert_close(got, wanted, dtype, 2)


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
def test_packed_qkv_and_rows_before_heads_are_read_where_they_lie(device, copies, dtype):
    packed = torch.randn(2, 21, 3, 4, 32, device=device).to(dtype)
    leaves = [t.transpose(1, 2).detach().requires_grad_() for t in packed.unbind(2)]
    assert not leaves[0].is_contiguous()
    check(leaves, causal=True)
    check([t.detach().requires_grad_() for t in torch.randn(3, 2, 4, 21, 40, device=device).to(dtype)[..., :32].unbind(0)])
    assert not copies


def test_gradients_through_a_projection_of_packed_qkv(device):
    x, w = torch.randn(2, 21, 48, device=device), torch.randn(3 * 4 * 32, 48, device=device, requires_grad=True)

    def run(fn):
        q, k, v = (x @ w.t()).unflatten(-1, (3, 4, 32)).permute(2, 0, 3, 1, 4)
        return fn(q, k, v, causal=True)
    dout = torch.randn(2, 4, 21, 32, device=device)
    got, = torch.autograd.grad(run(flash_cosine_sim_attention), w, dout)
    wanted, = torch.autograd.grad(run(reference.attention), w, dout.double())
    assert_close(got, wanted, factor=10)


def test_the_output_lies_as_q_does(device):
    for q in (torch.randn(2, 21, 4, 32, device=device).transpose(1, 2), torch.randn(2, 4, 21, 32, device=device),
              torch.randn(4, 2, 21, 32, device=device).transpose(0, 1)):
        out = flash_cosine_sim_attention(q, q.clone(), q.clone())
        assert out.stride() == q.stride()


@pytest.mark.parametrize("which", range(3))
def test_other_strides_and_misaligned_pointers_are_copied_and_right(device, copies, which):
    makers = (lambda: torch.randn(2, 4, 32, 21, device=device).transpose(2, 3),            # channels are not contiguous
              lambda: torch.randn(2, 4, 21, 33, device=device)[..., :32],                   # rows off 16 bytes
              lambda: torch.randn(2 * 4 * 21 * 32 + 1, device=device)[1:].view(2, 4, 21, 32))  # the first element is
    for make in makers:
        inputs = qkv(device, (2, 4, 21, 32), requires_grad=True)
        inputs[which] = make().detach().requires_grad_()
        check(inputs, causal=True)
    assert copies


def test_expanded_tensors(device):
    q, k, v = qkv(device, (2, 4, 21, 32), kv_heads=1, requires_grad=True)
    dout = torch.randn_like(q)
    fn = lambda q, k, v: flash_cosine_sim_attention(q, k.expand(2, 4, 21, 32), v.expand(2, 4, 21, 32))
    assert_close(fn(q, k, v), reference.attention(q, k, v))
    for got, wanted in zip(gradients(fn, (q, k, v), dout), gradients(reference.attention, (q, k, v), dout)):
        assert_close(got, wanted, factor=2)
    one = torch.randn(1, 1, 1, 32, device=device).expand(2, 4, 21, 32)
    assert_close(flash_cosine_sim_attention(one, q, one), reference.attention(one, q, one))


def test_gradients_of_the_output_of_any_strides(device):
    q, k, v = inputs = qkv(device, (2, 4, 21, 32), requires_grad=True)
    out, exact = flash_cosine_sim_attention(q, k, v), reference.attention(q, k, v)
    base = torch.randn(2, 4, 21, 32, device=device)
    for dout in (torch.ones((), device=device).expand(2, 4, 21, 32), base.transpose(0, 1).contiguous().transpose(0, 1),
                 base.transpose(2, 3).contiguous().transpose(2, 3), torch.cat((base, base), -1)[..., 3:35]):
        got = torch.autograd.grad(out, inputs, dout, retain_graph=True)
        wanted = torch.autograd.grad(exact, inputs, dout.double(), retain_graph=True)
        for g, w in zip(got, wanted):
            assert_close(g, w, factor=3)


@pytest.mark.parametrize("shape,columns", [((0, 4, 5, 32), 5), ((2, 0, 5, 32), 5), ((2, 4, 0, 32), 5), ((2, 4, 5, 32), 0),
                                           ((2, 4, 0, 32), 0)])
def test_zero_lengths(device, shape, columns):
    q, k, v = inputs = qkv(device, shape, columns=columns, requires_grad=True)
    out, lse = flash_cosine_sim_attention(q, k, v, causal=True, return_lse=True)
    assert out.shape == shape and (out == 0).all() and lse.shape == shape[:-1] and (lse == float("-inf")).all()
    for g, t in zip(torch.autograd.grad(out, inputs, torch.ones_like(out)), inputs):
        assert g.shape == t.shape and (g == 0).all()


def test_a_tensor_of_one_row_may_have_any_stride_along_it(device, copies):
    q, k, v = qkv(device, (2, 4, 1, 32), columns=21)
    odd = q.as_strided(q.shape, (128, 32, 7, 1))
    assert_close(flash_cosine_sim_attention(odd, k, v), reference.attention(q, k, v))
    assert not copies


def test_a_new_shape_takes_the_place_of_the_oldest_plan(device, monkeypatch):
    from flash_cosine_sim_attention import attention, native
    monkeypatch.setattr(native.BoundedCache, "MOST", 8)
    for rows in range(1, 24):
        q, k, v = qkv(device, (1, 2, rows, 32), requires_grad=True)
        out = flash_cosine_sim_attention(q, k, v)
        assert_close(out, reference.attention(q, k, v))
        out.sum().backward()
    assert len(attention._direct) <= 8
