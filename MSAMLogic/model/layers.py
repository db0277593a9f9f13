"""Small building blocks that several parts of the network share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelLayerNorm(nn.Module):
    """LayerNorm over the channels of a volume, each voxel on its own (``LayerNorm2d`` of SAM, in 3D).

    Args:
        channels: size of axis 1.
        eps: added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` of shape (B, C, D, H, W) over C."""
        channels_last = x.movedim(1, -1)
        normed = nn.functional.layer_norm(
            channels_last, (channels_last.shape[-1],), self.weight, self.bias, self.eps
        )
        return normed.movedim(-1, 1)


class TransformerMLP(nn.Module):
    """Two linear layers with a non-linearity between, as in every transformer block.

    Args:
        width: channels in and out.
        hidden: channels between.
        activation: the non-linearity; GELU in encoder and adapter, ReLU in the mask decoder.
    """

    def __init__(self, width: int, hidden: int, activation: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to (..., width)."""
        out: Tensor = self.lin2(self.act(self.lin1(x)))
        return out
