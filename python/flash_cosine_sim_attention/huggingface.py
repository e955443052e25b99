"""Attention of Hugging Face's transformers.

    from flash_cosine_sim_attention.huggingface import register

    model = AutoModelForCausalLM.from_pretrained(..., attn_implementation=register())

Models with gains and rotations (Qwen3, Gemma 3, OLMo 2) normalise by themselves: attention takes their queries and keys as they
are, and so it does those of models that don't normalise (Llama). Needs transformers 5.17 or later."""
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import bidirectional_mask_function, causal_mask_function, sdpa_mask

from .attention import flash_cosine_sim_attention

NAME = "fcsa"
_INSTEAD = "choose attn_implementation='eager' for this model"


def _refuse(module, dropout, sliding_window, softcap, sinks, output_attentions):
    """What would change the result and isn't done is an error."""
    for name, given, what in (
            ("sliding_window", sliding_window, "attention in a sliding window isn't implemented; a model whose layers all have full "
             "attention runs (layer_types, use_sliding_window=False)"),
            ("softcap", softcap, "capped logits aren't implemented"),
            ("s_aux", sinks, "attention sinks aren't implemented"),
            ("output_attentions", output_attentions or None, "attention in one kernel never has the weights"),
            ("dropout", dropout or None, "dropout of attention weights isn't implemented; set attention_dropout=0.0 in the model's "
             "configuration")):
        if given is not None:
            shown = "a tensor" if isinstance(given, torch.Tensor) else repr(given)
            raise ValueError(f"{type(module).__name__} passes {name}={shown} to attn_implementation={NAME!r}: {what}, or {_INSTEAD}")


def _same_for_all_queries(mask):
    """Of a mask (b, 1, i or 1, j), whether all queries and heads read the same row."""
    return mask.dtype == torch.bool and mask.shape[1] == 1 and (mask.shape[2] == 1 or mask.stride(2) == 0)


def attention_forward(module, query, key, value, attention_mask, dropout=0.0, scaling=None, is_causal=None, sliding_window=None,
                      softcap=None, s_aux=None, position_bias=None, output_attentions=False, **kwargs):
    """What transformers calls: ((b, i, h, d), None) of query (b, h, i, d), key and value (b, kv_heads, j, d).

    attention_mask: None, all keys are visible, causally where the layer is; (b, j), what `attention_mask` below gives for
    causal layers; of four axes, everything that there is to say about visibility, bool or additive."""
    _refuse(module, dropout, sliding_window, softcap, s_aux, output_attentions)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    mask, bias = None, position_bias
    if attention_mask is None:
        causal = causal and query.shape[2] > 1
    elif attention_mask.dim() == 2:
        seen = attention_mask.shape[1]  # a static cache has room behind them
        key, value, mask, causal = key[:, :, :seen], value[:, :, :seen], attention_mask.bool(), True
        bias = None if bias is None else bias[..., :seen]
    else:
        causal = False
        if _same_for_all_queries(attention_mask):
            mask = attention_mask[:, 0, 0]
        elif bias is None:
            bias = attention_mask
        elif attention_mask.dtype == torch.bool:
            bias = torch.where(attention_mask, bias, float("-inf"))
        else:
            bias = bias + attention_mask
    out = flash_cosine_sim_attention(query, key, value, mask, attn_bias=bias, causal=causal, l2norm_qk=False,
                                     scale=query.shape[-1] ** -0.5 if scaling is None else scaling)
    return out.transpose(1, 2).contiguous(), None


def _all_visible(mask):
    """Without waiting for the device where a graph is traced."""
    return not torch.compiler.is_compiling() and bool(mask.all())


def _causal_mask(batch, queries, keys, query_offset, key_offset, padding):
    """None, or (b, j) of the keys up to the last query, which are all that anybody sees; False where it takes four axes."""
    if torch.compiler.is_compiling() and isinstance(query_offset, torch.Tensor):
        return False
    seen = int(query_offset) + queries - key_offset
    if seen > keys or seen < queries:
        return False
    if padding is not None:
        padding = padding[:, key_offset:key_offset + seen]
        if padding.shape[1] < seen:
            return False
        if not _all_visible(padding):
            return padding
    if seen == keys:
        return None
    return torch.ones((batch, seen), dtype=torch.bool) if padding is None else padding


def attention_mask(batch_size, q_length, kv_length, q_offset=0, kv_offset=0, mask_function=causal_mask_function, attention_mask=None,
                   local_size=None, allow_is_causal_skip=True, allow_is_bidirectional_skip=False, dtype=torch.float32, device="cpu",
                   **kwargs):
    """What transformers asks for once for all layers: None or (b, j) where the kernel's own causal and key masks do, with
    no memory for query-key pairs; else (b, 1, i, j), 0 or -inf."""
    if mask_function is causal_mask_function and local_size is None and allow_is_causal_skip and q_length > 1:
        mask = _causal_mask(batch_size, q_length, kv_length, q_offset, kv_offset, attention_mask)
        if mask is not False:
            return mask if mask is None else mask.to(device)
    shared = dict(batch_size=batch_size, q_length=q_length, kv_length=kv_length, q_offset=q_offset, kv_offset=kv_offset,
                  mask_function=mask_function, attention_mask=attention_mask, local_size=local_size, device=device,
                  allow_is_bidirectional_skip=allow_is_bidirectional_skip, **kwargs)
    mask = sdpa_mask(allow_is_causal_skip=allow_is_causal_skip and q_length == 1, **shared)
    if mask is None or q_length == 1:
        return mask
    if mask_function is bidirectional_mask_function and local_size is None:
        return mask[:, :, :1].expand(-1, -1, q_length, -1)
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, float("-inf"))


def register(name=NAME):
    """Makes the implementation known to transformers under this name, which it returns."""
    AttentionInterface.register(name, attention_forward)
    AttentionMaskInterface.register(name, attention_mask)
    return name
