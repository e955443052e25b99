"""timm's Swin V2 attention. Imports timm, and has a module of its own so that models with it can be pickled."""
import torch
import torch.nn.functional as F
from timm.models.swin_transformer_v2 import WindowAttention

from .swin import position_bias, refuse_dropout, window_attention


class FusedWindowAttention(WindowAttention):
    """timm's WindowAttention of Swin V2 with everything between its two projections in one kernel."""

    def forward(self, x, mask=None):
        """(windows, n, channels), of x of that shape; mask (windows of an image, n, n) is added to the logits."""
        refuse_dropout(self, self.attn_drop.p)
        bias = None if self.q_bias is None else torch.cat((self.q_bias, self.k_bias, self.v_bias))
        qkv = F.linear(x, self.qkv.weight, bias).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        bias = position_bias(self.cpb_mlp, self.relative_coords_table, self.relative_position_index)
        out = window_attention(*qkv.unbind(0), self.logit_scale, bias, mask)
        return self.proj_drop(self.proj(out.transpose(1, 2).flatten(-2)))


FUSED = {WindowAttention: FusedWindowAttention}
