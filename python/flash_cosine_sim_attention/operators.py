"""Attention as operators of torch.ops.fcsa, with fakes and gradients: for what looks at operators, such as torch.compile,
torch.export, dispatch modes (selective checkpointing) and tensor subclasses. Tensors are in canonical form."""
from typing import Optional, Tuple

import torch
from torch import Tensor

from . import execute, functions
from .arguments import Options
from .hub import operator_name


def _options(scale, groups, causal, l2norm_qk, logit_bound, deterministic, allow_tf32):
    return Options(scale, groups, causal, l2norm_qk, logit_bound, deterministic, allow_tf32)


@torch.library.custom_op(operator_name("attention"), mutates_args=())
def attention(q: Tensor, k: Tensor, v: Tensor, mask: Optional[Tensor], bias: Optional[Tensor], head_scale: Optional[Tensor],
              scale: float, groups: int, causal: bool, l2norm_qk: bool, logit_bound: float, deterministic: bool,
              allow_tf32: bool, with_lse: bool) -> Tuple[Tensor, Tensor]:
    options = _options(scale, groups, causal, l2norm_qk, logit_bound, deterministic, allow_tf32)
    o, lse = execute.forward(q, k, v, mask, bias, head_scale, options, with_lse)
    return o, q.new_empty((0,), dtype=torch.float32) if not with_lse else lse


@attention.register_fake
def _(q, k, v, mask, bias, head_scale, scale, groups, causal, l2norm_qk, logit_bound, deterministic, allow_tf32, with_lse):
    return execute.like(q), q.new_empty(q.shape[:-1] if with_lse else (0,), dtype=torch.float32)


@torch.library.custom_op(operator_name("attention_backward"), mutates_args=())
def attention_backward(dout: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, lse: Tensor, mask: Optional[Tensor],
                       bias: Optional[Tensor], head_scale: Optional[Tensor], scale: float, groups: int, causal: bool,
                       l2norm_qk: bool, logit_bound: float, deterministic: bool, allow_tf32: bool, omitted: int,
                       wants_bias: bool, wants_scale: bool) -> Tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    options = _options(scale, groups, causal, l2norm_qk, logit_bound, deterministic, allow_tf32)
    gradients = execute.backward(dout, q, k, v, o, lse, mask, bias, head_scale, options, omitted, wants_bias, wants_scale)
    return tuple(q.new_empty((0,)) if g is None else g for g in gradients)


@attention_backward.register_fake
def _(dout, q, k, v, o, lse, mask, bias, head_scale, scale, groups, causal, l2norm_qk, logit_bound, deterministic, allow_tf32,
      omitted, wants_bias, wants_scale):
    dbias = bias.new_empty(bias.shape) if wants_bias else q.new_empty((0,))
    dscale = head_scale.new_empty(head_scale.shape) if wants_scale else q.new_empty((0,))
    gradients = execute.leave_out((execute.like(t) for t in (q, k, v)), omitted)
    return (*(q.new_empty((0,)) if g is None else g for g in gradients), dbias, dscale)


def _setup_context(ctx, inputs, output):
    q, k, v, mask, bias, head_scale, *ctx.options, ctx.with_lse = inputs
    ctx.save_for_backward(q, k, v, *output, mask, bias, head_scale)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, dout, _):
    if not ctx.with_lse:
        raise RuntimeError("fcsa::attention was called without with_lse, which its gradients need")
    q, k, v, o, lse, mask, bias, head_scale = ctx.saved_tensors
    wants_bias, wants_scale = ctx.needs_input_grad[4], ctx.needs_input_grad[5]
    omitted = execute.omitted_of(*ctx.needs_input_grad[:3])
    *gradients, dbias, dscale = attention_backward(dout, q, k, v, o, lse, mask, bias, head_scale, *ctx.options, omitted,
                                                   wants_bias, wants_scale)
    return (*execute.leave_out(gradients, omitted), None, dbias if wants_bias else None, dscale if wants_scale else None) + (None,) * 8


def _no_second(ctx, *gradients):
    raise NotImplementedError(functions.NO_SECOND)


attention.register_autograd(_backward, setup_context=_setup_context)
attention_backward.register_autograd(_no_second)

if hasattr(torch.library, "register_vmap"):

    @torch.library.register_vmap(attention)
    def _(info, dims, *arguments):
        return functions.fold_attention(attention, info.batch_size, dims, *arguments)

    @torch.library.register_vmap(attention_backward)
    def _(info, dims, *arguments):
        return functions.fold_backward(attention_backward, info.batch_size, dims, *arguments)
