"""SAM's image encoder, slice by slice and frozen, with what joins the slices.

Module names are those of SAM's checkpoints; ``depth_positions`` and everything with ``adapter`` in its name
is MaskSAM's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MSAMLogic.model.layers import ChannelLayerNorm, TransformerMLP
from MSAMLogic.model.masksam.adapters import DConvAdapter
from MSAMLogic.model.masksam.config import MaskSAMConfig

_NORM_EPS = 1e-6
_PARALLEL_SCALE = 0.5  # of the adapter beside an MLP, in the authors' code


class SamAttention(nn.Module):
    """SAM's self-attention over a square of tokens, with decomposed relative positions.

    The logit from the query in row a and column b to the key in row c and column d gains
    ``q·rel_pos_h[a - c + size - 1] + q·rel_pos_w[b - d + size - 1]`` with the unscaled query vector.

    Args:
        width: channels of a token.
        heads: attention heads.
        size: tokens a side.
    """

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, width // heads))
        offset = torch.arange(size)[:, None] - torch.arange(size)[None, :] + size - 1
        self.offset: Tensor
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each square of ``x``, (B, size, size, width); returns the same shape."""
        batch, size = x.shape[:2]
        q, k, v = self.qkv(x).reshape(batch, size**2, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        squares = q.unflatten(2, (size, size))
        rows = torch.einsum("bnhwc,hkc->bnhwk", squares, self.rel_pos_h[self.offset].to(q.dtype))
        columns = torch.einsum("bnhwc,wkc->bnhwk", squares, self.rel_pos_w[self.offset].to(q.dtype))
        bias = (rows.unsqueeze(-1) + columns.unsqueeze(-2)).flatten(4).flatten(2, 3)
        out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(batch, size, size, -1))
        return projected


class Block(nn.Module):
    """One of SAM's transformer blocks, with a DConvAdapter behind the attention and one beside the MLP.

    The authors' code adapts the attention's output while it is still cut into windows, where its fold by
    slices mixes windows of one slice. Here the windows are put together first, so the convolution runs over
    neighbouring slices in all blocks, as the paper has it.

    Args:
        config: sizes.
        index: which block; it decides between window and global attention.
    """

    def __init__(self, config: MaskSAMConfig, index: int) -> None:
        super().__init__()
        width = config.encoder_width
        self.window = 0 if index in config.global_blocks else config.window_size
        self.norm1 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.attn = SamAttention(width, config.encoder_heads, self.window or config.grid_size)
        self.attention_adapter = DConvAdapter(width, skip=True)
        self.norm2 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.mlp = TransformerMLP(width, int(width * config.mlp_ratio))
        self.mlp_adapter = DConvAdapter(width, skip=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, D, g, g, C) to the same shape."""
        attended = self._attend(self.norm1(x).flatten(0, 1)).reshape(x.shape)
        x = x + self.attention_adapter(attended)
        normed = self.norm2(x)
        out: Tensor = x + self.mlp(normed) + _PARALLEL_SCALE * self.mlp_adapter(normed)
        return out

    def _attend(self, x: Tensor) -> Tensor:
        """Attend over (B, g, g, C), in windows where the block has them; the grid is padded by zeros."""
        if not self.window:
            whole: Tensor = self.attn(x)
            return whole
        batch, g, s = x.shape[0], x.shape[1], self.window
        count = -(-g // s)
        padding = count * s - g
        padded = nn.functional.pad(x, (0, 0, 0, padding, 0, padding))
        windows = padded.reshape(batch, count, s, count, s, -1).transpose(2, 3)
        attended = self.attn(windows.flatten(0, 2)).reshape(windows.shape).transpose(2, 3)
        joined: Tensor = attended.reshape(batch, count * s, count * s, -1)[:, :g, :g]
        return joined


class PatchEmbedding(nn.Module):
    """Cut an image into tokens; a module of its own because SAM's checkpoints name it so."""

    def __init__(self, config: MaskSAMConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.encoder_width, config.token_size, stride=config.token_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, s, s) to tokens (B, g, g, C)."""
        tokens: Tensor = self.proj(x)
        return tokens.permute(0, 2, 3, 1)


class ImageEncoder(nn.Module):
    """SAM's ViT over every slice, depth positions, adapters, and SAM's neck.

    Args:
        config: sizes.
    """

    def __init__(self, config: MaskSAMConfig) -> None:
        super().__init__()
        width, g, out = config.encoder_width, config.grid_size, config.embedding_width
        self.global_blocks = config.global_blocks
        self.patch_embed = PatchEmbedding(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, g, g, width))
        self.depth_positions = nn.Parameter(torch.zeros(config.slices, 1, 1, width))
        self.blocks = nn.ModuleList(Block(config, index) for index in range(config.encoder_depth))
        self.neck = nn.Sequential(
            nn.Conv2d(width, out, kernel_size=1, bias=False),
            ChannelLayerNorm(out),
            nn.Conv2d(out, out, kernel_size=3, padding=1, bias=False),
            ChannelLayerNorm(out),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Encode the slices of a patch.

        Args:
            images: (B, 3, D, s, s).

        Returns:
            The embedding (B, C, D, g, g) and, of each global block, features (B, encoder_width, D, g, g).
        """
        batch, slices = images.shape[0], images.shape[2]
        tokens = self.patch_embed(images.transpose(1, 2).flatten(0, 1)) + self.pos_embed
        x = tokens.unflatten(0, (batch, slices)) + self.depth_positions
        features = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.global_blocks:
                features.append(x.movedim(-1, 1))
        embedding = self.neck(x.flatten(0, 1).permute(0, 3, 1, 2))
        return embedding.unflatten(0, (batch, slices)).transpose(1, 2), tuple(features)
