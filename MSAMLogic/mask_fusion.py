"""What a network's look fusion makes of the first looks at a lesion, on one image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MSAMLogic.correction import corrected, mask_share
from MSAMLogic.geometry import ImageGrid, PatchGrid, Point
from MSAMLogic.look_fusion import first_looks_in, fusion_cube
from MSAMLogic.looks import Look
from MSAMLogic.predictor import Predictor
from MSAMLogic.voxels import VoxelSet

# Cubes that differ by less than these shares, in spacing and in place, show the same.
_ALIKE_SPACING, _ALIKE_PLACE = 0.15, 0.1


class MaskFusion:
    """Makes one mask of the first looks at a lesion.

    Args:
        predictor: a network that fuses.
        image: a scalar volume of three dimensions; it is not copied.
    """

    def __init__(self, predictor: Predictor, image: sitk.Image) -> None:
        self._predictor, self._image = predictor, image
        self._grid = ImageGrid.of(image)

    def fused(self, mask: VoxelSet, chosen: Look, looks: Sequence[Look], point: Point) -> VoxelSet:
        """Return what all looks show together; the mask itself where that would leave the click out.

        The looks disagree on how large the lesion is, so it is drawn in a cube round what each of them shows,
        and the drawing stays that the network thinks is the best.

        Args:
            mask: what the chosen look shows.
            chosen: the look that suits the lesion best.
            looks: all first looks.
            point: LPS millimetres of the click, for the lesion.
        """
        cubes: list[PatchGrid] = []
        for look in (chosen, *looks):
            cube = fusion_cube(look, point, self._grid)
            if not any(_are_alike(cube, other) for other in cubes):
                cubes.append(cube)
        drawings = [(cube, *self._drawn(cube, chosen, looks, point)) for cube in cubes]
        cube, logits, _ = max(drawings, key=lambda drawing: drawing[2])
        fused = corrected(mask, self._grid, cube, mask_share(mask, self._grid, cube), logits)
        return fused if self._grid.nearest(point) in fused else mask

    def _drawn(
        self, cube: PatchGrid, chosen: Look, looks: Sequence[Look], point: Point
    ) -> tuple[NDArray[np.float32], float]:
        """Return logits in a cube and their estimated Dice."""
        spacings = self._predictor.capabilities.fused_looks
        return self._predictor.fuse(first_looks_in(cube, self._image, chosen, looks, spacings, point))


def _are_alike(one: PatchGrid, other: PatchGrid) -> bool:
    apart = float(np.abs(np.subtract(one.centre, other.centre)).max())
    return abs(np.log(one.spacing / other.spacing)) < _ALIKE_SPACING and apart < _ALIKE_PLACE * min(
        one.extent, other.extent
    )
