"""The formula in PyTorch's own operations: memory for every query-key pair, any dtype, differentiable any number of times.

It serves float64, tensors without elements, and the CPU where there is neither a compiler nor a built-in kernel."""
import torch

from .normalize import grouped

EPS = 1e-12


def causal_mask(rows, columns, device):
    """Whether query i sees key j: aligned to the bottom right."""
    return torch.ones((rows, columns), device=device, dtype=torch.bool).tril(columns - rows)


def visible_pairs(mask, causal, rows, columns, device):
    """[batch or 1, 1, rows or 1, columns], or None when everything is visible."""
    seen = causal_mask(rows, columns, device) if causal else None
    if mask is not None and mask.dtype != torch.bool:  # lengths
        mask = torch.arange(columns, device=device) < mask[:, None]
    if mask is not None:
        keys = mask[:, None, None, :]
        seen = keys if seen is None else keys & seen
    return seen


class _Pairs:
    """Everything about the query-key pairs of a call, in at least float32."""

    def __init__(self, q, k, v, mask, bias, head_scale, options):
        wide = torch.float64 if q.dtype == torch.float64 else torch.float32
        q, k, v = q.to(wide), k.to(wide), v.to(wide)
        if options.l2norm_qk:
            q, k = grouped(q, options.groups, EPS), grouped(k, options.groups, EPS)
        repeats = q.shape[1] // k.shape[1] if k.shape[1] else 1
        if repeats != 1:
            k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
        self.q, self.k, self.v = q, k, v
        self.scale = options.scale if head_scale is None else head_scale.to(wide)[:, None, None]
        self.cosines = q @ k.transpose(-1, -2)
        logits = self.cosines * self.scale
        if bias is not None:
            repeats = q.shape[0] // bias.shape[0] if bias.shape[0] > 1 else 1
            logits = logits + (bias if repeats == 1 else bias.repeat(repeats, 1, 1, 1)).to(wide)
        visible = visible_pairs(mask, options.causal, q.shape[2], k.shape[2], q.device)
        if visible is not None:
            logits = logits.masked_fill(~visible, float("-inf"))
        top = logits.detach().amax(-1, keepdim=True) if k.shape[2] else logits.new_full((*logits.shape[:-1], 1), float("-inf"))
        top = top.masked_fill(top == float("-inf"), 0)
        weights = (logits - top).exp()
        if visible is not None:
            weights = weights.masked_fill(~visible, 0)
        total = weights.sum(-1, keepdim=True)
        self.lse = (total.detach().log() + top).squeeze(-1)
        self.weights = weights / torch.where(total == 0, 1, total)


def unfused_attention(q, k, v, mask, bias, head_scale, options):
    """o [b, h, i, d] in q's dtype and lse [b, h, i]. q [b, h, i, d], k and v [b, kv_heads, j, d], mask bool [b or 1, j] or
    lengths int32 [b], bias [n, h or 1, i, j] where n divides b, head_scale [h] or None: then options.scale."""
    pairs = _Pairs(q, k, v, mask, bias, head_scale, options)
    return (pairs.weights @ pairs.v).to(q.dtype), pairs.lse


def _through_the_norm(given, unit, gradient, groups):
    """The gradient of what was normalised; 0 where the norm is below EPS, as kernels have it."""
    shape, parts = given.shape, (groups, given.shape[-1] // groups)
    given, unit, gradient = (t.unflatten(-1, parts) for t in (given.to(unit.dtype), unit, gradient))
    norm = given.norm(dim=-1, keepdim=True)
    tangent = gradient - unit * (unit * gradient).sum(-1, keepdim=True)
    return torch.where(norm < EPS, 0, tangent / norm.clamp_min(EPS)).reshape(shape)


def sum_of_biases(dlogits, shape):
    """[b, h, i, j] summed to the shape of a bias, whose first axis divides b."""
    return dlogits.unflatten(0, (-1, shape[0])).sum(0).sum_to_size(shape)


def unfused_gradients(dout, q, k, v, mask, bias, head_scale, options, wants_bias, wants_scale):
    """dq, dk, dv, dbias and dscale of unfused_attention, without autograd, which operators have switched off; the last two
    None where they aren't wanted."""
    pairs = _Pairs(q, k, v, mask, bias, head_scale, options)
    dout, weights, kv_heads = dout.to(pairs.q.dtype), pairs.weights, k.shape[1]

    def shared(t):
        return t.unflatten(1, (kv_heads, -1)).sum(2)

    dweights = dout @ pairs.v.transpose(-1, -2)
    dlogits = weights * (dweights - (weights * dweights).sum(-1, keepdim=True))
    dcosines = dlogits * pairs.scale
    dq, dk, dv = dcosines @ pairs.k, dcosines.transpose(-1, -2) @ pairs.q, shared(weights.transpose(-1, -2) @ dout)
    if options.l2norm_qk:
        unit_k = pairs.k.unflatten(1, (kv_heads, -1))[:, :, 0]
        dq, dk = _through_the_norm(q, pairs.q, dq, options.groups), _through_the_norm(k, unit_k, shared(dk), options.groups)
    else:
        dk = shared(dk)
    dbias = sum_of_biases(dlogits, bias.shape).to(bias.dtype).contiguous() if wants_bias else None
    dscale = (dlogits * pairs.cosines).sum((0, 2, 3)).to(head_scale.dtype) if wants_scale else None
    return dq, dk, dv, dbias, dscale
