"""SAM's prompt encoder, frozen, for the generator's masks and boxes; with positions along depth."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from MSAMLogic.model.layers import ChannelLayerNorm
from MSAMLogic.model.masksam.config import MaskSAMConfig

_POINT_KINDS = 4  # background, foreground and the two corners of a box
_MASK_WIDTH = 16


class RandomPositions(nn.Module):
    """SAM's encoding of places in the plane by random frequencies.

    Args:
        width: channels of the encoding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.positional_encoding_gaussian_matrix: Tensor
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, width // 2))

    def forward(self, places: Tensor) -> Tensor:
        """Map places (..., 2), column then row in fractions of the image, to (..., width)."""
        x, y = (2 * places.float() - 1).unsqueeze(-2).unbind(dim=-1)
        # No matrix product: mixed precision would round the phase, of many turns, to a tenth of a radian.
        across, down = self.positional_encoding_gaussian_matrix.float()
        phase = 2 * math.pi * (x * across + y * down)
        return torch.cat((phase.sin(), phase.cos()), dim=-1)


class PromptEncoder(nn.Module):
    """Boxes to tokens, masks to a dense embedding.

    Points and absent masks do not occur here; their embeddings are there because the checkpoint has them.

    Args:
        config: sizes.
    """

    def __init__(self, config: MaskSAMConfig) -> None:
        super().__init__()
        width, g = config.embedding_width, config.grid_size
        self.pe_layer = RandomPositions(width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(_POINT_KINDS))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, _MASK_WIDTH // 4, kernel_size=2, stride=2),
            ChannelLayerNorm(_MASK_WIDTH // 4),
            nn.GELU(),
            nn.Conv2d(_MASK_WIDTH // 4, _MASK_WIDTH, kernel_size=2, stride=2),
            ChannelLayerNorm(_MASK_WIDTH),
            nn.GELU(),
            nn.Conv2d(_MASK_WIDTH, width, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, width)
        self.depth_positions = nn.Parameter(torch.zeros(config.slices, width, g, g))

    def encode_boxes(self, boxes: Tensor) -> Tensor:
        """Return tokens (..., 2, C) of boxes (..., 4): left top, right bottom.

        SAM's boxes name pixels and are moved to the pixels' middles; these are edges already.
        """
        corners = self.pe_layer(boxes.reshape(*boxes.shape[:-1], 2, 2))
        kinds = torch.cat([kind.get_parameter("weight") for kind in self.point_embeddings[2:]])
        tokens: Tensor = corners + kinds
        return tokens

    def encode_masks(self, masks: Tensor) -> Tensor:
        """Return the embedding (..., C, g, g) of masks (..., m, m) of 1 and 0.

        SAM's own masks are logits; the authors give ones and zeros, and so does this network.
        """
        size = masks.shape[-2:]
        embedding: Tensor = self.mask_downscaling(masks.reshape(-1, 1, *size))
        return embedding.reshape(*masks.shape[:-2], *embedding.shape[1:])

    def dense_positions(self) -> Tensor:
        """Return the positions (D, C, g, g) of the image cells: SAM's in the plane plus depth."""
        g = self.depth_positions.shape[-1]
        steps = (torch.arange(g, device=self.depth_positions.device) + 0.5) / g
        rows, columns = torch.meshgrid(steps, steps, indexing="ij")
        plane = self.pe_layer(torch.stack((columns, rows), dim=-1)).permute(2, 0, 1)
        positions: Tensor = plane + self.depth_positions
        return positions
