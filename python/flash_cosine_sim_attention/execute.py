"""Runs libfcsa on plain tensors: which plan belongs to which tensors, outputs, workspaces, streams and threads. Knows
nothing of autograd."""
import functools
import os
import warnings

import torch

from . import native, recording, unfused

_DTYPES = {torch.float32: native.F32, torch.bfloat16: native.BF16, torch.float16: native.F16}
_SPARE_BYTES = 1 << 20  # workspaces up to here are kept for the next call on the CPU
_ALIGNMENT = 256
_ALL = native.DQ | native.DK | native.DV

_forward = native.LIBRARY.fcsa_forward
_backward = native.LIBRARY.fcsa_backward
_pack_forward, _pack_backward = native.pack_forward, native.pack_backward
_empty, _empty_like = torch.empty, torch.empty_like
_num_threads = torch.get_num_threads
_recordings = recording.OPEN
_raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None)
# The library's own variable decides where it is set.
_follow_threads = "FCSA_NUM_THREADS" not in os.environ
_threads = None


@functools.lru_cache(None)
def _several_gpus():
    return torch.cuda.device_count() > 1


def set_threads(threads):
    global _threads
    status = native.LIBRARY.fcsa_set_num_threads(native.opened(), min(threads, 1024))
    if status:
        native.raise_for(status)
    _threads = threads


def strides_are_regular(t, axes):
    """Whether kernels read [batch, heads, rows, channels] as it is: `axes` are the strides of all but the channels."""
    size = t.element_size()
    return t.stride(-1) == 1 and all(n == 1 or (stride > 0 and stride * size % 16 == 0) for n, stride in axes)


def axes_of(t):
    """(length, stride) of batch, heads and rows; what has three axes has one head."""
    shape, stride = t.shape, t.stride()
    if len(shape) == 3:
        return (shape[0], stride[0]), (1, 0), (shape[1], stride[1])
    return (shape[0], stride[0]), (shape[1], stride[1]), (shape[2], stride[2])


def stated(t):
    return native.Strides(*(0 if n == 1 else stride for n, stride in axes_of(t)))


def stated_of_bias(bias):
    """All zero would mean dense: a bias that is the same for all rows says so by a stride that nothing looks at."""
    strides = stated(bias)
    if bias.shape[2] != 1 and not (strides.batch or strides.head or strides.row):
        if bias.shape[0] == 1:
            strides.batch = 1
        else:
            strides.head = 1
    return strides


def readable_bias(bias):
    """Kernels add the same row to all, but not the same matrix to several batches and heads by strides of 0."""
    if bias is not None and bias.shape[0] != 1 and bias.shape[1] != 1 and not any(bias.stride()[:3]):
        return bias.contiguous()
    return bias


def dense(t):
    """A copy whose strides kernels can read. What empty_like gives has the same strides for it as for t."""
    if t.stride(-1) != 1:
        t = t.contiguous()
        return t.clone(memory_format=torch.contiguous_format) if t.data_ptr() % 16 else t
    return _empty_like(t).copy_(t)


def readable(t):
    return t if strides_are_regular(t, axes_of(t)) and t.data_ptr() % 16 == 0 else dense(t)


def like(t):
    """An output with the shape of t, in its order of axes: what fakes have to agree with."""
    return _empty_like(t) if t.stride(-1) == 1 else _empty(t.shape, dtype=t.dtype, device=t.device)


def make_current(device):
    """Makes the device's CUDA context current in this thread, also in one that has had none."""
    if device.type == "cuda":
        torch.cuda.mem_get_info(device)


def make_plan(device, fields):
    if device.type == "cpu":
        return native.Plan(native.Problem(**fields))
    with torch.cuda.device(device):
        make_current(device)
        return native.Plan(native.Problem(**fields))


