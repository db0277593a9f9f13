"""The adapters that teach frozen 2D blocks the third dimension (the authors' ``common.py``).

Both project down to a quarter of the width, mix over the slices, add what they had before, and project up.
The authors leave the up-projection at PyTorch's random start. Here it starts at zero, so that an untrained
network is SAM.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MSAMLogic.model.convolution import Conv3d
from MSAMLogic.model.layers import ChannelLayerNorm

_REDUCTION = 4  # width divided by an adapter's inner width
_DEPTH_RATIO = 4  # hidden width of the MLP over the slices, a multiple of the slices


class DConvAdapter(nn.Module):
    """Mix cells of neighbouring slices by a depth-wise 3³ convolution.

    Args:
        width: channels in and out.
        skip: whether the input is added to the output: so behind an attention, not parallel to an MLP.
    """

    def __init__(self, width: int, skip: bool) -> None:
        super().__init__()
        inner = width // _REDUCTION
        self.skip = skip
        self.down = nn.Linear(width, inner)
        self.convolution = Conv3d(inner, inner, kernel_size=3, padding=1, groups=inner)
        self.norm = ChannelLayerNorm(inner)
        self.up = zeroed(nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map cells (B, D, h, w, C) to the same shape."""
        reduced = nn.functional.gelu(self.down(x))
        mixed = nn.functional.gelu(self.norm(self.convolution(reduced.movedim(-1, 1)))).movedim(1, -1)
        out: Tensor = self.up(reduced + mixed)
        return x + out if self.skip else out


class DMLPAdapter(nn.Module):
    """Mix the tokens of one query over all slices by an MLP along depth.

    Args:
        width: channels in and out.
        slices: slices of a patch, D.
        skip: as for :class:`DConvAdapter`.
    """

    def __init__(self, width: int, slices: int, skip: bool) -> None:
        super().__init__()
        inner = width // _REDUCTION
        self.skip = skip
        self.down = nn.Linear(width, inner)
        self.depth_in = nn.Linear(slices, _DEPTH_RATIO * slices)
        self.depth_out = nn.Linear(_DEPTH_RATIO * slices, slices)
        self.up = zeroed(nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, D, N, T, C) of N queries to the same shape."""
        reduced = nn.functional.gelu(self.down(x))
        along_depth = nn.functional.gelu(self.depth_in(reduced.movedim(1, -1)))
        mixed = self.depth_out(along_depth).movedim(-1, 1)
        out: Tensor = self.up(reduced + mixed)
        return x + out if self.skip else out


def zeroed(layer: nn.Linear) -> nn.Linear:
    """Return ``layer`` with all of its parameters zero."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    return layer
