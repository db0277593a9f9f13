"""Doubling the resolution by a transposed convolution, quick on a processor."""

from __future__ import annotations

from torch import Tensor, nn


class Doubling3d(nn.ConvTranspose3d):
    """:class:`torch.nn.ConvTranspose3d` with kernel and stride 2, the same numbers to rounding.

    Kernels that do not overlap make each cell eight new ones on its own: a product of matrices, written where
    the new cells belong. On a processor torch multiplies too, but then adds up columns as if kernels
    overlapped, which costs more than the product.

    Args:
        channels_in: channels of the input.
        channels: channels of the output.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(channels_in, channels, kernel_size=2, stride=2)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, channels_in, D, H, W) to (B, channels, 2 D, 2 H, 2 W)."""
        if input.device.type != "cpu":
            return super().forward(input, output_size)
        batch, _, depth, height, width = input.shape
        channels = self.out_channels
        weight = self.weight.permute(2, 3, 4, 1, 0).reshape(8 * channels, -1)
        bias = None if self.bias is None else self.bias.repeat(8)
        cells = nn.functional.linear(input.permute(0, 2, 3, 4, 1), weight, bias)
        # (B, D, H, W, 2, 2, 2 C): neighbours along the last axis lie beside each other already.
        parts = cells.view(batch, depth, height, width, 2, 2, 2 * channels)
        placed = parts.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, 2 * depth, 2 * height, 2 * width, channels)
        return placed.permute(0, 4, 1, 2, 3)
