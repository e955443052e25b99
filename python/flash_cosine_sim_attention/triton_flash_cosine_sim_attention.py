"""The names of the module of this name in the original. No Triton is needed: the kernels are libfcsa's."""
from .attention import flash_cosine_sim_attention
from .flash_cosine_sim_attention import FlashCosineSimAttention

__all__ = ["TritonFlashCosineSimAttention", "triton_flash_cosine_sim_attention", "triton_flash_cosine_sim_attention_cuda"]


def triton_flash_cosine_sim_attention(q, k, v, mask=None, scale=8, groups=1, causal=False, l2norm_qk=True,
                                      sequence_parallel=True):
    """flash_cosine_sim_attention; sequence_parallel changes nothing."""
    return flash_cosine_sim_attention(q, k, v, mask, scale=scale, groups=groups, causal=causal, l2norm_qk=l2norm_qk,
                                      sequence_parallel=sequence_parallel)


class TritonFlashCosineSimAttention:
    """What the original calls its autograd function: q and k are normalised already."""

    @staticmethod
    def apply(q, k, v, mask, scale, causal, sequence_parallel=True):
        return FlashCosineSimAttention.apply(q, k, v, mask, scale, causal)


triton_flash_cosine_sim_attention_cuda = TritonFlashCosineSimAttention.apply
