"""The call: from what was passed to the plan that runs it, by the shortest way.

A call with shapes, strides, dtypes and options that were seen before goes from one look into a dict to libfcsa, past
PyTorch's dispatcher. What is new or out of the ordinary takes the long way (`_by_form`), which knows every case: tracers,
modes, functorch, autocast, padding, conversions and PyTorch's own operations."""
import inspect

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch.autograd import Function
from torch.nn import Parameter

from . import arguments, execute, functions, native, operators, recording
from .unfused import unfused_attention

_is_grad_enabled = torch.is_grad_enabled
_is_tracing = torch._C._is_tracing
_dispatch_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._is_torch_function_mode_enabled
_transforms = torch._C._are_functorch_transforms_active
_any_autocast = torch._C._is_any_autocast_enabled
_is_deterministic = torch.are_deterministic_algorithms_enabled
_is_dynamo_compiling = torch.compiler.is_dynamo_compiling
_is_legacy_batch = torch._C._functorch.is_legacy_batchedtensor
_run_forward = execute.run_forward

_PLAIN = frozenset((Tensor, Parameter))
_NOT_DIRECT = object()
_direct = native.BoundedCache()


def _allow_tf32():
    """torch.backends.cuda.matmul's setting, by whichever of its two interfaces this version has."""
    getter = getattr(torch._C, "_get_fp32_precision_getter", None)
    return getter("cuda", "matmul") == "tf32" if getter is not None else torch._C._get_cublas_allow_tf32()


# What torch.compiler.assume_constant_result does, which imports the compiler for it, and that takes seconds.
_allow_tf32._dynamo_marked_constant = True


class Direct(Function):
    """What needs nothing of functorch: the tensors as they were passed, and one argument for all the rest."""

    @staticmethod
    def forward(ctx, q, k, v, mask, bias, head_scale, call):
        o, lse = _run_forward(call[0], q, k, v, mask, bias, head_scale)
        ctx.save_for_backward(q, k, v, o, lse, mask, bias, head_scale)
        ctx.call = call
        if call[1]:
            ctx.mark_non_differentiable(lse)
            return o, lse
        return o

    @staticmethod
    def backward(ctx, dout, *_):
        q, k, v, o, lse, mask, bias, head_scale = ctx.saved_tensors
        call = ctx.call[0]
        needs = ctx.needs_input_grad
        if _is_grad_enabled() or type(dout) is not Tensor or _transforms() or _dispatch_modes() or _is_legacy_batch(dout):
            return _careful_backward(ctx.call, dout, q, k, v, o, lse, mask, bias, head_scale, needs)
        if (dout.stride() not in call.good_douts and not call.accepts(dout)) or dout.data_ptr() & 15:
            dout = execute.dense(dout)
        dq, dk, dv, dbias, dscale = execute.run_backward(call, dout, q, k, v, o, lse, mask, bias, head_scale,
                                                         execute.omitted_of(needs[0], needs[1], needs[2]), needs[4], needs[5])
        return dq, dk, dv, None, dbias, dscale, None


# Past Function.apply's own looking for functorch, which _attend has done.
_apply_direct = super(Function, Direct).apply


def _careful_backward(call, dout, q, k, v, o, lse, mask, bias, head_scale, needs):
    """Under create_graph, vmap, modes: by functions that know of them, in canonical form."""
    call, _, geometry, batch_dim = call
    options = call.options
    shapes = q.shape, k.shape, v.shape
    if geometry.merged:
        q, o, dout, lse = (t.unsqueeze(1) for t in (q, o, dout, lse))
    if geometry.single:
        k, v = k.unsqueeze(1), v.unsqueeze(1)
    view = arguments.four_axes(bias, geometry, batch_dim) if bias is not None else None
    omitted = execute.omitted_of(*needs[:3])
    *gradients, dbias, dscale = functions.gradients_for(dout)(dout, q, k, v, o, lse, mask, view, head_scale, options, omitted,
                                                              needs[4], needs[5])
    gradients = execute.leave_out(gradients, omitted)
    dq, dk, dv = (None if g is None else g.reshape(shape) for g, shape in zip(gradients, shapes))
    return dq, dk, dv, None, dbias.reshape(bias.shape) if needs[4] else None, dscale if needs[5] else None, None


