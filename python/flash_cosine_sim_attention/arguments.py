"""What a caller passes: the order of positional arguments, what is refused and why, and the one form that all else works
with (`canonical`)."""
import math
import numbers
import operator
from typing import NamedTuple

import torch
import torch.nn.functional as F

FIRST_GENERATION = ("attn_bias", "scale", "groups", "causal", "l2norm_qk", "attn_bias_batch_dim")  # 0.1.40
SECOND_GENERATION = ("scale", "groups", "causal", "l2norm_qk", "use_triton", "sequence_parallel")  # 0.2.2
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
MOST_CHANNELS = 256


class Options(NamedTuple):
    """What is not a tensor."""
    scale: float
    groups: int
    causal: bool
    l2norm_qk: bool
    logit_bound: float  # 0: none stated
    deterministic: bool
    allow_tf32: bool


class Geometry(NamedTuple):
    batch: int
    heads: int
    kv_heads: int
    rows: int
    columns: int
    channels: int
    merged: bool  # q is [batch * heads, rows, channels]
    single: bool  # k and v are [batch, columns, channels]


class Canonical(NamedTuple):
    """q [b, h, i, d], k and v [b, kv_heads, j, d], mask bool [b or 1, j] or, for key_lengths, int32 [b], bias [n, h or 1, i, j],
    head_scale f32 [h]. n divides b: batch number m reads bias number m % n."""
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    mask: "torch.Tensor | None"
    bias: "torch.Tensor | None"
    head_scale: "torch.Tensor | None"


def order_of(fifth):
    """The names of the fifth and the following positional arguments, by what the fifth is."""
    if fifth is None:
        return FIRST_GENERATION
    if isinstance(fifth, torch.Tensor):
        return FIRST_GENERATION if fifth.dim() >= 2 else SECOND_GENERATION
    if not isinstance(fifth, bool) and isinstance(fifth, (numbers.Real, torch.SymInt, torch.SymFloat)):
        return SECOND_GENERATION
    raise TypeError(f"the fifth positional argument is {describe_value(fifth)}: pass attn_bias (None or a tensor) or scale (a "
                    "number) there, and the others by name")


def by_name(function, args, kwargs):
    """Four arguments at most by position, the others by name. The fifth decides whether they are in the order of the
    original's 0.1.40 or 0.2.2."""
    names = order_of(args[4])
    if len(args) > 4 + len(names):
        raise TypeError(f"{function}() takes at most {4 + len(names)} positional arguments, and {len(args)} were given")
    for name, value in zip(names, args[4:]):
        if name in kwargs:
            raise TypeError(f"{function}() got multiple values for argument '{name}'")
        kwargs[name] = value
    return args[:4], kwargs


def describe_value(value):
    return f"a {type(value).__name__}" if isinstance(value, torch.Tensor) else f"{value!r} ({type(value).__name__})"


def shape_text(t):
    return "(" + ", ".join(str(n) for n in t.shape) + (",)" if t.dim() == 1 else ")")


def check_tensor(name, t):
    if not isinstance(t, torch.Tensor):
        raise TypeError(f"{name} is {describe_value(t)}: it must be a tensor")
    if t.is_nested:
        raise TypeError(f"{name} is a nested tensor: pad it, and pass a mask")
    if t.layout != torch.strided:
        raise TypeError(f"{name} has layout {t.layout}: it must be dense (to_dense())")


def check_operands(q, k, v):
    for name, t in (("q", q), ("k", k), ("v", v)):
        check_tensor(name, t)
        if t.dtype not in DTYPES:
            raise TypeError(f"{name} is {t.dtype}: it must be float32, bfloat16, float16 or float64")
    for name, t in (("k", k), ("v", v)):
        if t.dtype != q.dtype:
            raise TypeError(f"{name} is {t.dtype} and q is {q.dtype}: they must have the same dtype")
        if t.device != q.device:
            raise ValueError(f"{name} is on {t.device} and q on {q.device}: they must be on the same device")
    if q.device.type not in ("cpu", "cuda", "meta"):
        raise ValueError(f"q is on {q.device}: attention runs on cpu and cuda")


