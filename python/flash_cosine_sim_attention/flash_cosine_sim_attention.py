"""The names of the module of this name in the original."""
from . import arguments
from .attention import flash_cosine_sim_attention
from .normalize import grouped_l2norm, l2norm, l2norm_cpu, l2norm_tensors
from .plain import plain_cosine_sim_attention

__all__ = ["FlashCosineSimAttention", "debug", "flash_cosine_sim_attention", "flash_cosine_sim_attention_cpu",
           "flash_cosine_sim_attention_cuda", "grouped_l2norm", "l2norm", "l2norm_cpu", "l2norm_tensors",
           "plain_cosine_sim_attention"]

_FIRST = ("attn_bias", "scale", "causal", "attn_bias_batch_dim")  # 0.1.40
_SECOND = ("scale", "causal")  # 0.2.2
_TILES = ("row_tile_size", "col_tile_size")


def _normalised(function, args, kwargs):
    """Attention of q and k that are taken as they are. Tile sizes are looked at no further."""
    if len(args) > 4:
        first = arguments.order_of(args[4]) is arguments.FIRST_GENERATION
        names = (_FIRST if first else _SECOND) + _TILES
        if len(args) > 4 + len(names):
            raise TypeError(f"{function}() takes at most {4 + len(names)} positional arguments, and {len(args)} were given")
        for name, value in zip(names, args[4:]):
            if name in kwargs:
                raise TypeError(f"{function}() got multiple values for argument '{name}'")
            kwargs[name] = value
    for name in _TILES:
        kwargs.pop(name, None)
    return flash_cosine_sim_attention(*args[:4], l2norm_qk=False, **kwargs)


def flash_cosine_sim_attention_cpu(*args, **kwargs):
    """(q, k, v, mask, attn_bias, scale, causal, attn_bias_batch_dim), or without the biases, then tile sizes: attention of q
    and k that are normalised already, on whichever device they are."""
    return _normalised("flash_cosine_sim_attention_cpu", args, kwargs)


class FlashCosineSimAttention:
    """What the original calls its autograd function."""

    @staticmethod
    def apply(*args, **kwargs):
        """As flash_cosine_sim_attention_cpu: q and k are normalised already."""
        return _normalised("FlashCosineSimAttention.apply", args, kwargs)


flash_cosine_sim_attention_cuda = FlashCosineSimAttention.apply


def debug(*args):
    """Does nothing: the original's tells its kernels to print."""
