"""Prompts by sampling: a point is what the image features say there, and global queries spread it.

No click is told apart by a label, and no position is encoded: the release computes position encodings
and hands them to layers that do not use them. The matrix for them, and one attention of each layer, are
in its checkpoints and never read; they are kept here under their names for that reason alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MSAMLogic.model.layers import TransformerMLP
from MSAMLogic.model.mask_decoder import DownsampledAttention
from MSAMLogic.model.sam_adapter.config import SAMAdapterConfig


class PromptLayer(nn.Module):
    """Queries and points attend to each other, an MLP on the queries, the image attends to the queries.

    Args:
        config: sizes.
    """

    def __init__(self, config: SAMAdapterConfig) -> None:
        super().__init__()
        width, heads = config.embedding_width, config.prompt_heads
        self.self_attn = DownsampledAttention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = DownsampledAttention(width, heads, 2).requires_grad_(False)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = TransformerMLP(width, config.prompt_mlp_width, nn.ReLU)
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = DownsampledAttention(width, heads, 2)
        self.global_query = nn.Parameter(0.1 * torch.randn(1, config.queries, width))

    def forward(self, image: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Update image cells (B, g³, C) and points (B, N, C)."""
        count = self.global_query.shape[1]
        tokens = torch.cat([self.global_query.to(points.dtype).expand(len(points), -1, -1), points], dim=1)
        tokens = self.norm2(tokens + self.norm1(self.self_attn(tokens, tokens, tokens)))
        queries, points = tokens[:, :count], tokens[:, count:]
        queries = self.norm3(queries + self.mlp(queries))
        return self.norm4(image + self.cross_attn_image_to_token(image, queries, queries)), points


class PromptTransformer(nn.Module):
    """The layers of a prompt encoder.

    Args:
        config: sizes.
    """

    def __init__(self, config: SAMAdapterConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PromptLayer(config) for _ in range(config.prompt_depth))

    def forward(self, image: Tensor, points: Tensor) -> Tensor:
        """Return the image cells (B, g³, C) with the points (B, N, C) worked in."""
        for layer in self.layers:
            image, points = layer(image, points)
        return image


class PromptEncoder(nn.Module):
    """Work the points into one level of features.

    Args:
        config: sizes; the defaults are the release's 3,164,160 parameters.
    """

    def __init__(self, config: SAMAdapterConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.transformer = PromptTransformer(config)
        matrix = torch.randn(3, config.embedding_width // 2)
        self.register_buffer("positional_encoding_gaussian_matrix", matrix)

    def forward(self, level: Tensor, points: Tensor) -> Tensor:
        """Return the level with the points worked in.

        Args:
            level: (B, C, g, g, g), axes (row, column, slice).
            points: (B, N, 3) patch voxels, axes (slice, column, row), as ``grid_sample`` counts them.
        """
        where = (points.float() + 0.5) * 2 / self.patch_size - 1  # in full precision, so that points stay
        sampled = nn.functional.grid_sample(level.float(), where[:, None, None], align_corners=False)
        tokens = sampled[:, :, 0, 0].transpose(1, 2).to(level.dtype)
        image: Tensor = self.transformer(level.flatten(2).transpose(1, 2), tokens)
        return image.transpose(1, 2).reshape(level.shape)