def workspace_for(call, plan):
    """A tensor and the pointer in it."""
    if call.cuda is not None:
        workspace = _empty(plan.workspace_bytes, dtype=torch.uint8, device=call.device)
        return workspace, workspace.data_ptr()
    workspace = _empty(plan.workspace_bytes + _ALIGNMENT, dtype=torch.uint8)
    return workspace, -(-workspace.data_ptr() // _ALIGNMENT) * _ALIGNMENT


class Call:
    """A plan for tensors of these shapes, strides and dtypes, and what a launch of it needs to know."""
    __slots__ = ("plan", "fields", "device", "cuda", "lse_shape", "options", "by_lengths", "spare", "keeps", "backward",
                 "good_douts")

    def __init__(self, q, k, v, mask, bias, head_scale, options, with_lse):
        """q, k and v as strides_are_regular wants them, of three or four axes; bias of four; mask of bool, or of int32: key
        lengths. All sizes are above 0."""
        self.device = q.device
        self.cuda = q.device.index if q.device.type == "cuda" else None
        self.options = options
        (batch, _), (heads, _), (rows, _) = axes_of(q)
        (_, _), (kv_heads, _), (columns, _) = axes_of(k)
        self.fields = fields = dict(
            device=native.CPU if self.cuda is None else native.CUDA, dtype=_DTYPES[q.dtype], batch=batch, heads=heads,
            kv_heads=kv_heads, nq=rows, nk=columns, head_dim=q.shape[-1], causal=options.causal, lse=with_lse,
            l2norm_qk=options.l2norm_qk, groups=options.groups, allow_tf32=options.allow_tf32, scale=options.scale,
            logit_bound=options.logit_bound, q_strides=stated(q), k_strides=stated(k), v_strides=stated(v),
            o_strides=stated(like(q)), head_scale=head_scale is not None)
        self.by_lengths = mask is not None and mask.dtype == torch.int32
        if self.by_lengths:
            fields.update(key_lengths=1)
        elif mask is not None:
            one = mask.shape[0] == 1 or mask.stride(0) == 0
            fields.update(key_mask=1, key_mask_batch=1 if one else 0, key_mask_stride=0 if one else mask.stride(0))
        if bias is not None:
            fields.update(bias=native.BIAS_DTYPE if bias.dtype == q.dtype else native.BIAS_F32,
                          bias_batch=bias.shape[0], bias_heads=bias.shape[1], bias_strides=stated_of_bias(bias))
        self.lse_shape = (*q.shape[:-1],) if with_lse else None
        self.plan = make_plan(self.device, fields)
        self.spare, self.keeps = [], self.plan.workspace_bytes <= _SPARE_BYTES and self.cuda is None
        self.backward, self.good_douts = {}, set()

    def accepts(self, dout):
        """Whether kernels read this gradient of o as it is."""
        if not strides_are_regular(dout, axes_of(dout)):
            return False
        if len(self.good_douts) < 64:
            self.good_douts.add(dout.stride())
        return True

    def backward_plan(self, dout, q, k, v, omitted, wants_bias, wants_scale):
        """The plan of the gradients, made when it is first asked for. That of the bias is dense."""
        key = (dout.stride(), omitted, wants_bias, wants_scale)
        plan = self.backward.get(key)
        if plan is None:
            gradients = [stated(like(t)) for t in (q, k, v)]
            fields = dict(self.fields, op=native.BACKWARD, lse=1, deterministic=self.options.deterministic,
                          scale_gradient=wants_scale, dout_strides=stated(dout), dq_strides=gradients[0],
                          dk_strides=gradients[1], dv_strides=gradients[2], bias_gradient=wants_bias,
                          omitted_gradients=omitted)
            plan = make_plan(self.device, fields)
            if len(self.backward) >= 64:
                self.backward.clear()
            self.backward[key] = plan
        return plan


_warned = False


def note_unserved(plan):
    """On the CPU PyTorch's own operations do what no kernel serves; a GPU always has kernels."""
    global _warned
    if _recordings:
        recording.leave_out(plan.reason)
    if plan.reason and not _warned:
        _warned = True
        warnings.warn(f"attention runs by PyTorch's own operations, which is slower and takes memory for every query-key pair: "
                      f"{plan.reason}", RuntimeWarning, stacklevel=3)


def _four_axes(*tensors):
    return (t.unsqueeze(1) if t.dim() == 3 else t for t in tensors)


def unserved_forward(plan, q, k, v, mask, bias, head_scale, options):
    note_unserved(plan)
    o, lse = unfused.unfused_attention(*_four_axes(q, k, v), mask, bias, head_scale, options)
    return like(q).copy_(o.reshape(q.shape)), lse.reshape(q.shape[:-1]).contiguous()


def omitted_of(wants_q, wants_k, wants_v):
    """What libfcsa leaves out."""
    return (0 if wants_q else native.DQ) | (0 if wants_k else native.DK) | (0 if wants_v else native.DV)


def leave_out(gradients, omitted):
    """dq, dk and dv, but None for those."""
    return tuple(None if omitted & bit else g for g, bit in zip(gradients, (native.DQ, native.DK, native.DV)))


def unserved_backward(plan, dout, q, k, v, mask, bias, head_scale, options, omitted, wants_bias, wants_scale):
    note_unserved(plan)
    *gradients, dbias, dscale = unfused.unfused_gradients(*_four_axes(dout, q, k, v), mask, bias, head_scale, options,
                                                          wants_bias, wants_scale)
    gradients = leave_out(gradients, omitted)
    return (*(None if g is None else like(t).copy_(g.reshape(t.shape)) for t, g in zip((q, k, v), gradients)), dbias, dscale)


def run_forward(call, q, k, v, mask, bias, head_scale):
    """o, and lse where the call has one. q, k and v aligned to 16 bytes."""
    if call.cuda is not None and _several_gpus() and torch.cuda.current_device() != call.cuda:
        with torch.cuda.device(call.cuda):
            return run_forward(call, q, k, v, mask, bias, head_scale)
    plan = call.plan
    o = _empty_like(q)
    lse, lse_pointer, stream = None, 0, None
    if call.lse_shape is not None:
        lse = _empty(call.lse_shape, dtype=torch.float32, device=call.device)
        lse_pointer = lse.data_ptr()
    if call.cuda is not None:
        stream = _raw_stream(call.cuda)
    elif _num_threads() != _threads and _follow_threads:
        set_threads(_num_threads())
    workspace, pointer = None, 0
    if plan.workspace_bytes:
        try:
            workspace, pointer = call.spare.pop()
        except IndexError:
            workspace, pointer = workspace_for(call, plan)
    mask_pointer, lengths_pointer = 0 if mask is None else mask.data_ptr(), 0
    if call.by_lengths:
        mask_pointer, lengths_pointer = 0, mask_pointer
    tensors = _pack_forward(
        144, q.data_ptr(), k.data_ptr(), v.data_ptr(), o.data_ptr(), lse_pointer, mask_pointer,
        0 if bias is None else bias.data_ptr(), 0 if head_scale is None else head_scale.data_ptr(), pointer,
        plan.workspace_bytes, lengths_pointer)
    status = _forward(plan.handle, tensors, stream)
    if status:
        native.raise_for(status)
    if _recordings:
        recording.count(plan)
    if call.keeps and workspace is not None:
        call.spare.append((workspace, pointer))
    return o, lse


def run_backward(call, dout, q, k, v, o, lse, mask, bias, head_scale, omitted, wants_bias, wants_scale):
    """dq, dk, dv, dbias and dscale, None where they aren't wanted. dout as kernels read it."""
    if omitted == _ALL and not wants_bias and not wants_scale:
        return None, None, None, None, None
    if call.cuda is not None and _several_gpus() and torch.cuda.current_device() != call.cuda:
        with torch.cuda.device(call.cuda):
            return run_backward(call, dout, q, k, v, o, lse, mask, bias, head_scale, omitted, wants_bias, wants_scale)
    dq = None if omitted & native.DQ else _empty_like(q)
    dk = None if omitted & native.DK else _empty_like(k)
    dv = None if omitted & native.DV else _empty_like(v)
    dbias = dscale = None
    if wants_bias:
        dbias = _empty(bias.shape, dtype=bias.dtype, device=call.device)
    if wants_scale:
        dscale = _empty(head_scale.shape, dtype=torch.float32, device=call.device)
    plan = call.backward.get((dout.stride(), omitted, wants_bias, wants_scale))
    if plan is None:
        plan = call.backward_plan(dout, q, k, v, omitted, wants_bias, wants_scale)
    if plan.status:
        return unserved_backward(plan, dout, q, k, v, mask, bias, head_scale, call.options, omitted, wants_bias,
                                 wants_scale)
    stream = None
    if call.cuda is not None:
        stream = _raw_stream(call.cuda)
    elif _num_threads() != _threads and _follow_threads:
        set_threads(_num_threads())
    workspace, pointer = None, 0
    if plan.workspace_bytes:
        workspace, pointer = workspace_for(call, plan)
    mask_pointer, lengths_pointer = 0 if mask is None else mask.data_ptr(), 0
    if call.by_lengths:
        mask_pointer, lengths_pointer = 0, mask_pointer
    tensors = _pack_backward(
        144, q.data_ptr(), k.data_ptr(), v.data_ptr(), o.data_ptr(), lse.data_ptr(), mask_pointer,
        0 if bias is None else bias.data_ptr(), 0 if head_scale is None else head_scale.data_ptr(), pointer,
        plan.workspace_bytes, dout.data_ptr(), 0 if dq is None else dq.data_ptr(), 0 if dk is None else dk.data_ptr(),
        0 if dv is None else dv.data_ptr(),
        0 if dbias is None else dbias.data_ptr(), 0 if dscale is None else dscale.data_ptr(), lengths_pointer)
    status = _backward(plan.handle, tensors, stream)
    if status:
        native.raise_for(status)
    if _recordings:
        recording.count(plan)
    return dq, dk, dv, dbias, dscale


_calls = native.BoundedCache()


def _metadata(t):
    return None if t is None else (t.shape, t.stride(), t.dtype)


def call_for(q, k, v, mask, bias, head_scale, options, with_lse):
    key = (q.device, _metadata(q), _metadata(k), _metadata(v), _metadata(mask), _metadata(bias), head_scale is not None,
           options, with_lse)
    call = _calls.get(key)
    return call if call is not None else _calls.add(key, Call(q, k, v, mask, bias, head_scale, options, with_lse))


def _readable_mask(mask):
    return mask if mask is None or mask.shape[-1] == 1 or mask.stride(-1) == 1 else mask.contiguous()


def forward(q, k, v, mask, bias, head_scale, options, with_lse):
    """o as `like(q)` and lse, or None, of tensors in canonical form with any strides."""
    if q.numel() == 0 or k.numel() == 0:
        lse = torch.full(q.shape[:-1], float("-inf"), dtype=torch.float32, device=q.device)
        return like(q).zero_(), lse if with_lse else None
    q, k, v, mask, bias = readable(q), readable(k), readable(v), _readable_mask(mask), readable_bias(bias)
    call = call_for(q, k, v, mask, bias, head_scale, options, with_lse)
    if call.plan.status:
        return unserved_forward(call.plan, q, k, v, mask, bias, head_scale, options)
    return run_forward(call, q, k, v, mask, bias, head_scale)


def backward(dout, q, k, v, o, lse, mask, bias, head_scale, options, omitted, wants_bias, wants_scale):
    """dq, dk and dv as `like` has them, dbias dense, dscale; None where they aren't wanted."""
    if q.numel() == 0 or k.numel() == 0:
        return (*leave_out((like(t).zero_() for t in (q, k, v)), omitted), torch.zeros(bias.shape, dtype=bias.dtype, device=q.device) if wants_bias
                else None, torch.zeros_like(head_scale) if wants_scale else None)
    dout, q, k, v = readable(dout), readable(q), readable(k), readable(v)
    mask, bias = _readable_mask(mask), readable_bias(bias)
    call = call_for(q, k, v, mask, bias, head_scale, options, True)
    expected = like(q)
    if o.stride() != expected.stride() or o.data_ptr() % 16:
        o = expected.copy_(o)
    return run_backward(call, dout, q, k, v, o, lse.contiguous(), mask, bias, head_scale, omitted, wants_bias, wants_scale)
