"""Clicks and the previous mask as embeddings for the decoder (SAM's prompt encoder in 3D)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from MSAMLogic.model.config import ModelConfig
from MSAMLogic.model.convolution import Conv3d
from MSAMLogic.model.layers import ChannelLayerNorm


class RandomPositionEncoding(nn.Module):
    """Random Fourier features of a position: ``cat(sin, cos, sin)`` of ``2π (2c - 1) G``.

    Args:
        width: channels of the encoding, a multiple of 3.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.positional_encoding_gaussian_matrix: Tensor
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(3, width // 3))

    def forward(self, unit_coords: Tensor) -> Tensor:
        """Encode (..., 3) positions in [0, 1] to (..., width)."""
        frequencies = self.positional_encoding_gaussian_matrix
        angles = 2 * math.pi * ((2 * unit_coords - 1).to(frequencies.dtype) @ frequencies)
        return torch.cat((angles.sin(), angles.cos(), angles.sin()), dim=-1)


class PromptEncoder(nn.Module):
    """Sparse (click) and dense (mask) prompt embeddings.

    Args:
        config: sizes; the defaults are the published 8,668 parameters.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.patch_size = config.patch_size
        self.grid_size = config.grid_size
        self.pe_layer = RandomPositionEncoding(width)
        # Index 0 is a background click, index 1 a lesion click, as the labels are.
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(2))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            Conv3d(1, 4, kernel_size=2, stride=2),
            ChannelLayerNorm(4),
            nn.GELU(),
            Conv3d(4, 16, kernel_size=2, stride=2),
            ChannelLayerNorm(16),
            nn.GELU(),
            Conv3d(16, width, kernel_size=1),
        )
        # In the published checkpoints; the release encodes a mask of zeros instead, so it stays unused.
        self.no_mask_embed = nn.Embedding(1, width)

    def forward(self, coords: Tensor, labels: Tensor, mask_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Encode the prompts of a decode.

        Args:
            coords: (B, N, 3) clicks in patch voxels, axes (R, A, S).
            labels: (B, N), 1 for the lesion, 0 for background, -1 for a padding point.
            mask_logits: (B, 1, m, m, m) logits of the previous answer, zeros before the first.

        Returns:
            Sparse embeddings (B, N + 1, C), the last a padding point as there is no box, and dense
            embeddings (B, C, g, g, g).
        """
        padding = self.not_a_point_embed.weight
        positions = self.pe_layer((coords + 0.5) / self.patch_size)
        label = labels[..., None]
        sparse = torch.where(label == -1, torch.zeros_like(positions), positions)
        kinds = torch.cat((padding, *(embedding.weight for embedding in self.point_embeddings)))  # type: ignore[arg-type]
        sparse = sparse + kinds[labels.long() + 1]
        sparse = torch.cat((sparse, padding.expand(sparse.shape[0], 1, -1)), dim=1)
        return sparse, self.mask_downscaling(mask_logits)

    def dense_positions(self) -> Tensor:
        """Return the position encoding of the image embedding's cells, shape (1, C, g, g, g).

        The release stacks the coordinates as (dim 1, dim 0, dim 2) here, unlike for clicks; trained
        weights depend on it.
        """
        g = self.grid_size
        device = self.pe_layer.positional_encoding_gaussian_matrix.device
        centres = (torch.arange(g, device=device, dtype=torch.float32) + 0.5) / g
        dim0, dim1, dim2 = torch.meshgrid(centres, centres, centres, indexing="ij")
        encoded: Tensor = self.pe_layer(torch.stack((dim1, dim0, dim2), dim=-1))
        return encoded.movedim(-1, 0).unsqueeze(0)
