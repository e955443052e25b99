"""Hugging Face's Swin V2 attention. Imports transformers, and has a module of its own so that models with it can be pickled."""
from transformers.models.swinv2.modeling_swinv2 import Swinv2SelfAttention

from .swin import position_bias, refuse_dropout, window_attention


class FusedSwinv2SelfAttention(Swinv2SelfAttention):
    """Hugging Face's Swinv2SelfAttention in one kernel. It has no attention weights to give out."""

    def forward(self, hidden_states, attention_mask=None, output_attentions=False):
        """((windows, n, channels),), of hidden_states of that shape; attention_mask (windows of an image, n, n)."""
        refuse_dropout(self, self.dropout.p)
        if output_attentions:
            raise ValueError("output_attentions is True: attention in one kernel never has the weights; restore_attention(model) "
                             "brings back the layers that do")
        q, k, v = (to(hidden_states).unflatten(-1, (self.num_attention_heads, -1)).transpose(1, 2)
                   for to in (self.query, self.key, self.value))
        bias = position_bias(self.continuous_position_bias_mlp, self.relative_coords_table, self.relative_position_index)
        # The original adds its mask of 0 and -100 twice.
        mask = None if attention_mask is None else 2 * attention_mask
        return (window_attention(q, k, v, self.logit_scale, bias, mask).transpose(1, 2).flatten(-2),)


FUSED = {Swinv2SelfAttention: FusedSwinv2SelfAttention}
