"""The image encoder the straightforward way: every padded token is computed. Oracle and yardstick.

Written from the description of the network alone and sharing no attention code with the package, so that
a slip there cannot hide here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MSAMLogic.model import MSAM
from MSAMLogic.model.image_encoder import EncoderBlock
from MSAMLogic.model.relative_attention import RelativeAttention


def padded_attention(attention: RelativeAttention, tokens: Tensor) -> Tensor:
    """Attend over the whole window, padding and all.

    Args:
        attention: where the weights are taken from.
        tokens: (B, g, g, g, C), already normalised.

    Returns:
        (B, g, g, g, C).
    """
    g, s, heads = attention.grid_size, attention.window_size, attention.heads
    pad = s - g
    x = nn.functional.pad(tokens, (0, 0, 0, pad, 0, pad, 0, pad))
    batch, width = x.shape[0], x.shape[-1]
    qkv = attention.qkv(x)
    if attention.lora is not None:
        lora = attention.lora
        qkv[..., :width] += lora.linear_b_q(lora.linear_a_q(x))
        qkv[..., 2 * width :] += lora.linear_b_v(lora.linear_a_v(x))
    q, k, v = qkv.reshape(batch, s**3, 3, heads, -1).permute(2, 0, 3, 1, 4).flatten(1, 2)
    logits = (q * (width // heads) ** -0.5) @ k.transpose(-2, -1)

    positions = torch.arange(s)
    relative = positions[:, None] - positions[None, :] + s - 1
    x_q = q.reshape(-1, s, s, s, q.shape[-1])
    by_d = torch.einsum("bdhwc,dkc->bdhwk", x_q, attention.rel_pos_d[relative])
    by_h = torch.einsum("bdhwc,hkc->bdhwk", x_q, attention.rel_pos_h[relative])
    by_w = torch.einsum("bdhwc,wkc->bdhwk", x_q, attention.rel_pos_w[relative])
    # The released code adds them on these axes (qd, qh, qw, kd, kh, kw), whatever their names say.
    logits = logits.view(-1, s, s, s, s, s, s)
    logits = logits + by_d[:, :, :, :, None, None, :]
    logits = logits + by_h[:, :, :, None, :, None, :]
    logits = logits + by_w[:, :, :, None, None, :, :]

    out = logits.view(-1, s**3, s**3).softmax(dim=-1) @ v
    out = out.view(batch, heads, s, s, s, -1).permute(0, 2, 3, 4, 1, 5).reshape(batch, s, s, s, width)
    projected: Tensor = attention.proj(out)
    return projected[:, :g, :g, :g]


def padded_encode(network: MSAM, patch: Tensor) -> Tensor:
    """Return the image embedding (B, C, g, g, g) of a patch (B, 1, n, n, n), computed with the padding."""
    encoder = network.image_encoder
    x = encoder.patch_embed.proj(patch).movedim(1, -1) + encoder.pos_embed
    for block in encoder.blocks:
        assert isinstance(block, EncoderBlock)
        x = x + padded_attention(block.attn, block.norm1(x))
        x = x + block.mlp(block.norm2(x))
    embedding: Tensor = encoder.neck(x.movedim(-1, 1))
    return embedding