def _direct_call(q, k, v, mask, attn_bias, scale, groups, causal, l2norm_qk, batch_dim, logit_bound, deterministic, tf32, grad,
                 return_lse, key_lengths):
    """(call, return_lse, geometry, batch_dim) when libfcsa takes the tensors as they are, else _NOT_DIRECT. Raises what is
    wrong with them."""
    geometry = arguments.geometry_of(q, k, v)
    options = arguments.options_of(geometry, scale, groups, causal, l2norm_qk, logit_bound, deterministic, tf32)
    if geometry.channels % 16 or q.dtype == torch.float64 or q.numel() == 0 or k.numel() == 0 or q.device.type == "meta":
        return _NOT_DIRECT
    if not all(execute.strides_are_regular(t, execute.axes_of(t)) for t in (q, k, v)):
        return _NOT_DIRECT
    view = None
    if not all(t is None or type(t) in _PLAIN for t in (mask, attn_bias, key_lengths)) or (isinstance(scale, Tensor) and type(scale) not in _PLAIN):
        return _NOT_DIRECT
    if mask is not None:
        arguments.check_mask(mask, geometry, q.device)
        if mask.shape[1] != 1 and mask.stride(1) != 1:
            return _NOT_DIRECT
    if key_lengths is not None:
        arguments.check_lengths(key_lengths, mask, geometry, q.device)
        if key_lengths.dtype != torch.int32 or not key_lengths.is_contiguous():
            return _NOT_DIRECT
        mask = key_lengths
    if attn_bias is not None:
        view = arguments.four_axes(attn_bias, geometry, batch_dim)
        if (view.dtype not in (q.dtype, torch.float32) or view.shape[2:] != (geometry.rows, geometry.columns)
                or attn_bias.device != q.device or (geometry.columns != 1 and view.stride(3) != 1)
                or execute.readable_bias(view) is not view):
            return _NOT_DIRECT
    head_scale = None
    if isinstance(scale, Tensor):
        arguments.check_scale(scale, geometry)
        if (scale.shape != (geometry.heads,) or scale.dtype != torch.float32 or scale.device != q.device
                or not scale.is_contiguous()):
            return _NOT_DIRECT
        head_scale = scale
    call = execute.Call(q, k, v, mask, view, head_scale, options, grad or return_lse)
    return _NOT_DIRECT if call.plan.status else (call, return_lse, geometry, batch_dim)


