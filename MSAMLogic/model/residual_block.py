"""Residual blocks of 3D convolutions, and one whose input comes in two parts, one known before the other."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from MSAMLogic.model.convolution import Conv3d


class ResidualBlock(nn.Module):
    """Two 3³ convolutions with a residual.

    ReLU, and no normalisation at full resolution, because on a CPU both GELU and GroupNorm cost as much
    as the convolutions there.

    Args:
        channels_in: channels of the input.
        channels: channels of the output.
        normalised: whether group normalisation follows each convolution.
    """

    def __init__(self, channels_in: int, channels: int, normalised: bool = True) -> None:
        super().__init__()
        self.conv1 = Conv3d(channels_in, channels, kernel_size=3, padding=1)
        self.norm1 = nn.GroupNorm(channels // 8, channels) if normalised else nn.Identity()
        self.conv2 = Conv3d(channels, channels, kernel_size=3, padding=1)
        self.norm2 = nn.GroupNorm(channels // 8, channels) if normalised else nn.Identity()
        self.shortcut = (
            Conv3d(channels_in, channels, kernel_size=1) if channels_in != channels else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, D, H, W) to (B, channels, D, H, W)."""
        return self._finished(self.conv1(x), self.shortcut(x))

    def _finished(self, convolved: Tensor, shortcut: Tensor) -> Tensor:
        # In place: at full resolution every further volume has to be allocated and filled.
        out = self.norm1(convolved).relu_()
        joined: Tensor = self.norm2(self.conv2(out)).add_(shortcut)
        return joined.relu_()


class Contribution(NamedTuple):
    """What some channels of its input contribute to the first step of a :class:`JoiningBlock`.

    Attributes:
        convolved: (B, channels, D, H, W) before the first normalisation.
        shortcut: (B, channels, D, H, W).
    """

    convolved: Tensor
    shortcut: Tensor


class JoiningBlock(ResidualBlock):
    """A residual block whose input is joined of two parts, of which one is known before the other.

    What that one contributes is computed once, however often the other changes.

    Args:
        channels_in: channels of both parts, not as many as ``channels``.
        channels: channels of the output.
    """

    shortcut: Conv3d

    def contribution(self, part: Tensor, first: int) -> Contribution:
        """Return what channels ``first`` to ``first + c`` of the input, (B, c, D, H, W), contribute."""
        return Contribution(self.conv1.of_channels(part, first), self.shortcut.of_channels(part, first))

    def joined(self, known: Contribution, part: Tensor, first: int) -> Tensor:
        """Return the output (B, channels, D, H, W), to rounding.

        Args:
            known: what all other channels of the input contribute.
            part: (B, c, D, H, W), the others.
            first: index of their first.
        """
        convolved, shortcut = self.contribution(part, first)
        return self._finished(convolved.add_(known.convolved), shortcut.add_(known.shortcut))
