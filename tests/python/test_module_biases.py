"""Biases that several batches share by turns: what windows of images need."""
import pytest
import torch
from flash_cosine_sim_attention import attention, execute, flash_cosine_sim_attention, native

import reference
from reference import BF16, F32, assert_close, gradients, qkv


def turns(bias, batch):
    return bias.repeat(batch // bias.shape[0], 1, 1, 1)


@pytest.mark.parametrize("dtype", [F32, BF16, torch.float64])
@pytest.mark.parametrize("heads", [1, 3])
def test_batch_m_reads_bias_m_modulo_n_and_its_gradient_is_summed(device, dtype, heads):
    inputs = [*qkv(device, (6, 3, 13, 32), columns=17, dtype=dtype, requires_grad=True),
              torch.randn(2, heads, 13, 17, device=device).to(dtype).requires_grad_()]
    run = lambda q, k, v, bias: flash_cosine_sim_attention(q, k, v, attn_bias=bias)
    exact = lambda q, k, v, bias: reference.attention(q, k, v, bias=turns(bias, 6))
    dout = torch.randn(6, 3, 13, 32, device=device)
    assert_close(run(*inputs), exact(*inputs), dtype)
    for got, wanted in zip(gradients(run, inputs, dout), gradients(exact, inputs, dout.double())):
        assert_close(got, wanted.double(), dtype, 3)


class Unserved(native.Plan):
    __slots__ = ()

    def __init__(self, problem):
        self.handle, self.workspace_bytes, self.reason, self.keep, self.status = None, 0, "", True, native.UNSUPPORTED


def test_also_where_no_kernel_serves_it(device, monkeypatch):
    monkeypatch.setattr(native, "Plan", Unserved)
    monkeypatch.setattr(attention, "_direct", native.BoundedCache())
    monkeypatch.setattr(execute, "_calls", native.BoundedCache())
    test_batch_m_reads_bias_m_modulo_n_and_its_gradient_is_summed(device, F32, 3)


def test_under_vmap_and_compile(device):
    q, k, v = (torch.randn(2, 4, 3, 9, 32, device=device) for _ in range(3))
    bias = torch.randn(2, 3, 9, 9, device=device)
    loss = lambda q, k, v, bias: flash_cosine_sim_attention(q, k, v, attn_bias=bias).pow(2).sum()
    exact = lambda q, k, v, bias: reference.attention(q, k, v, bias=turns(bias, 4)).pow(2).sum()
    wanted = [torch.func.grad(exact, (0, 3))(q[i], k[i], v[i], bias) for i in range(2)]
    for got, w in zip(torch.func.vmap(torch.func.grad(loss, (0, 3)), (0, 0, 0, None))(q, k, v, bias), zip(*wanted)):
        assert_close(got, torch.stack(w).double(), factor=5)
    compiled = torch.compile(lambda *a: flash_cosine_sim_attention(*a[:3], attn_bias=a[3]), fullgraph=True, backend="aot_eager")
    assert_close(compiled(q[0], k[0], v[0], bias), reference.attention(q[0], k[0], v[0], bias=turns(bias, 4)))


def test_what_divides_no_batch_is_an_error(device):
    q, k, v = qkv(device, (6, 3, 9, 32))
    for batches in (4, 12):
        with pytest.raises(ValueError, match=r"attn_bias has shape \(" + str(batches)):
            flash_cosine_sim_attention(q, k, v, attn_bias=torch.zeros(batches, 3, 9, 9, device=device))
