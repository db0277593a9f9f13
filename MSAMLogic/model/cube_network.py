"""The U-shaped convolutional network over a cube that the corrector and the look fusion both are."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from MSAMLogic.model.convolution import Conv3d
from MSAMLogic.model.doubling import Doubling3d
from MSAMLogic.model.residual_block import ResidualBlock

_LEVELS = ("full", "half", "quarter", "eighth")  # of the cube's resolution


class CubeNetwork(nn.Module):
    """From channels on a cube to one value a cell; a residual block at each resolution, two at the coarsest.

    Args:
        channels: of the input.
        widths: channels at full, half, quarter and, maybe, eighth resolution; multiples of 8.
    """

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self._levels = _LEVELS[: len(widths)]
        width = dict(zip(self._levels, widths, strict=True))
        coarsest, finest = self._levels[-1], widths[0]
        self.stem = Conv3d(channels, finest, kernel_size=3, padding=1)
        for finer, level in pairwise(self._levels):
            self.add_module(f"{level}_down", Conv3d(width[finer], width[level], kernel_size=2, stride=2))
            blocks = [ResidualBlock(width[level], width[level]) for _ in range(2 if level == coarsest else 1)]
            if level == coarsest:
                self.add_module(f"{level}_blocks", nn.Sequential(*blocks))
            else:
                self.add_module(f"{level}_block", blocks[0])
        for coarser, level in pairwise(reversed(self._levels)):
            self.add_module(f"{level}_up", Doubling3d(width[coarser], width[level]))
            if level != "full":
                self.add_module(f"merge_{level}", ResidualBlock(width[level], width[level]))
        self.merge_full = Conv3d(finest, finest, kernel_size=3, padding=1)
        self.head = Conv3d(finest, 1, kernel_size=1)

    def values(self, channels: Tensor) -> Tensor:
        """Map (B, channels, n, n, n) to float32 (B, n, n, n); n a multiple of the coarsest cell."""
        # In place, as in a residual block.
        full = self.stem(channels).relu_()
        shown = [full]
        for level in self._levels[1:]:
            name = f"{level}_blocks" if level == self._levels[-1] else f"{level}_block"
            shown.append(self.get_submodule(name)(self.get_submodule(f"{level}_down")(shown[-1])))
        x = shown.pop()
        for level in reversed(self._levels[1:-1]):
            x = self.get_submodule(f"merge_{level}")(shown.pop() + self.get_submodule(f"{level}_up")(x))
        full = self.merge_full(self.get_submodule("full_up")(x).add_(full).relu_()).relu_()
        out: Tensor = self.head(full)[:, 0].float()
        return out
