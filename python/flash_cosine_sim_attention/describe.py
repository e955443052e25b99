"""Which kernel runs a call, and why."""
import torch
from torch import Tensor

from . import arguments, attention, execute


def describe(*args, **kwargs):
    """What flash_cosine_sim_attention does with these arguments, as text, without doing it: copies that it has to make, the
    problem, the configuration of the kernel and why it was chosen; of the gradients too where a tensor requires them.
    Kernels are compiled where that hasn't been done."""
    if len(args) > 4:
        args, kwargs = arguments.by_name("describe", args, kwargs)
    return _describe(*args, **kwargs)


def _describe(q, k, v, mask=None, attn_bias=None, scale=8, groups=1, causal=False, l2norm_qk=True, attn_bias_batch_dim=False,
              use_triton=False, sequence_parallel=True, *, logit_bound=None, deterministic=None, return_lse=False,
              key_lengths=None):
    for name, t in (("q", q), ("k", k), ("v", v)):
        arguments.check_tensor(name, t)
    tensors = (q, k, v, attn_bias, scale)
    grad = torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in tensors)
    wants = [isinstance(t, Tensor) and t.requires_grad for t in (attn_bias, scale)]
    wants.insert(0, execute.omitted_of(q.requires_grad, k.requires_grad, v.requires_grad))
    with torch.no_grad():
        if q.device.type in ("cpu", "cuda"):
            q, k, v = attention._autocast(q.device.type, (q, k, v))
        geometry = arguments.geometry_of(q, k, v)
        tf32 = q.dtype == torch.float32 and q.device.type == "cuda" and attention._allow_tf32()
        fixed = torch.are_deterministic_algorithms_enabled() if deterministic is None else deterministic
        options = arguments.options_of(geometry, scale, groups, causal, l2norm_qk, logit_bound, fixed, tf32)
        form = arguments.canonical(q, k, v, mask, attn_bias, scale, geometry, options, attn_bias_batch_dim,
                                   key_lengths)
        return "\n".join([*_conversions(geometry, (q, k, v), form), *_kernels(form, options, grad, return_lse, wants)])


def _conversions(geometry, given, form):
    """What happens to the tensors before a kernel reads them."""
    if form.q.dtype == torch.float64 or form.q.numel() == 0 or form.k.numel() == 0:
        return
    if form.q.shape[-1] != geometry.channels:
        yield f"q, k and v are padded with zeros from {geometry.channels} to {form.q.shape[-1]} channels, and o is cut"
        return
    for name, t in zip("qkv", given):
        if not execute.strides_are_regular(t, execute.axes_of(t)) or t.data_ptr() % 16:
            yield (f"{name} is copied: kernels read contiguous channels, and other strides and pointers that are multiples of 16 "
                   f"bytes; its strides are {tuple(t.stride())} of {t.element_size()} bytes")


def _kernels(form, options, grad, return_lse, wants):
    if form.q.device.type == "meta":
        yield "nothing runs: q is on meta"
    elif form.q.numel() == 0 or form.k.numel() == 0:
        yield "no kernel runs: there are no queries or no keys"
    elif form.q.dtype == torch.float64:
        yield "PyTorch's own operations run: kernels have no float64"
    else:
        yield from _plans(form, options, grad, return_lse, wants)


def _plans(form, options, grad, return_lse, wants):
    q, k, v = (execute.readable(t) for t in form[:3])
    mask, bias = execute._readable_mask(form.mask), execute.readable_bias(form.bias)
    call = execute.call_for(q, k, v, mask, bias, form.head_scale, options, grad or return_lse)
    plans = [("forward", call.plan)]
    if grad and not call.plan.status:
        plans.append(("backward", call.backward_plan(execute.like(q), q, k, v, *wants)))
    for name, plan in plans:
        yield f"{name}:"
        text = (f"PyTorch's own operations, with memory for every query-key pair: {plan.reason}" if plan.status else plan.describe())
        yield from ("  " + line for line in text.rstrip().splitlines())