def geometry_of(q, k, v):
    """Checks q, k and v, and their shapes against each other."""
    check_operands(q, k, v)
    if q.dim() not in (3, 4):
        raise ValueError(f"q has shape {shape_text(q)}: it must be (batch, heads, i, d), or (batch * heads, i, d) with k and v "
                         "of three axes")
    merged, single = q.dim() == 3, k.dim() == 3
    if k.dim() not in (3, 4) or (merged and not single):
        raise ValueError(f"k has shape {shape_text(k)}: it must be " + (
            "(batch * heads, j, d), as q has three axes" if merged else "(batch, heads, j, d), or (batch, j, d) for one head"))
    if v.shape != k.shape:
        raise ValueError(f"v has shape {shape_text(v)}: it must be that of k, {shape_text(k)}")
    batch, rows, channels = q.shape[0], q.shape[-2], q.shape[-1]
    heads, kv_heads = (1 if merged else q.shape[1]), (1 if single else k.shape[1])
    if k.shape[0] != batch:
        raise ValueError(f"k has shape {shape_text(k)}: its first axis must be {batch}, as that of q")
    if k.shape[-1] != channels:
        raise ValueError(f"k has shape {shape_text(k)}: its last axis must be {channels}, as that of q")
    if kv_heads != heads and (kv_heads == 0 or heads % kv_heads != 0):
        raise ValueError(f"k has {kv_heads} heads and q {heads}: the heads of q must be a multiple of those of k")
    if channels < 1 or channels > MOST_CHANNELS:
        raise ValueError(f"q has a head dim of {channels}: it must be from 1 to {MOST_CHANNELS}")
    return Geometry(batch, heads, kv_heads, rows, k.shape[-2], channels, merged, single)


def check_mask(mask, geometry, device):
    check_tensor("mask", mask)
    if mask.dtype != torch.bool:
        raise TypeError(f"mask is {mask.dtype}: it must be bool, True where a key is visible; additive masks are attn_bias")
    b, j = geometry.batch, geometry.columns
    if mask.dim() != 2 or mask.shape[1] != j or (mask.shape[0] != b and mask.shape[0] != 1):
        raise ValueError(f"mask has shape {shape_text(mask)}: it must be ({b}, {j}), a batch and a key; masks of queries and "
                         "keys are attn_bias")
    if mask.device != device:
        raise ValueError(f"mask is on {mask.device} and q on {device}: they must be on the same device")


def check_lengths(lengths, mask, geometry, device):
    """Beside a mask, which may be None."""
    check_tensor("key_lengths", lengths)
    if mask is not None:
        raise ValueError("mask and key_lengths are both given: one of the two says which keys are visible; a mask of lengths is "
                         "torch.arange(j, device=q.device) < key_lengths[:, None], to be combined with &")
    if lengths.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"key_lengths is {lengths.dtype}: it must be int32 or int64, how many keys of each batch are visible")
    if lengths.dim() != 1 or lengths.shape[0] != geometry.batch:
        raise ValueError(f"key_lengths has shape {shape_text(lengths)}: it must be ({geometry.batch},), a number for each batch")
    if lengths.device != device:
        raise ValueError(f"key_lengths is on {lengths.device} and q on {device}: they must be on the same device")


def canonical_lengths(lengths, mask, geometry, device):
    check_lengths(lengths, mask, geometry, device)
    if lengths.dtype == torch.int64:
        lengths = lengths.clamp(0, geometry.columns).to(torch.int32)
    return lengths.contiguous()


def divides(part, whole):
    return part != 0 and whole != 0 and whole % part == 0


def four_axes(bias, geometry, batch_dim):
    """A view of the bias as [what divides the batch, heads or 1, rows or 1, columns or 1]. Checks it."""
    check_tensor("attn_bias", bias)
    if not bias.is_floating_point() and bias.dtype != torch.bool:
        raise TypeError(f"attn_bias is {bias.dtype}: it must be floating point, or bool, True where a query sees a key")
    batch, heads, rows, columns = geometry.batch, geometry.heads, geometry.rows, geometry.columns
    if bias.dim() == 2:
        view = bias[None, None]
    elif bias.dim() == 3:
        view = bias.unsqueeze(1 if batch_dim or geometry.merged else 0)
    elif bias.dim() == 4:
        view = bias
    else:
        view = None
    wanted = (batch, heads, rows, columns)
    if bias.dim() == 4 and divides(bias.shape[0], batch):
        wanted = (bias.shape[0], heads, rows, columns)
    if view is None or any(n != 1 and n != full for n, full in zip(view.shape, wanted)):
        if geometry.merged:
            allowed = f"({batch}, {rows}, {columns})"
        elif bias.dim() == 3 and batch_dim:
            allowed = f"({batch}, {rows}, {columns}) with attn_bias_batch_dim=True"
        else:
            allowed = (f"({heads}, {rows}, {columns}), ({batch}, {rows}, {columns}) with attn_bias_batch_dim=True, or "
                       f"({batch}, {heads}, {rows}, {columns})")
        raise ValueError(f"attn_bias has shape {shape_text(bias)}: it must be {allowed}, where axes of 1 are broadcast")
    return view


def integer(name, value, least=1):
    if isinstance(value, bool):
        raise TypeError(f"{name} is {value}: it must be an integer")
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {describe_value(value)}: it must be an integer") from None
    if value < least:
        raise ValueError(f"{name} is {value}: it must be at least {least}")
    return value


def number(name, value):
    if isinstance(value, (bool, torch.Tensor)) or not isinstance(value, (numbers.Real, torch.SymInt, torch.SymFloat)):
        raise TypeError(f"{name} is {describe_value(value)}: it must be a number")
    value = float(value)
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}: it must be finite")
    return value


