"""What stands in for a user: masks, boxes and classifier tokens from the encoder's features."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from MSAMLogic.model.convolution import Conv3d
from MSAMLogic.model.masksam.boxes import boxes_of_masks
from MSAMLogic.model.masksam.config import MaskSAMConfig
from MSAMLogic.model.masksam.input_block import convolution

_FINE_LEVELS = 2  # doublings from the token grid to the grid of the masks


class Prompts(NamedTuple):
    """N prompts for each slice.

    Attributes:
        mask_logits: (B, D, N, m, m), positive inside.
        boxes: (B, D, N, 4), see :mod:`MSAMLogic.model.masksam.boxes`.
        class_tokens: (B, D, N, C).
    """

    mask_logits: Tensor
    boxes: Tensor
    class_tokens: Tensor


class PromptGenerator(nn.Module):
    """A U-shaped decoder over the encoder's features, from the deepest to the shallowest.

    It starts from the image embedding and joins the features of the global blocks (every third block), each
    projected and enlarged to the decoder's grid, which doubles at the first two. The last level gives the
    masks. What every level has on average over quarters of a slice gives the boxes, and over a
    coarse grid the classifier tokens.

    As in the authors' code, but with the same width everywhere, and no normalisation of the four numbers of
    a box.

    Args:
        config: sizes.
    """

    def __init__(self, config: MaskSAMConfig) -> None:
        super().__init__()
        width, queries = config.generator_width, config.queries
        self.token_grid = math.isqrt(config.embedding_width)
        self.start = _block(config.embedding_width, width)
        levels = [min(level + 1, _FINE_LEVELS) for level in range(len(config.global_blocks))]
        self.projections = nn.ModuleList(_projection(config.encoder_width, width, n) for n in levels)
        self.enlargements = nn.ModuleList(_doubling(width) for _ in range(_FINE_LEVELS))
        self.joins = nn.ModuleList(_block(2 * width, width) for _ in levels)
        everything = width * (1 + len(levels))
        self.mask_head = Conv3d(width, queries, kernel_size=1)
        self.box_head = Conv3d(everything, queries, kernel_size=1)
        self.class_head = nn.Sequential(Conv3d(everything, queries, kernel_size=3, padding=1), nn.GELU())

    def forward(self, embedding: Tensor, features: tuple[Tensor, ...]) -> Prompts:
        """Return the prompts of all slices.

        Args:
            embedding: (B, C, D, g, g).
            features: of each global block (B, encoder_width, D, g, g), the shallowest first.
        """
        x = self.start(embedding)
        levels = [x]
        for level, (feature, projection, join) in enumerate(
            zip(reversed(features), self.projections, self.joins, strict=True)
        ):
            if level < _FINE_LEVELS:
                x = self.enlargements[level](x)
            x = join(torch.cat((x, projection(feature)), dim=1))
            levels.append(x)
        mask_logits = self.mask_head(x).transpose(1, 2)
        corners = self.box_head(_pooled(levels, 2)).transpose(1, 2).flatten(3).sigmoid()
        tokens = self.class_head(_pooled(levels, self.token_grid)).transpose(1, 2).flatten(3)
        return Prompts(mask_logits, joined_boxes(learnt_boxes(corners), mask_logits), tokens)


def learnt_boxes(fractions: Tensor) -> Tensor:
    """Return boxes (..., 4) of four numbers from 0 to 1: left, top, and how far on from there to the end.

    So right is never before left, nor bottom above top.
    """
    start, share = fractions[..., :2], fractions[..., 2:]
    return torch.cat((start, start + (1 - start) * share), dim=-1)


def joined_boxes(learnt: Tensor, mask_logits: Tensor) -> Tensor:
    """Return the mean of learnt boxes (..., 4) and the boxes of the masks (..., m, m).

    An empty mask has no box and leaves the learnt one; the authors' code takes the corner (0, 0) for it.
    """
    inside = mask_logits.detach() > 0
    some = inside.flatten(-2).any(dim=-1, keepdim=True)
    return torch.where(some, (learnt + boxes_of_masks(inside)) / 2, learnt)


def _block(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(*convolution(width_in, width_out), nn.LeakyReLU(0.01))


def _doubling(width: int) -> nn.ConvTranspose3d:
    return nn.ConvTranspose3d(width, width, kernel_size=(1, 2, 2), stride=(1, 2, 2))


def _projection(width_in: int, width_out: int, doublings: int) -> nn.Sequential:
    """Return what brings features to the decoder's width and grid."""
    layers: list[nn.Module] = [Conv3d(width_in, width_out, kernel_size=1)]
    for _ in range(doublings):
        layers += [nn.InstanceNorm3d(width_out, affine=True), nn.LeakyReLU(0.01), _doubling(width_out)]
    return nn.Sequential(*layers)


def _pooled(levels: list[Tensor], size: int) -> Tensor:
    """Return all levels averaged over ``size``² parts of each slice, their channels in a row."""
    # Slice by slice, as the pooling of volumes is not there on every device.
    means = [nn.functional.adaptive_avg_pool2d(level.flatten(1, 2), size) for level in levels]
    parts = [mean.reshape(*level.shape[:3], size, size) for mean, level in zip(means, levels, strict=True)]
    return torch.cat(parts, dim=1)
