"""Flash cosine-similarity attention for PyTorch, on libfcsa: on NVIDIA GPUs and on the CPU.

    from flash_cosine_sim_attention import flash_cosine_sim_attention

    out = flash_cosine_sim_attention(q, k, v, causal=True)
"""
from .version import __version__
from .flash_cosine_sim_attention import debug, flash_cosine_sim_attention, l2norm_tensors, plain_cosine_sim_attention
from .describe import describe
from .modules import CosineSimAttention
from .recording import record
from .triton_flash_cosine_sim_attention import triton_flash_cosine_sim_attention
from .installed import warn_of_the_original

__all__ = ["CosineSimAttention", "debug", "describe", "flash_cosine_sim_attention", "l2norm_tensors", "plain_cosine_sim_attention",
           "record", "triton_flash_cosine_sim_attention"]

warn_of_the_original()
del warn_of_the_original