def check_scale(scale, geometry):
    """A scale that is a tensor: floating point, one value or one for each head."""
    check_tensor("scale", scale)
    if not scale.is_floating_point():
        raise TypeError(f"scale is a tensor of {scale.dtype}: it must be floating point")
    heads = geometry.heads
    if scale.numel() == 1:
        return
    shape = list(scale.shape)
    while len(shape) > 1 and shape[0] == 1:
        shape.pop(0)
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    if shape != [heads]:
        raise ValueError(f"scale has shape {shape_text(scale)}: it must be a number, a tensor of one value, or ({heads},), one for "
                         "each head")


def options_of(geometry, scale, groups, causal, l2norm_qk, logit_bound, deterministic, allow_tf32):
    groups = integer("groups", groups)
    if geometry.channels % groups:
        raise ValueError(f"groups is {groups}: it must divide the head dim, which is {geometry.channels}")
    for name, value in (("causal", causal), ("l2norm_qk", l2norm_qk)):
        if isinstance(value, torch.Tensor) or value not in (False, True):
            raise TypeError(f"{name} is {describe_value(value)}: it must be True or False")
    bound = 0.0
    if logit_bound is not None:
        bound = number("logit_bound", logit_bound)
        if bound <= 0:
            raise ValueError(f"logit_bound is {bound}: it must be above 0, a promise that no |logit| is larger")
    l2norm_qk = bool(l2norm_qk)
    return Options(8.0 if isinstance(scale, torch.Tensor) else number("scale", scale), groups if l2norm_qk else 1,
                   bool(causal), l2norm_qk, bound, bool(deterministic), bool(allow_tf32))


def padded_channels(channels, groups):
    """The least multiple of 16 and of the groups."""
    step = 16 * groups // math.gcd(16, groups)
    padded = -(-channels // step) * step
    if padded > MOST_CHANNELS:
        raise ValueError(f"a head dim of {channels} in {groups} groups would be padded to {padded}: at most {MOST_CHANNELS}; choose "
                         "groups that share factors with 16")
    return padded


def pad(t, channels, groups=1):
    """Zeros at the end of every group, which change neither norms nor products."""
    if groups == 1:
        return F.pad(t, (0, channels - t.shape[-1]))
    parts = t.unflatten(-1, (groups, t.shape[-1] // groups))
    return F.pad(parts, (0, channels // groups - parts.shape[-1])).flatten(-2)


def canonical_bias(bias, geometry, batch_dim, dtype, device):
    view = four_axes(bias, geometry, batch_dim)
    if bias.device != device:
        raise ValueError(f"attn_bias is on {bias.device} and q on {device}: they must be on the same device")
    if view.dtype == torch.bool:
        view = torch.zeros(view.shape, dtype=dtype, device=device).masked_fill(~view, float("-inf"))
    elif dtype == torch.float64 or (view.dtype != dtype and view.dtype != torch.float32):
        view = view.to(torch.float64 if dtype == torch.float64 else torch.float32)
    if view.shape[-1] != geometry.columns or view.shape[-2] != geometry.rows:
        view = view.expand(-1, -1, geometry.rows, geometry.columns)
    return view if view.stride(-1) == 1 or geometry.columns == 1 else view.contiguous()


def canonical_scale(scale, geometry, dtype, device):
    check_scale(scale, geometry)
    if scale.device != device and scale.numel() != 1:
        raise ValueError(f"scale is on {scale.device} and q on {device}: they must be on the same device")
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    flat = scale.to(device=device, dtype=wide).reshape(-1)
    return flat.expand(geometry.heads).contiguous() if flat.shape[0] != geometry.heads else flat.contiguous()


def canonical(q, k, v, mask, attn_bias, scale, geometry, options, batch_dim, key_lengths):
    """The arguments in the one form, by PyTorch's own operations, through which gradients and tracers find their way. o
    has more channels than q where `pad` had to add some."""
    if mask is not None:
        check_mask(mask, geometry, q.device)
    if key_lengths is not None:
        mask = canonical_lengths(key_lengths, mask, geometry, q.device)
    bias = head_scale = None
    if attn_bias is not None:
        bias = canonical_bias(attn_bias, geometry, batch_dim, q.dtype, q.device)
    if isinstance(scale, torch.Tensor):
        head_scale = canonical_scale(scale, geometry, q.dtype, q.device)
    if geometry.merged:
        q = q.unsqueeze(1)
    if geometry.single:
        k, v = k.unsqueeze(1), v.unsqueeze(1)
    if geometry.channels % 16 and q.dtype != torch.float64:
        channels = padded_channels(geometry.channels, options.groups)
        q, k, v = pad(q, channels, options.groups), pad(k, channels, options.groups), pad(v, channels)
    return Canonical(q, k, v, mask, bias, head_scale)
