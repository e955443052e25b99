"""A small causal language model of characters, under the names of the original's."""
import functools

import torch
import torch.nn.functional as F
from torch import nn

from .flash_cosine_sim_attention import flash_cosine_sim_attention, plain_cosine_sim_attention


def _dot_product_attention(q, k, v, causal, scale, groups):
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


def _norm(dim, wanted):
    return nn.LayerNorm(dim) if wanted else nn.Identity()


def FeedForward(dim, mult=4, pre_norm=False):
    """Two linear layers with a GELU in between."""
    return nn.Sequential(_norm(dim, pre_norm), nn.Linear(dim, dim * mult, bias=False), nn.GELU(),
                         nn.Linear(dim * mult, dim, bias=False))


class Attention(nn.Module):
    """Causal self-attention of [batch, positions, dim]. use_cuda_kernel or use_triton: flash_cosine_sim_attention, on any
    device; neither: the same in plain operations; non_cosine_sim_attn: attention without normalisation."""

    def __init__(self, dim, dim_head=64, heads=8, scale=8, l2norm_groups=1, pre_norm=False, use_cuda_kernel=False, use_triton=False,
                 non_cosine_sim_attn=False, groups=None, **options):
        super().__init__()
        self.heads, self.scale, self.l2norm_groups = heads, scale, l2norm_groups if groups is None else groups
        self.norm = _norm(dim, pre_norm)
        if non_cosine_sim_attn:
            self.attn_fn = _dot_product_attention
        else:
            fused = use_cuda_kernel or use_triton
            self.attn_fn = functools.partial(flash_cosine_sim_attention if fused else plain_cosine_sim_attention, **options)
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim_head * heads, bias=False) for _ in range(3))
        self.to_out = nn.Linear(dim_head * heads, dim, bias=False)

    def forward(self, x):
        x = self.norm(x)
        q, k, v = (to(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for to in (self.to_q, self.to_k, self.to_v))
        out = self.attn_fn(q, k, v, causal=True, scale=self.scale, groups=self.l2norm_groups)
        return self.to_out(out.transpose(1, 2).flatten(-2))


class CosineSimCausalTransformer(nn.Module):
    """Logits of the next token [batch, positions, num_tokens] from tokens [batch, positions], or with return_loss their mean
    cross entropy. Without pre_norm layers are normalised after the residual sum, whose scale grows with the depth (DeepNet,
    arXiv 2203.00555)."""

    def __init__(self, *, num_tokens, dim, max_seq_len, depth, attn_scale=8, attn_l2norm_groups=1, heads=8, dim_head=64,
                 use_cuda_kernel=False, use_triton=False, pre_norm=False, non_cosine_sim_attn=False, **options):
        super().__init__()
        self.max_seq_len = max_seq_len
        self.residual_scale = 1 if pre_norm else (2 * depth) ** 0.25
        self.token_emb, self.pos_emb = nn.Embedding(num_tokens, dim), nn.Embedding(max_seq_len, dim)
        self.layers = nn.ModuleList(
            nn.ModuleList([
                Attention(dim, dim_head=dim_head, heads=heads, scale=attn_scale, l2norm_groups=attn_l2norm_groups,
                          pre_norm=pre_norm, use_cuda_kernel=use_cuda_kernel, use_triton=use_triton,
                          non_cosine_sim_attn=non_cosine_sim_attn, **options),
                _norm(dim, not pre_norm), FeedForward(dim, pre_norm=pre_norm), _norm(dim, not pre_norm)])
            for _ in range(depth))
        self.to_logits = nn.Sequential(_norm(dim, pre_norm), nn.Linear(dim, num_tokens, bias=False))
        if not pre_norm:
            self._initialise((8 * depth) ** -0.25)

    def _initialise(self, gain):
        for embedding in (self.token_emb, self.pos_emb):
            nn.init.normal_(embedding.weight, std=1e-5)
        for attention, _, feed_forward, _ in self.layers:
            for layer, layer_gain in ((attention.to_q, 1.0), (attention.to_k, 1.0), (attention.to_v, gain), (attention.to_out, gain),
                                      (feed_forward[1], gain), (feed_forward[3], gain)):
                nn.init.xavier_normal_(layer.weight, gain=layer_gain)
        nn.init.xavier_normal_(self.to_logits[-1].weight)

    def forward(self, x, return_loss=False):
        if return_loss:
            x, labels = x[:, :-1], x[:, 1:]
        x = self.token_emb(x) + self.pos_emb(torch.arange(x.shape[1], device=x.device))
        for attention, attention_norm, feed_forward, feed_forward_norm in self.layers:
            x = attention_norm(attention(x) + x * self.residual_scale)
            x = feed_forward_norm(feed_forward(x) + x * self.residual_scale)
        logits = self.to_logits(x)
        return F.cross_entropy(logits.transpose(1, 2), labels) if return_loss else logits

    @torch.no_grad()
    def generate(self, start_tokens, seq_len, temperature=1.0, filter_thres=0.9, **kwargs):
        """seq_len tokens that continue [batch, n], each drawn from the likeliest (1 - filter_thres) of all."""
        was_training = self.training
        self.eval()
        out = start_tokens
        for _ in range(seq_len):
            logits = self(out[:, -self.max_seq_len:], **kwargs)[:, -1]
            kept = max(1, int((1 - filter_thres) * logits.shape[-1]))
            values, indices = logits.topk(kept)
            drawn = torch.multinomial((values / temperature).softmax(-1), 1)
            out = torch.cat((out, indices.gather(-1, drawn)), -1)
        self.train(was_training)
        return out[:, start_tokens.shape[1]:]
