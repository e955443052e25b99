"""CosineSimAttention against the formula in double precision."""
import copy
import io
import math
import pickle

import pytest
import torch
from flash_cosine_sim_attention import CosineSimAttention

import reference
from reference import BF16, F32, assert_close


def rotate(q, k):
    """Rotary positions of halves, as Llama and Qwen3 have them."""
    def turned(t):
        n, d = t.shape[-2:]
        angles = torch.arange(n, device=t.device, dtype=F32)[:, None] * 10000.0 ** (-torch.arange(0, d, 2, device=t.device) / d)
        cos, sin = (f(torch.cat((angles, angles), -1)).to(t.dtype) for f in (torch.cos, torch.sin))
        first, second = t.chunk(2, -1)
        return t * cos + torch.cat((-second, first), -1) * sin
    return turned(q), turned(k)


def redraw(layer):
    """Every parameter drawn anew, so that none is a 0 or a 1 that hides a mistake."""
    with torch.no_grad():
        for name, p in layer.named_parameters():
            if "log_scale" in name:
                p.copy_(torch.rand_like(p) + 1)
            elif "norm" in name or "gain" in name:
                p.copy_(torch.rand_like(p) - (0.5 if layer.gains == "gemma3" else -0.5))
            else:
                p.normal_(std=p.shape[-1] ** -0.5)
    return layer


def gained(t, layer, which):
    """q or k with its gains, in f64: a formula of its own for each model."""
    if layer.gains is None:
        return reference.normalised(t, layer.groups)
    if layer.gains == "ngpt":
        gain = layer.qk_gain.weight.double()
        gain = gain.repeat_interleave(t.shape[1] // gain.shape[0], 0)[:, None]
        return math.sqrt(t.shape[-1]) * gain * t / t.norm(dim=-1, keepdim=True)
    weight = getattr(layer, which).weight.double()
    unit = t / (t.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return unit * (1 + weight if layer.gains == "gemma3" else weight)


def exact(layer, x, context=None, mask=None, bias=None, rope=None):
    """What the layer has to give, in f64, without the package."""
    double = copy.deepcopy(layer).double()
    x = x.double()
    context = x if context is None else context.double()
    q, k, v = (to(t).unflatten(-1, (-1, layer.dim_head)).transpose(1, 2) for to, t in (
        (double.to_q, x), (double.to_k, context), (double.to_v, context)))
    q, k = gained(q, double, "q_norm"), gained(k, double, "k_norm")
    if rope is not None:
        q, k = rope(q, k)
    scale = layer.scale
    if layer.log_scale is not None:
        scale = double.log_scale.exp()
        scale = scale.clamp(max=layer.max_scale) if layer.max_scale else scale
        scale = scale.expand(layer.heads)
    out = reference.attention(q, k, v, mask, bias, scale, causal=layer.causal, l2norm_qk=False)
    return double.to_out(out.transpose(1, 2).flatten(-2)), double


CASES = {
    "plain": dict(heads=4),
    "causal, grouped heads": dict(heads=4, kv_heads=2, causal=True),
    "groups of channels": dict(heads=4, groups=4, scale=2.0),
    "a learned scale": dict(heads=4, learned_scale="one"),
    "a learned scale for each head, clamped": dict(heads=4, learned_scale="head", max_scale=4.0),
    "Qwen3's gains and rotation": dict(heads=4, kv_heads=2, gains="qwen3", rope=rotate, causal=True),
    "Gemma 3's gains": dict(heads=4, kv_heads=1, gains="gemma3"),
    "nGPT's gains": dict(heads=4, gains="ngpt", rope=rotate),
    "nGPT's gains, grouped heads": dict(heads=4, kv_heads=2, gains="ngpt"),
    "rotation of unit rows": dict(heads=4, rope=rotate, groups=2),
    "biases of projections, heads of another width": dict(heads=3, dim_head=32, bias=True),
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
def test_outputs_and_all_gradients_are_those_of_the_formula(device, options):
    layer = redraw(CosineSimAttention(64, **options)).to(device)
    x = torch.randn(2, 17, 64, device=device, requires_grad=True)
    out = layer(x)
    dout = torch.randn_like(out)
    wanted, double = exact(layer, x, rope=options.get("rope"))
    assert_close(out, wanted)
    got = torch.autograd.grad(out, [x, *layer.parameters()], dout)
    expected = torch.autograd.grad(wanted, [x, *double.parameters()], dout.double())
    for g, w in zip(got, expected):
        assert_close(g, w, factor=5)


def test_cross_attention_with_a_mask_a_bias_and_a_rotation_of_the_call(device):
    layer = redraw(CosineSimAttention(64, heads=4, kv_heads=2, context_dim=48)).to(device)
    x, context = torch.randn(2, 9, 64, device=device), torch.randn(2, 21, 48, device=device)
    mask, bias = torch.rand(2, 21, device=device) > 0.3, torch.randn(4, 9, 21, device=device)
    for turn in (None, rotate):
        out = layer(x, context, mask=mask, attn_bias=bias, rope=turn)
        assert_close(out, exact(layer, x, context, mask, bias, turn)[0])


def test_without_projections_it_takes_heads(device):
    layer = CosineSimAttention(heads=4, dim_head=32, learned_scale="head", causal=True).to(device)
    assert [name for name, _ in layer.named_parameters()] == ["log_scale"]
    q, k, v = reference.qkv(device, (2, 4, 13, 32))
    assert_close(layer(q, k, v), reference.attention(q, k, v, causal=True))
    with pytest.raises(TypeError, match="without projections"):
        layer(q)


@pytest.mark.parametrize("gains", [None, "qwen3", "gemma3", "ngpt"])
def test_bf16_and_autocast(device, gains):
    layer = redraw(CosineSimAttention(64, heads=4, gains=gains, learned_scale="head", rope=rotate if gains else None)).to(device)
    x = torch.randn(2, 17, 64, device=device)
    wanted = exact(layer, x, rope=layer.rope)[0]
    with torch.autocast(device, dtype=BF16):
        out = layer(x)
    assert out.dtype == BF16
    assert_close(out, wanted, BF16, 2)  # the projections round too
    out.float().sum().backward()
    assert all(p.grad.dtype == F32 and torch.isfinite(p.grad).all() for p in layer.parameters())
    small = copy.deepcopy(layer).to(BF16)
    out = small(x.to(BF16))
    assert out.dtype == BF16
    assert_close(out, wanted, BF16, 2)


def test_a_scale_beyond_its_limit_has_no_gradient_and_is_the_limit(device):
    layer = redraw(CosineSimAttention(64, heads=4, learned_scale="head", max_scale=100.0)).to(device)
    with torch.no_grad():
        layer.log_scale.copy_(torch.tensor([1.0, 9.0, 2.0, 9.0]))
    assert torch.allclose(layer.current_scale().cpu(), torch.tensor([math.e, 100.0, math.e ** 2, 100.0]))
    layer(torch.randn(1, 9, 64, device=device)).sum().backward()
    assert layer.log_scale.grad[[1, 3]].abs().max() == 0 and layer.log_scale.grad[[0, 2]].abs().min() > 0


def test_names_in_the_state_dict_stay_as_they_are():
    names = lambda **options: sorted(CosineSimAttention(64, heads=4, **options).state_dict())
    projections = ["to_k.weight", "to_out.weight", "to_q.weight", "to_v.weight"]
    assert names() == projections
    assert names(learned_scale="head", bias=True) == sorted(
        ["log_scale", *projections, "to_k.bias", "to_out.bias", "to_q.bias", "to_v.bias"])
    assert names(gains="qwen3") == names(gains="gemma3") == ["k_norm.weight", "q_norm.weight", *projections]
    assert names(gains="ngpt") == ["qk_gain.weight", *projections]


def test_pickles_copies_and_state_dicts_give_the_same(device):
    layer = redraw(CosineSimAttention(64, heads=4, kv_heads=2, gains="qwen3", rope=rotate, learned_scale="one")).to(device)
    x = torch.randn(1, 9, 64, device=device)
    wanted = layer(x)
    saved = io.BytesIO()
    torch.save(layer.state_dict(), saved)
    saved.seek(0)
    fresh = CosineSimAttention(64, heads=4, kv_heads=2, gains="qwen3", rope=rotate, learned_scale="one").to(device)
    fresh.load_state_dict(torch.load(saved, weights_only=True))
    for other in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer), fresh):
        assert torch.equal(other(x), wanted)


@pytest.mark.parametrize("options", [dict(causal=True), dict(gains="qwen3", rope=rotate, kv_heads=2, learned_scale="head")])
def test_compile_in_one_graph_forward_and_backward(device, options):
    layer = redraw(CosineSimAttention(64, heads=4, **options)).to(device)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 17, 64, device=device, requires_grad=True)
    out, wanted = compiled(x), layer(x)
    assert_close(out, wanted.double())
    dout = torch.randn_like(out)
    inputs = [x, *layer.parameters()]
    for g, w in zip(torch.autograd.grad(out, inputs, dout), torch.autograd.grad(wanted, inputs, dout)):
        assert_close(g, w.double())


