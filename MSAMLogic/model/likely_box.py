"""Where in a patch an answer can be lesion at all: only there full resolution is worth its time.

The mask decoder answers at half the patch's resolution, and far from a lesion it is sure. What the
high-resolution branch adds there does not change the mask; yet most of a patch is far from the lesion, and
at full resolution it has eight times as many cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from MSAMLogic.bounding_box import bounding_box

_SURELY_NOT = -4.0  # logits of the decoder
_MARGIN = 2  # cells of its answer
_LARGEST_SHARE = 0.7  # of a patch; to leave out less is not worth the rim that a box has


class LikelyBox(NamedTuple):
    """A box of cells in a cube.

    Attributes:
        start: (3,) its first cells.
        stop: (3,) the cells after its last.
        size: cells a side of the cube.
    """

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    size: int

    @classmethod
    def between(cls, low: tuple[int, ...], high: tuple[int, ...], size: int) -> LikelyBox:
        """Return the part of a box that lies in the cube."""
        a, b, c = (max(v, 0) for v in low)
        d, e, f = (min(v, size) for v in high)
        return cls((a, b, c), (d, e, f), size)

    def grown(self, cells: int) -> LikelyBox:
        """Return a box that reaches so many cells farther, but not beyond the cube."""
        return self.between(
            tuple(v - cells for v in self.start), tuple(v + cells for v in self.stop), self.size
        )

    @property
    def share(self) -> float:
        """How much of the cube it is."""
        return float(np.prod(np.subtract(self.stop, self.start)) / self.size**3)

    def of(self, volume: Tensor, outer: LikelyBox | None = None) -> Tensor:
        """Return the box's cells of a volume, a view.

        Args:
            volume: (B, C, k n, k n, k n) over the cube of n cells, k times as fine; or over ``outer``.
            outer: a box that holds this one.
        """
        origin = (0, 0, 0) if outer is None else outer.start
        length = self.size if outer is None else outer.stop[0] - outer.start[0]
        scale = volume.shape[2] // length
        i, j, k = (
            slice(scale * (a - o), scale * (b - o))
            for a, b, o in zip(self.start, self.stop, origin, strict=True)
        )
        return volume[..., i, j, k]

    def inner_faces(self, values: Tensor) -> list[Tensor]:
        """Return the faces of the box, filled with ``values`` (B, C, a, b, c), that are not the cube's."""
        faces = []
        for axis in range(3):
            if self.start[axis] > 0:
                faces.append(values.select(axis + 2, 0).flatten())
            if self.stop[axis] < self.size:
                faces.append(values.select(axis + 2, -1).flatten())
        return faces


def likely_box(logits: Tensor, coords: Tensor, labels: Tensor, patch_size: int) -> LikelyBox | None:
    """Return the box outside of which a patch surely holds no lesion; None where that is hardly smaller.

    Args:
        logits: (1, 1, m, m, m) answer of the mask decoder, on the CPU.
        coords: (1, N, 3) clicks in patch voxels. Lesion clicks are in the box whatever the decoder says.
        labels: (1, N) 1 for the lesion.
        patch_size: voxels a side of the patch.
    """
    m = logits.shape[-1]
    likely = logits[0, 0].detach().numpy() > _SURELY_NOT
    cells = np.floor((coords[0][labels[0] == 1].detach().numpy() + 0.5) * m / patch_size).astype(int)
    i, j, k = cells[((cells >= 0) & (cells < m)).all(axis=1)].T
    likely[i, j, k] = True
    spans = bounding_box(likely)
    if spans is None:
        return None
    low, high = tuple(span.start for span in spans), tuple(span.stop for span in spans)
    box = LikelyBox.between(low, high, m).grown(_MARGIN)
    return box if box.share < _LARGEST_SHARE else None
