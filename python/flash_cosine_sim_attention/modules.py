"""Attention as a layer: projections, gains, rotations and learned scales around flash_cosine_sim_attention."""
import math

import torch
from torch import nn

from .attention import flash_cosine_sim_attention
from .normalize import grouped_l2norm

GAINS = ("qwen3", "gemma3", "ngpt")


class HeadRMSNorm(nn.Module):
    """The last axis divided by its root mean square, in f32, times a gain for each channel: `weight`, as Qwen3 has it, or
    1 + `weight`, as Gemma 3 has it (plus_one)."""

    def __init__(self, dim, plus_one=False, eps=1e-6, device=None, dtype=None):
        super().__init__()
        self.plus_one, self.eps = plus_one, eps
        self.weight = nn.Parameter(torch.empty(dim, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.constant_(self.weight, 0.0 if self.plus_one else 1.0)

    def forward(self, x):
        wide = x if x.dtype == torch.float64 else x.float()
        unit = wide * (wide.pow(2).mean(-1, keepdim=True) + self.eps).rsqrt()
        # Where the two models round to x's dtype differs.
        return (unit * (1 + self.weight.to(unit.dtype))).to(x.dtype) if self.plus_one else self.weight * unit.to(x.dtype)

    def extra_repr(self):
        return f"{self.weight.shape[0]}, plus_one={self.plus_one}, eps={self.eps}"


class HeadGain(nn.Module):
    """sqrt(d) l2norm(x) times a gain for each channel of each key/value head, the same for queries and keys, as nGPT has
    it. x is (b, heads, n, d), where heads is a multiple of those of the gain."""

    def __init__(self, kv_heads, dim, device=None, dtype=None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(kv_heads, dim, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.ones_(self.weight)

    def forward(self, x):
        gain = self.weight.repeat_interleave(x.shape[1] // self.weight.shape[0], 0) * self.weight.shape[1] ** 0.5
        return grouped_l2norm(x) * gain[:, None, :].to(x.dtype)

    def extra_repr(self):
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"


def _positive(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}: it must be a number above 0")
    return float(value)


def _count(name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}: it must be an integer of at least 1")
    return value


class CosineSimAttention(nn.Module):
    """Multi-head attention whose queries and keys are normalised.

    dim              features of the input. None: no projections, and forward takes q, k and v in heads
    heads, kv_heads  of queries, and of keys and values; kv_heads divides heads. As many as heads
    dim_head         channels of a head. dim / heads, or 64 without projections
    context_dim      features of what keys and values are made from. dim
    groups           l2norm of each of this many equal parts of a head. 1
    scale            of the logits. 8, or dim_head ** -0.5 with gains
    learned_scale    None; "one", a parameter for all heads; "head", one for each: exp(log_scale), which starts at scale
    max_scale        the learned scale is clamped to at most this (Swin V2: 100)
    gains            None: rows are divided by their norms, inside the kernel where nothing comes in between. Else, outside
                     the kernel: "qwen3", RMSNorm with a weight; "gemma3", with 1 + weight; "ngpt", sqrt(d) l2norm with a
                     gain for each head, shared by queries and keys. groups is 1 then
    rope             a callable (q, k) -> (q, k) after normalisation, of (b, heads, i, d) and (b, kv_heads, j, d)
    causal           query n sees key m when m <= n + j - i
    bias             of the projections. False
    logit_bound      a promise that no |logit| is larger: flash_cosine_sim_attention

    Names in the state dict stay as they are: to_q, to_k, to_v, to_out, log_scale, q_norm, k_norm, qk_gain."""

    def __init__(self, dim=None, *, heads=8, kv_heads=None, dim_head=None, context_dim=None, groups=1, scale=None,
                 learned_scale=None, max_scale=None, gains=None, rope=None, causal=False, bias=False, logit_bound=None,
                 norm_eps=1e-6, device=None, dtype=None):
        super().__init__()
        made = {"device": device, "dtype": dtype}
        self.heads = _count("heads", heads)
        self.kv_heads = self.heads if kv_heads is None else _count("kv_heads", kv_heads)
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads is {kv_heads}: it must divide heads, which is {heads}")
        self.dim, self.dim_head = dim, _dim_head(dim, heads, dim_head)
        self.groups, self.gains, self.rope, self.causal, self.logit_bound = groups, gains, rope, causal, logit_bound
        if self.dim_head % _count("groups", groups):
            raise ValueError(f"groups is {groups}: it must divide dim_head, which is {self.dim_head}")
        self._make_projections(context_dim, bias, made)
        self._make_gains(norm_eps, made)
        self._make_scale(scale, learned_scale, max_scale, made)

    def _make_projections(self, context_dim, bias, made):
        if self.dim is None:
            if context_dim is not None:
                raise ValueError(f"context_dim is {context_dim}, but without dim there are no projections")
            self.to_q = self.to_k = self.to_v = self.to_out = None
            return
        context_dim = self.dim if context_dim is None else _count("context_dim", context_dim)
        self.to_q = nn.Linear(self.dim, self.heads * self.dim_head, bias=bias, **made)
        self.to_k, self.to_v = (nn.Linear(context_dim, self.kv_heads * self.dim_head, bias=bias, **made) for _ in range(2))
        self.to_out = nn.Linear(self.heads * self.dim_head, self.dim, bias=bias, **made)

    def _make_gains(self, eps, made):
        if self.gains is not None and self.gains not in GAINS:
            raise ValueError(f"gains is {self.gains!r}: it must be None, " + " or ".join(repr(name) for name in GAINS))
        if self.gains is not None and self.groups != 1:
            raise ValueError(f"groups is {self.groups}: with gains there is one group")
        self.q_norm = self.k_norm = self.qk_gain = None
        if self.gains == "ngpt":
            self.qk_gain = HeadGain(self.kv_heads, self.dim_head, **made)
        elif self.gains is not None:
            self.q_norm, self.k_norm = (HeadRMSNorm(self.dim_head, self.gains == "gemma3", eps, **made) for _ in range(2))

    def _make_scale(self, scale, learned, most, made):
        if learned not in (None, "one", "head"):
            raise ValueError(f"learned_scale is {learned!r}: it must be None, 'one' or 'head'")
        if scale is None:
            scale = 8.0 if self.gains is None else self.dim_head ** -0.5
        self.scale, self.learned_scale = _positive("scale", scale), learned
        self.max_scale = None if most is None else _positive("max_scale", most)
        if learned is None:
            if most is not None:
                raise ValueError(f"max_scale is {most}, but the scale isn't learned: pass learned_scale='one' or 'head'")
            self.register_parameter("log_scale", None)
            return
        self.log_scale = nn.Parameter(torch.empty(() if learned == "one" else (self.heads,), **made))
        nn.init.constant_(self.log_scale, math.log(self.scale))

    def reset_parameters(self):
        """All parameters as they were at first, drawn anew."""
        for layer in (self.to_q, self.to_k, self.to_v, self.to_out, self.q_norm, self.k_norm, self.qk_gain):
            if layer is not None:
                layer.reset_parameters()
        if self.log_scale is not None:
            nn.init.constant_(self.log_scale, math.log(self.scale))

    def current_scale(self):
        """A number, or a tensor in f32 (f64): () or (heads,)."""
        if self.log_scale is None:
            return self.scale
        log_scale = self.log_scale if self.log_scale.dtype == torch.float64 else self.log_scale.float()
        if self.max_scale is not None:
            log_scale = log_scale.clamp(max=math.log(self.max_scale))
        return log_scale.exp()

    def _normalised(self, q, k, rope):
        """q and k for the kernel, and whether it has to normalise them itself."""
        if self.gains == "ngpt":
            q, k = self.qk_gain(q), self.qk_gain(k)
        elif self.gains is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        elif rope is None:
            return q, k, True
        else:
            q, k = (grouped_l2norm(t, self.groups).to(t.dtype) for t in (q, k))
        return (q, k, False) if rope is None else (*rope(q, k), False)

    def _bound(self, inside, attn_bias):
        """What holds for every logit, where that is known."""
        if self.logit_bound is not None or not inside or attn_bias is not None or self.max_scale is None:
            return self.logit_bound
        return self.max_scale * self.groups

    def attend(self, q, k, v, *, mask=None, attn_bias=None, rope=None):
        """Attention of tensors in heads, past all projections: q (b, heads, i, d), k and v (b, kv_heads, j, d)."""
        q, k, inside = self._normalised(q, k, self.rope if rope is None else rope)
        if not inside:  # what gains and rotations in f32 have made of bf16
            q, k = q.to(v.dtype), k.to(v.dtype)
        return flash_cosine_sim_attention(q, k, v, mask, attn_bias=attn_bias, scale=self.current_scale(), groups=self.groups,
                                          causal=self.causal, l2norm_qk=inside, logit_bound=self._bound(inside, attn_bias))

    def forward(self, query, key=None, value=None, *, mask=None, attn_bias=None, rope=None):
        """With projections: (b, i, dim) from query (b, i, dim), key (b, j, context_dim), which is query where it is missing,
        and value, which is key. Without: as `attend`.

        mask bool (b, j), True is visible; attn_bias as flash_cosine_sim_attention has it; rope in place of the layer's."""
        if self.dim is None:
            if key is None or value is None:
                raise TypeError("without projections (dim=None) forward takes query, key and value, in heads")
            return self.attend(query, key, value, mask=mask, attn_bias=attn_bias, rope=rope)
        key = query if key is None else key
        value = key if value is None else value
        q, k, v = (to(x).unflatten(-1, (heads, self.dim_head)).transpose(1, 2) for to, x, heads in (
            (self.to_q, query, self.heads), (self.to_k, key, self.kv_heads), (self.to_v, value, self.kv_heads)))
        out = self.attend(q, k, v, mask=mask, attn_bias=attn_bias, rope=rope)
        return self.to_out(out.transpose(1, 2).flatten(-2))

    def extra_repr(self):
        shown = [f"heads={self.heads}", f"dim_head={self.dim_head}", f"scale={self.scale:g}"]
        for name, usual in (("kv_heads", self.heads), ("groups", 1), ("learned_scale", None), ("max_scale", None),
                            ("gains", None), ("causal", False)):
            if getattr(self, name) != usual:
                shown.append(f"{name}={getattr(self, name)!r}")
        return ", ".join(shown)


def _dim_head(dim, heads, dim_head):
    if dim_head is not None:
        return _count("dim_head", dim_head)
    if dim is None:
        return 64
    if _count("dim", dim) % heads:
        raise ValueError(f"dim is {dim}: it must be a multiple of heads, which is {heads}, or pass dim_head")
    return dim // heads