def test_parameters_on_meta_can_be_made_and_drawn_later():
    layer = CosineSimAttention(64, heads=4, gains="gemma3", learned_scale="head", bias=True, device="meta")
    assert all(p.is_meta for p in layer.parameters())
    layer = layer.to_empty(device="cpu")
    layer.reset_parameters()
    assert torch.allclose(layer.current_scale(), torch.full((4,), 0.25))
    assert torch.isfinite(layer(torch.randn(1, 5, 64))).all()


@pytest.mark.parametrize("options, text", [
    (dict(dim=64, heads=4, kv_heads=3), "kv_heads is 3"), (dict(dim=64, heads=5), "dim is 64"),
    (dict(dim=64, heads=4, groups=3), "groups is 3"), (dict(dim=64, heads=4, gains="rms"), "gains is 'rms'"),
    (dict(dim=64, heads=4, gains="ngpt", groups=2), "with gains"), (dict(dim=64, heads=4, learned_scale=True), "learned_scale is True"),
    (dict(dim=64, heads=4, max_scale=100), "isn't learned"), (dict(dim=64, heads=4, scale=0), "scale is 0"),
    (dict(heads=4, context_dim=64), "no projections"), (dict(dim=64, heads=0), "heads is 0")])
def test_what_is_wrong_is_said_when_it_is_made(options, text):
    with pytest.raises(ValueError, match=text):
        CosineSimAttention(**options)