def _attend(q, k, v, mask=None, attn_bias=None, scale=8, groups=1, causal=False, l2norm_qk=True, attn_bias_batch_dim=False,
            use_triton=False, sequence_parallel=True, *, logit_bound=None, deterministic=None, return_lse=False, key_lengths=None):
    if (_is_dynamo_compiling() or type(q) not in _PLAIN or type(k) not in _PLAIN or type(v) not in _PLAIN
            or _dispatch_modes() or _transforms() or _function_modes() or _any_autocast() or _is_tracing()
            or forward_ad._current_level >= 0):
        return _by_form(q, k, v, mask, attn_bias, scale, groups, causal, l2norm_qk, attn_bias_batch_dim, logit_bound,
                        deterministic, return_lse, key_lengths)
    dtype, device = q.dtype, q.device
    tf32 = dtype is torch.float32 and device.type == "cuda" and _allow_tf32()
    try:
        grad = _is_grad_enabled() and (
            q.requires_grad or k.requires_grad or v.requires_grad or (attn_bias is not None and attn_bias.requires_grad)
            or (type(scale) in _PLAIN and scale.requires_grad))
        if grad and deterministic is None:
            deterministic = _is_deterministic()
        key = (q.shape, q.stride(), k.shape, k.stride(), v.shape, v.stride(), dtype, k.dtype, v.dtype, device, k.device, v.device,
               None if mask is None else (type(mask), mask.shape, mask.stride(), mask.dtype, mask.device, mask.requires_grad),
               None if attn_bias is None else (type(attn_bias), attn_bias.shape, attn_bias.stride(), attn_bias.dtype,
                                               attn_bias.device, attn_bias_batch_dim),
               (type(scale), scale.shape, scale.stride(), scale.dtype, scale.device) if isinstance(scale, Tensor) else scale,
               groups, causal, l2norm_qk, logit_bound, deterministic, tf32, grad, return_lse,
               None if key_lengths is None else (type(key_lengths), key_lengths.shape, key_lengths.stride(), key_lengths.dtype,
                                                 key_lengths.device))
        call = _direct.get(key)
        aligned = not (q.data_ptr() | k.data_ptr() | v.data_ptr()) & 15
    except (RuntimeError, TypeError, AttributeError):
        # Sparse and nested tensors have no strides, what functorch has left behind no pointer, and what is no tensor at all
        # no dtype: the long way serves it or says what is wrong.
        call, key = _NOT_DIRECT, None
    if call is None:
        call = _direct_call(q, k, v, mask, attn_bias, scale, groups, causal, l2norm_qk, attn_bias_batch_dim, logit_bound,
                            deterministic, tf32, grad, return_lse, key_lengths)
        _direct.add(key, call)
    if call is _NOT_DIRECT or not aligned:
        return _by_form(q, k, v, mask, attn_bias, scale, groups, causal, l2norm_qk, attn_bias_batch_dim, logit_bound,
                        deterministic, return_lse, key_lengths)
    head_scale = scale if isinstance(scale, Tensor) else None
    if key_lengths is not None:
        mask = key_lengths
    if grad:
        return _apply_direct(q, k, v, mask, attn_bias, head_scale, call)
    o, lse = _run_forward(call[0], q, k, v, mask, attn_bias, head_scale)
    return (o, lse) if return_lse else o


def _refuse_tangents(tensors):
    """A dual tensor's tangent would be lost."""
    if any(t is not None and isinstance(t, Tensor) and forward_ad.unpack_dual(t).tangent is not None for t in tensors):
        raise NotImplementedError(functions.NO_FORWARD_MODE)


def _autocast(device_type, tensors):
    """As scaled_dot_product_attention does it."""
    if not torch.is_autocast_enabled(device_type):
        return tensors
    dtype = torch.get_autocast_dtype(device_type)
    return tuple(t.to(dtype) if t.is_floating_point() and t.dtype != torch.float64 else t for t in tensors)


def _by_form(q, k, v, mask, attn_bias, scale, groups, causal, l2norm_qk, batch_dim, logit_bound, deterministic, return_lse,
             key_lengths, plainly=False):
    """Every case: the tensors in canonical form, and who runs them. `plainly`: PyTorch's own operations."""
    for name, t in (("q", q), ("k", k), ("v", v)):
        arguments.check_tensor(name, t)
    if q.device.type in ("cpu", "cuda") and not plainly:
        q, k, v = _autocast(q.device.type, (q, k, v))
    geometry = arguments.geometry_of(q, k, v)
    tf32 = q.dtype == torch.float32 and q.device.type == "cuda" and _allow_tf32()
    options = arguments.options_of(geometry, scale, groups, causal, l2norm_qk, logit_bound,
                                   _is_deterministic() if deterministic is None else deterministic, tf32)
    form = arguments.canonical(q, k, v, mask, attn_bias, scale, geometry, options, batch_dim, key_lengths)
    o, lse = unfused_attention(*form, options) if plainly else _run(form, options)
    if o.shape[-1] != geometry.channels:
        o = o[..., :geometry.channels]
    if geometry.merged:
        o, lse = o.squeeze(1), lse.squeeze(1)
    return (o, lse) if return_lse else o


