"""Attention as autograd Functions that functorch can transform: for torch.func, vmap and second derivatives, which raise.
Tensors are in canonical form."""
import torch
from torch.autograd import Function

from . import execute

NO_SECOND = ("attention can be differentiated once: second derivatives are not implemented. Use float64 tensors, for which "
             "PyTorch's own operations compute it, or plain_cosine_sim_attention")
NO_FORWARD_MODE = ("attention has no forward-mode derivatives: use backward mode, float64 tensors, for which PyTorch's own "
                   "operations compute it, or plain_cosine_sim_attention")


def _batched(t, dim, size):
    """[size, ...], expanded where it isn't batched; None stays None."""
    if t is None:
        return None
    return t.movedim(dim, 0) if dim is not None else t.unsqueeze(0).expand(size, *t.shape)


def _folded(t):
    """[size, b, ...] as [size * b, ...]."""
    return None if t is None else t.flatten(0, 1)


def _unfolded(t, size):
    return None if t is None else t.unflatten(0, (size, t.shape[0] // size))


def fold(size, dims, batch, mask, bias, tensors):
    """All tensors with the batched axis folded into the batch. mask and bias get a batch of their own where they had none
    and are batched themselves, or go with a batch that is."""
    mask_dim, bias_dim, *rest = dims
    folded = [_folded(_batched(t, dim, size)) for t, dim in zip(tensors, rest)]
    if mask is not None:
        mask = _batched(mask, mask_dim, size)
        mask = _folded(mask.expand(size, batch, *mask.shape[2:]))
    if bias is not None:
        bias = _batched(bias, bias_dim, size)
        if bias.shape[1] not in (1, batch):
            bias = bias.repeat(1, batch // bias.shape[1], 1, 1, 1)
        bias = _folded(bias.expand(size, batch, *bias.shape[2:]))
    return mask, bias, folded


def one_by_one(function, size, dims, arguments):
    """vmap as a loop, for what can't be folded: a scale of its own for each, or its gradient."""
    def pick(argument, dim, i):
        return argument if dim is None or not isinstance(argument, torch.Tensor) else argument.select(dim, i)

    results = [function(*(pick(a, d, i) for a, d in zip(arguments, dims))) for i in range(size)]
    stacked = tuple(None if parts[0] is None else torch.stack(parts) for parts in zip(*results))
    return stacked, tuple(None if t is None else 0 for t in stacked)


def gradients_for(dout):
    """What computes gradients in the backward pass of a Function: AttentionBackward, or the operator where a dispatch mode
    has to see it, and of what torch.autograd.grad(is_grads_batched=True) batches, which Functions don't."""
    legacy_batch = torch._C._functorch.is_legacy_batchedtensor(dout)
    if not legacy_batch and (torch.is_grad_enabled() or torch._C._are_functorch_transforms_active()
                             or not torch._C._len_torch_dispatch_stack()):
        return AttentionBackward.apply

    def by_operator(*arguments):
        *tensors, options, omitted, wants_bias, wants_scale = arguments
        from .operators import attention_backward
        return attention_backward(*tensors, *options, omitted, wants_bias, wants_scale)
    return by_operator


def _batch(t, dim):
    return t.shape[1 if dim == 0 else 0]


def fold_attention(function, size, dims, q, k, v, mask, bias, head_scale, *rest):
    """vmap of (q, k, v, mask, bias, head_scale, ...) -> o, lse: one call with a larger batch."""
    if dims[5] is not None:
        return one_by_one(function, size, dims, (q, k, v, mask, bias, head_scale, *rest))
    batch = _batch(q, dims[0])
    mask, bias, (q, k, v) = fold(size, (dims[3], dims[4], *dims[:3]), batch, mask, bias, (q, k, v))
    o, lse = function(q, k, v, mask, bias, head_scale, *rest)
    return (_unfolded(o, size), _unfolded(lse, size) if lse.dim() > 1 else lse), (0, 0 if lse.dim() > 1 else None)


def fold_backward(function, size, dims, dout, q, k, v, o, lse, mask, bias, head_scale, *rest):
    """vmap of (dout, q, k, v, o, lse, mask, bias, head_scale, ..., omitted, wants_bias, wants_scale) -> gradients."""
    omitted, wants_bias, wants_scale = rest[-3:]
    if wants_scale or dims[8] is not None:
        return one_by_one(function, size, dims, (dout, q, k, v, o, lse, mask, bias, head_scale, *rest))
    bias_batch, batch = None if bias is None else _batch(bias, dims[7]), _batch(q, dims[1])
    mask, bias, tensors = fold(size, (dims[6], dims[7], *dims[:6]), batch, mask, bias, (dout, q, k, v, o, lse))
    *gradients, dbias, dscale = function(*tensors, mask, bias, head_scale, *rest)
    unfolded = [None if g is None else _unfolded(g, size) for g in execute.leave_out(gradients, omitted)]
    gradients = [g if u is None else u for g, u in zip(gradients, unfolded)]
    axes = tuple(None if u is None else 0 for u in unfolded)
    if not wants_bias:
        return (*gradients, dbias, dscale), (*axes, None, None)
    dbias = _unfolded(dbias, size)
    if bias_batch != batch:
        dbias = dbias.unflatten(1, (-1, bias_batch)).sum(1)
    return (*gradients, dbias, dscale), (*axes, 0, None)


class Attention(Function):
    """(q, k, v, mask, bias, head_scale, options) -> o, lse."""

    @staticmethod
    def forward(q, k, v, mask, bias, head_scale, options):
        return execute.forward(q, k, v, mask, bias, head_scale, options, True)

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, ctx.options = inputs
        ctx.save_for_backward(*tensors, *output)
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx, dout, _):
        q, k, v, mask, bias, head_scale, o, lse = ctx.saved_tensors
        wants_bias, wants_scale = ctx.needs_input_grad[4], ctx.needs_input_grad[5]
        omitted = execute.omitted_of(*ctx.needs_input_grad[:3])
        run = gradients_for(dout)
        *gradients, dbias, dscale = run(dout, q, k, v, o, lse, mask, bias, head_scale, ctx.options, omitted, wants_bias, wants_scale)
        return *execute.leave_out(gradients, omitted), None, dbias if wants_bias else None, dscale if wants_scale else None, None

    @staticmethod
    def jvp(ctx, *tangents):
        raise NotImplementedError(NO_FORWARD_MODE)

    @staticmethod
    def vmap(info, dims, *arguments):
        return fold_attention(Attention.apply, info.batch_size, dims, *arguments)


class AttentionBackward(Function):
    """The gradients: (dout, q, k, v, o, lse, mask, bias, head_scale, options, omitted, wants_bias, wants_scale) -> dq, dk, dv,
    dbias, dscale; without elements where they aren't wanted."""

    @staticmethod
    def forward(dout, q, k, v, o, lse, mask, bias, head_scale, options, omitted, wants_bias, wants_scale):
        gradients = execute.backward(dout, q, k, v, o, lse, mask, bias, head_scale, options, omitted, wants_bias, wants_scale)
        return tuple(q.new_empty(0) if g is None else g for g in gradients)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *gradients):
        raise NotImplementedError(NO_SECOND)

    @staticmethod
    def jvp(ctx, *tangents):
        raise NotImplementedError(NO_FORWARD_MODE)

    @staticmethod
    def vmap(info, dims, *arguments):
        return fold_backward(AttentionBackward.apply, info.batch_size, dims, *arguments)
