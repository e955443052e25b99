"""What attention has to give, in double precision, written apart from the package; tensors and comparisons for tests."""
import torch

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
# Of what the roundings of a dtype cost, relative to the largest value of a tensor.
TOLERANCE = {F32: 2e-5, F16: 8e-3, BF16: 5e-2, torch.float64: 1e-12}


def normalised(t, groups):
    parts = t.reshape(*t.shape[:-1], groups, t.shape[-1] // groups)
    return (parts / parts.norm(dim=-1, keepdim=True).clamp_min(1e-12)).reshape(t.shape)


def attention(q, k, v, mask=None, bias=None, scale=8.0, groups=1, causal=False, l2norm_qk=True):
    """float64. q [b, h, i, d], k and v [b, kv, j, d], mask [b, j], bias that broadcasts to [b, h, i, j] (bool: visible),
    scale a number or [h]."""
    q, k, v = q.double(), k.double(), v.double()
    if l2norm_qk:
        q, k = normalised(q, groups), normalised(k, groups)
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
    if isinstance(scale, torch.Tensor):
        scale = scale.double().reshape(-1, 1, 1)
    s = scale * torch.einsum("bhid,bhjd->bhij", q, k)
    visible = torch.ones_like(s, dtype=torch.bool)
    if bias is not None:
        if bias.dtype == torch.bool:
            visible = visible & bias
        else:
            s = s + bias.double()
    if causal:
        rows, columns = s.shape[-2:]
        visible = visible & (torch.arange(columns, device=s.device) <= torch.arange(rows, device=s.device)[:, None] + columns - rows)
    if mask is not None:
        visible = visible & mask[:, None, None, :]
    s = s.masked_fill(~visible, -1e300)
    p = s.softmax(-1) * visible
    return p @ v


def qkv(device, shape=(2, 4, 33, 64), kv_heads=None, columns=None, dtype=F32, requires_grad=False):
    b, h, i, d = shape
    kv = (b, h if kv_heads is None else kv_heads, i if columns is None else columns, d)
    return [torch.randn(s, device=device).to(dtype).requires_grad_(requires_grad) for s in (shape, kv, kv)]


def error(got, wanted):
    """Largest difference, relative to the largest value, which counts as at least 0.05; infinite when a number is missing."""
    if got.shape != wanted.shape or not torch.isfinite(got).all():
        return float("inf")
    if wanted.numel() == 0:
        return 0.0
    return ((got.double() - wanted.double()).abs().max() / wanted.double().abs().max().clamp_min(0.05)).item()


def assert_close(got, wanted, dtype=F32, factor=1.0):
    assert got is not None
    found = error(got, wanted)
    assert found <= TOLERANCE[dtype] * factor, f"off by {found:.3g} of the largest value"


def gradients(fn, inputs, dout):
    """Of (fn(*inputs) * dout).sum(), with respect to all inputs that are floating point tensors."""
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    return torch.autograd.grad((fn(*inputs) * dout).sum(), wanted)