def _by_form_plainly(q, k, v, mask=None, attn_bias=None, scale=8, groups=1, causal=False, l2norm_qk=True,
                     attn_bias_batch_dim=False, *, return_lse=False, key_lengths=None):
    return _by_form(q, k, v, mask, attn_bias, scale, groups, causal, l2norm_qk, attn_bias_batch_dim, None, False, return_lse,
                    key_lengths, plainly=True)


def _wants_gradients(tensors):
    return _is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def _run(form, options):
    """o and lse of what is in canonical form, by whatever has to see the call."""
    if form.q.dtype == torch.float64:
        if not _is_dynamo_compiling() and recording.OPEN:
            recording.leave_out("kernels have no float64")
        return unfused_attention(*form, options)
    if _is_dynamo_compiling():
        o, lse = operators.attention(*form, *options, True)
        return o, lse.detach()
    if forward_ad._current_level >= 0:
        _refuse_tangents(form)
    if _transforms():
        return functions.Attention.apply(*form, options)
    if (_dispatch_modes() or _function_modes() or _is_tracing() or form.q.device.type == "meta"
            or not all(t is None or type(t) in _PLAIN for t in form)):
        o, lse = operators.attention(*form, *options, True)
        return o, lse.detach()
    if _wants_gradients(form):
        return functions.Attention.apply(*form, options)
    return execute.forward(*form, options, True)


def flash_cosine_sim_attention(*args, **kwargs):
    """softmax(scale * l2norm(q) l2norm(k)^T + attn_bias) v over the visible keys, in one kernel.

    q                     (b, h, i, d), or (b * h, i, d) with k and v of three axes; float32, bfloat16, float16 or float64
    k, v                  (b, kv_heads, j, d), where kv_heads divides h, or (b, j, d): one head for all
    mask                  bool (b, j): True where a key is visible
    attn_bias             (h, i, j); (b, i, j) with attn_bias_batch_dim=True or with q of three axes; (n, h, i, j), where n
                          divides b and batch m reads m % n. Axes of 1 are broadcast. Floating point, or bool: True where a
                          query sees a key
    scale                 a number, or a tensor of one value or of one for each head. 8
    groups                l2norm of each of this many equal parts of d. 1
    causal                query n sees key m when m <= n + j - i
    l2norm_qk             False: q and k are taken as they are
    logit_bound           a promise that no |logit| is larger, which is faster where it can't be worked out
    deterministic         the same bits from every backward pass. torch.are_deterministic_algorithms_enabled()
    return_lse            (o, lse): also the logarithm of the sum of exponentials, float32 (b, h, i), not differentiable
    key_lengths           int32 or int64 (b,): key m of batch n is visible where m < key_lengths[n]; in place of mask

    Returns one tensor in the shape and dtype of q. A row that sees no key is 0. Up to four arguments by position; a fifth
    is attn_bias (None or a tensor of two or more axes), and those after it are in the order of version 0.1.40 of the package
    of this name, or scale, and then they are in that of 0.2.2."""
    if len(args) > 4:
        args, kwargs = arguments.by_name("flash_cosine_sim_attention", args, kwargs)
    return _attend(*args, **kwargs)


def _public_signature():
    """That of what is called by name: after mask, positions have two meanings."""
    parameters = inspect.signature(_attend).parameters.values()
    late = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in list(parameters)[4:]]
    return inspect.Signature(list(parameters)[:4] + late)


flash_cosine_sim_attention.__signature__ = _public_signature()
flash_cosine_sim_attention.__module__ = __package__
_by_form_plainly.__name__ = _by_form_plainly.__qualname__ = "plain_cosine_sim_attention"
_attend.__name__ = _attend.__qualname__ = "flash_cosine_sim_attention"
