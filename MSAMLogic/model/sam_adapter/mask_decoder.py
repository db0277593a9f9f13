"""Four levels of features and the resized patch to two classes.

Each level passes two convolutions and is enlarged to twice the token grid; a convolution joins the four
with the patch at that size. That convolution is a sum over its inputs, and a click changes only the
deepest level: what the others and the patch add to the sum is computed once a patch.
"""

from __future__ import annotations

from torch import Tensor, nn

from MSAMLogic.model.convolution import Conv3d
from MSAMLogic.model.sam_adapter.cells import instance_norm
from MSAMLogic.model.sam_adapter.config import LEVELS, SAMAdapterConfig

_SCALE = 2  # cells a side of the joined grid for one token


class LevelHead(nn.Module):
    """Two 3³ convolutions, each with instance normalisation and ReLU, then enlarging.

    Args:
        embedding_width: channels of a level.
        width: channels in the decoder.
    """

    def __init__(self, embedding_width: int, width: int) -> None:
        super().__init__()
        self.conv1 = Conv3d(embedding_width, width, 3, padding=1, bias=False)
        self.conv2 = Conv3d(width, width, 3, padding=1, bias=False)

    def forward(self, level: Tensor) -> Tensor:
        """Map (B, C, g, g, g) to (B, width, 2g, 2g, 2g)."""
        out = instance_norm(self.conv1(level)).relu()
        out = instance_norm(self.conv2(out)).relu()
        return _enlarged(out, _SCALE)


class MaskDecoder(nn.Module):
    """The release's ``VIT_MLAHead_h``: multi-level aggregation.

    Args:
        config: sizes; the defaults are the release's 7,088,256 parameters.
    """

    def __init__(self, config: SAMAdapterConfig) -> None:
        super().__init__()
        width = config.decoder_width
        self.width = width
        self.grid = _SCALE * config.grid_size
        self.enlargement = config.patch_size // self.grid
        self.heads = nn.ModuleList(LevelHead(config.embedding_width, width) for _ in range(LEVELS))
        self.join = Conv3d(LEVELS * width + 1, width, 3, padding=1, bias=False)
        self.classify = Conv3d(width, 2, 3, padding=1, bias=False)

    def unprompted(self, levels: list[Tensor], cells: Tensor) -> Tensor:
        """Return what all but the deepest level add to the joining convolution, (B, width, 2g, 2g, 2g).

        Args:
            levels: the levels (B, C, g, g, g), without the deepest.
            cells: the patch (B, 1, n, n, n), axes (row, column, slice).
        """
        resized = nn.functional.interpolate(cells, size=(self.grid,) * 3, mode="trilinear")
        total = self._joined(resized, LEVELS * self.width)
        for index, (head, level) in enumerate(zip(self.heads[:-1], levels, strict=True)):
            total = total + self._joined(head(level), index * self.width)
        return total

    def forward(self, prompted: Tensor, unprompted: Tensor) -> Tensor:
        """Return the two classes' logits (B, 2, 2g, 2g, 2g): background, lesion.

        Args:
            prompted: the deepest level (B, C, g, g, g) with the points worked in.
            unprompted: what :meth:`unprompted` returned.
        """
        total = unprompted + self._joined(self.heads[-1](prompted), (LEVELS - 1) * self.width)
        logits: Tensor = self.classify(instance_norm(total).relu())
        return logits

    def at_patch_size(self, logits: Tensor) -> Tensor:
        """Enlarge (B, K, 2g, 2g, 2g) to the patch (B, K, n, n, n)."""
        return _enlarged(logits, self.enlargement)

    def _joined(self, features: Tensor, first: int) -> Tensor:
        """Return what ``features`` add to the joining convolution as its channels from ``first`` on."""
        weight = self.join.weight[:, first : first + features.shape[1]]
        return nn.functional.conv3d(features, weight, padding=1)


def _enlarged(x: Tensor, factor: int) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=float(factor), mode="trilinear", align_corners=True)
