"""From the scan's one channel to the three of SAM's patch embedding."""

from __future__ import annotations

from torch import Tensor, nn

from MSAMLogic.model.convolution import Conv3d

_WIDE = 32


class InputBlock(nn.Module):
    """Widen to 32 channels, enlarge the slices, narrow to three: an inverted bottleneck.

    The authors' ViT-B model, with one transposed convolution for each doubling of the slices. Its
    last convolution ends in a leaky ReLU; here it ends in the normalisation, as what comes out takes the
    place of a normalised photograph, which has both signs.

    Args:
        upsampling: how much finer the slices become; a power of two.
    """

    def __init__(self, upsampling: int) -> None:
        super().__init__()
        narrow = _WIDE // 2
        layers = [*convolution(1, narrow), nn.LeakyReLU(0.01)]
        width = narrow
        for _ in range(upsampling.bit_length() - 1):
            layers += [
                nn.ConvTranspose3d(width, _WIDE, kernel_size=(1, 2, 2), stride=(1, 2, 2)),
                nn.InstanceNorm3d(_WIDE, affine=True),
                nn.GELU(),
            ]
            width = _WIDE
        layers += [*convolution(width, _WIDE), nn.LeakyReLU(0.01), *convolution(_WIDE, 3)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map slices (B, 1, D, n, n) to images (B, 3, D, s, s)."""
        out: Tensor = self.layers(x)
        return out


def convolution(width_in: int, width_out: int) -> tuple[nn.Module, nn.Module]:
    """Return a 3³ convolution and an instance normalisation with a scale, nnU-Net's building block."""
    return (
        Conv3d(width_in, width_out, kernel_size=3, padding=1),
        nn.InstanceNorm3d(width_out, affine=True),
    )
