"""What else computes attention, as far as it can be imported. A peer is called with a problem and a device and gives a function
of q, k and v (b, h, n, d), with q and k normalised already; it raises Refused for a problem that it doesn't do."""
import importlib

import torch
import torch._functorch.config
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


class Refused(Exception):
    """Why a peer doesn't do a problem."""


def _optional(module, name):
    try:
        return getattr(importlib.import_module(module), name)
    except Exception:  # missing, or made for another version of torch or of the GPU
        return None


def _lower_right(p):
    """How SDPA is told of causal attention: its flag is aligned to the top left."""
    if not p.causal:
        return {}
    if p.nq == p.nk:
        return {"is_causal": True}
    from torch.nn.attention.bias import causal_lower_right
    return {"attn_mask": causal_lower_right(p.nq, p.nk)}


def _repeated(p, k, v):
    if p.kv_heads == p.heads:
        return k, v
    return (t.repeat_interleave(p.heads // p.kv_heads, 1) for t in (k, v))


def plain(p, device):
    """Softmax of all query-key pairs in memory."""
    visible = torch.ones(p.nq, p.nk, dtype=torch.bool, device=device).tril(p.nk - p.nq) if p.causal else None

    def attend(q, k, v):
        k, v = _repeated(p, k, v)
        logits = q @ k.transpose(-1, -2) * p.scale
        if visible is not None:
            logits = logits.masked_fill(~visible, float("-inf"))
        return logits.softmax(-1) @ v
    return attend


def sdpa(backend):
    def make(p, device):
        options = _lower_right(p)

        def attend(q, k, v):
            k, v = _repeated(p, k, v)
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v, scale=p.scale, **options)
        return attend
    return make


def flex(p, device):
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    # Every problem compiles it anew; from the ninth on PyTorch would run it uncompiled, with all query-key pairs in memory.
    torch._dynamo.reset()
    offset, block_mask = p.nk - p.nq, None
    if p.causal:
        block_mask = create_block_mask(lambda b, h, i, j: j <= i + offset, None, None, p.nq, p.nk, device=device)
    attend = compiled(flex_attention, dynamic=False)
    return lambda q, k, v: attend(q, k, v, block_mask=block_mask, scale=p.scale, enable_gqa=p.kv_heads != p.heads)


def flash_attention(function):
    """FlashAttention 2, 3 and 4: rows before heads, causal to the bottom right."""
    def make(p, device):
        if p.dtype == "f32":
            raise Refused("no f32")

        def attend(q, k, v):
            out = function(*(t.transpose(1, 2) for t in (q, k, v)), softmax_scale=p.scale, causal=p.causal)
            return (out[0] if isinstance(out, tuple) else out).transpose(1, 2)
        return attend
    return make


def _ours(p, **options):
    from .. import flash_cosine_sim_attention
    return lambda q, k, v: flash_cosine_sim_attention(q, k, v, scale=p.scale, causal=p.causal, **options)


def ours(p, device):
    # Rounded to bf16, rows that were normalised may be a little longer than 1.
    return _ours(p, l2norm_qk=False, **({"logit_bound": abs(p.scale) * 1.02} if p.l2norm_qk else {}))


OURS = "fcsa"


def available(device):
    """{name: peer} of this process: everything that could run on the device."""
    peers = {OURS: ours, "plain": plain, "sdpa-math": sdpa(SDPBackend.MATH), "sdpa-flash": sdpa(SDPBackend.FLASH_ATTENTION)}
    if device != "cuda":
        return peers
    peers.update({"sdpa-efficient": sdpa(SDPBackend.EFFICIENT_ATTENTION), "sdpa-cudnn": sdpa(SDPBackend.CUDNN_ATTENTION), "flex": flex})
    for name, module in (("fa2", "flash_attn"), ("fa3", "flash_attn_interface"), ("fa4", "flash_attn.cute")):
        function = _optional(module, "flash_attn_func")
        if function is not None:
            peers[name] = flash_attention(function)
    return peers


def normalisation(device):
    """(q, k) -> rows divided by their norms: one kernel on a GPU, by torch.compile."""
    def normalise(q, k):
        return tuple(F.normalize(t.float(), dim=-1).to(t.dtype) for t in (q, k))
    return compiled(normalise, dynamic=True) if device == "cuda" else normalise


def compiled(function, **options):
    """By torch.compile, but so that its backward pass can be repeated, which is how one is timed alone."""
    torch._functorch.config.donated_buffer = False
    return torch.compile(function, **options)


def with_normalisation(name, peer, normalise):
    """The same of q and k as they come. This package does both in one kernel."""
    def make(p, device):
        if name == OURS:
            return _ours(p)
        attend = peer(p, device)
        return lambda q, k, v: attend(*normalise(q, k), v)
    return make
