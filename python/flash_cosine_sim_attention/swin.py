"""Swin V2's attention in timm's and Hugging Face's models, in one kernel.

    from flash_cosine_sim_attention.swin import replace_attention

    model = timm.create_model("swinv2_tiny_window8_256", pretrained=True)
    replace_attention(model)

Weights, names and results stay as they are: the layers' forward changes, no more."""
import math
import sys

import torch

from .attention import flash_cosine_sim_attention

LARGEST_SCALE = 100.0  # Swin V2's clamp


def clamped_scale(log_scale):
    """f32 (heads,), of a parameter (heads, 1, 1)."""
    wide = log_scale if log_scale.dtype == torch.float64 else log_scale.float()
    return wide.clamp(max=math.log(LARGEST_SCALE)).exp().flatten()


def position_bias(mlp, coordinates, index):
    """f32 (1, heads, n, n): 16 sigmoid of what the layer's MLP makes of the distance between two positions of a window."""
    table = mlp(coordinates).flatten(0, -2)
    table = 16 * torch.sigmoid(table if table.dtype == torch.float64 else table.float())
    n = index.shape[0]
    return table[index.flatten()].view(n, n, -1).permute(2, 0, 1).contiguous().unsqueeze(0)


def window_attention(q, k, v, log_scale, bias, mask=None):
    """Attention in windows: q, k, v (batch * windows, heads, n, d), bias (1, heads, n, n), and where windows are shifted mask
    (windows, n, n), which is added: window w of every image reads mask[w]."""
    if mask is not None:
        bias = bias + mask.unsqueeze(1).to(bias.dtype)
    return flash_cosine_sim_attention(q, k, v, attn_bias=bias, scale=clamped_scale(log_scale))


def refuse_dropout(layer, p):
    if layer.training and p > 0:
        raise ValueError(f"{type(layer).__name__} drops {p} of the attention weights in training, which attention in one kernel "
                         "never sees: set that dropout to 0 or keep the layer as it is")


def _fused_classes():
    """{class of a layer: what takes its place}, of the libraries that have been imported: no layer is from another."""
    classes = {}
    if "timm.models.swin_transformer_v2" in sys.modules:
        from . import swin_timm
        classes.update(swin_timm.FUSED)
    if "transformers.models.swinv2.modeling_swinv2" in sys.modules:
        from . import swin_transformers
        classes.update(swin_transformers.FUSED)
    return classes


def replace_attention(model):
    """Every Swin V2 attention layer in the model, timm's (WindowAttention) or Hugging Face's (Swinv2SelfAttention), runs in one
    kernel from now on. Returns how many; an error where there is none."""
    classes, replaced = _fused_classes(), 0
    for layer in model.modules():
        if type(layer) in classes:
            layer.__class__ = classes[type(layer)]
            replaced += 1
        elif type(layer) in classes.values():
            replaced += 1
    if not replaced:
        raise ValueError(f"{type(model).__name__} has no attention layer of Swin V2: timm's WindowAttention of swin_transformer_v2, or "
                         "Hugging Face's Swinv2SelfAttention")
    return replaced


def restore_attention(model):
    """What replace_attention has replaced, as it was. Returns how many layers that were."""
    originals, restored = {fused: original for original, fused in _fused_classes().items()}, 0
    for layer in model.modules():
        if type(layer) in originals:
            layer.__class__ = originals[type(layer)]
            restored += 1
    return restored
