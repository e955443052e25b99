"""What doesn't require a gradient gets none, and none is computed or allocated for it."""
import itertools

import pytest
import torch
from flash_cosine_sim_attention import describe, execute, flash_cosine_sim_attention

from reference import qkv

SOME = [wanted for wanted in itertools.product((False, True), repeat=3) if any(wanted)]
NAMES = ["".join(name for name, w in zip("qkv", wanted) if w) for wanted in SOME]


def gradients(inputs, wanted, function=flash_cosine_sim_attention, **options):
    tensors = [t.detach().requires_grad_(w) for t, w in zip(inputs, wanted)]
    out = function(*tensors, **options)
    out.backward(torch.linspace(-1, 1, out.numel(), device=out.device).reshape(out.shape))
    return [t.grad for t in tensors]


def assert_those_are_right(inputs, wanted, got, **options):
    for g, whole, w in zip(got, gradients(inputs, (True, True, True), **options), wanted):
        assert (g is not None) == w
        assert g is None or torch.allclose(g, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wanted", SOME, ids=NAMES)
def test_leave_the_others_as_they_are(device, wanted):
    for kv_heads in (4, 2):
        inputs = qkv(device, (2, 4, 33, 64), kv_heads=kv_heads, columns=40)
        assert_those_are_right(inputs, wanted, gradients(inputs, wanted, causal=True), causal=True)
    padded = qkv(device, (2, 4, 33, 40))
    assert_those_are_right(padded, wanted, gradients(padded, wanted))
    merged = [t.flatten(0, 1) for t in qkv(device)]
    assert_those_are_right(merged, wanted, gradients(merged, wanted))
    wide = qkv(device, dtype=torch.float64)
    assert_those_are_right(wide, wanted, gradients(wide, wanted))
    nothing = qkv(device, (2, 4, 33, 64), columns=0)
    assert_those_are_right(nothing, wanted, gradients(nothing, wanted))


@pytest.mark.parametrize("wanted", SOME, ids=NAMES)
def test_are_not_allocated(device, wanted, monkeypatch):
    allocated = []

    def counted(t, *arguments, **options):
        allocated.append(tuple(t.shape))
        return torch.empty_like(t, *arguments, **options)

    inputs = qkv(device, (1, 2, 16, 64), columns=24)
    tensors = [t.requires_grad_(w) for t, w in zip(inputs, wanted)]
    out = flash_cosine_sim_attention(*tensors)
    out.backward(torch.ones_like(out), retain_graph=True)  # the plan is made
    monkeypatch.setattr(execute, "_empty_like", counted)
    out.backward(torch.ones_like(out))
    assert len(allocated) == sum(wanted)


@pytest.mark.parametrize("wanted", SOME, ids=NAMES)
def test_are_left_out_under_compile(device, wanted):
    inputs = qkv(device, (1, 2, 16, 64), columns=24)
    compiled = torch.compile(flash_cosine_sim_attention, fullgraph=True, backend="aot_eager")
    assert_those_are_right(inputs, wanted, gradients(inputs, wanted, compiled))


def test_beside_those_of_the_bias_and_the_scale(device):
    q, k, v = qkv(device, (2, 4, 16, 64))
    bias, scale = torch.randn(4, 16, 16, device=device, requires_grad=True), torch.full((4,), 8.0, device=device, requires_grad=True)

    def all_of(*tensors):
        out = flash_cosine_sim_attention(*tensors, attn_bias=bias, scale=scale)
        return torch.autograd.grad(out.square().sum(), [t for t in (*tensors, bias, scale) if t.requires_grad])

    whole = all_of(*(t.detach().requires_grad_() for t in (q, k, v)))
    for alone, wanted in zip(all_of(q, k, v), whole[3:]):
        assert torch.allclose(alone, wanted, rtol=1e-5, atol=1e-5)
    without_q = all_of(q, k.detach().requires_grad_(), v)
    assert torch.allclose(without_q[0], whole[1], rtol=1e-5, atol=1e-6)


def test_under_func_grad_and_vmap(device):
    q, k, v = (torch.randn(3, 2, 4, 16, 32, device=device) for _ in range(3))

    def loss(q, k, v):
        return flash_cosine_sim_attention(q, k, v).square().sum()

    whole = [torch.stack(g) for g in zip(*(torch.func.grad(loss, argnums=(0, 1, 2))(*t) for t in zip(q, k, v)))]
    for number in range(3):
        got = torch.vmap(torch.func.grad(loss, argnums=number))(q, k, v)
        assert torch.allclose(got, whole[number], rtol=1e-5, atol=1e-6)


def test_leave_the_backward_pass_in_the_description_where_one_is_wanted(device):
    q, k, v = (x.detach() for x in qkv(device, (1, 2, 16, 64)))
    assert "backward:" not in describe(q, k, v)
    assert "backward:" in describe(q.requires_grad_(), k, v)
