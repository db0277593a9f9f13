"""What a network's look fusion makes of the first looks at a lesion, on one image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from MSAMLogic.geometry import ImageGrid, Point
from MSAMLogic.looking.look_fusion import first_looks_in, fusion_cube
from MSAMLogic.looking.looks import UNKNOWN_LOGIT, Look
from MSAMLogic.mask_in_cube import mask_share, redrawn_mask
from MSAMLogic.predictor import Predictor
from MSAMLogic.voxels import BoolArray, VoxelSet

# A coarser look was chosen for a lesion of many centimetres, of which the fusion has seen few: such a look
# stands for itself. Unless the fusion finds next to nothing of what it shows, as where half of a brain was
# taken for a lesion; then each of them counts half.
_COARSE_MM = 2.5
_AGREED = 0.3  # Dice of both in the cube
_SURE = 8.0  # no look outvotes the fusion by more than so many logits


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
        """Return what all looks show together; the mask itself of a large lesion, or where the click is lost.

        Args:
            mask: what the chosen look shows.
            chosen: the look that suits the lesion best.
            looks: all first looks.
            point: LPS millimetres of the click, for the lesion.
        """
        cube = fusion_cube(chosen, point, self._grid)
        spacings = self._predictor.capabilities.fused_looks
        known = first_looks_in(cube, self._image, chosen, looks, spacings, point)
        logits = self._predictor.fuse(known)
        if chosen.grid.spacing > _COARSE_MM:
            alone = np.nan_to_num(known.chosen, nan=UNKNOWN_LOGIT).clip(-_SURE, _SURE)
            if _agreement(logits > 0, alone > 0) >= _AGREED:
                return mask
            logits = np.asarray((logits + alone) / 2, np.float32)
        before = mask_share(mask, self._grid, cube)
        fused = redrawn_mask(mask, self._grid, cube, before, logits)
        return fused if self._grid.nearest(point) in fused else mask


def _agreement(one: BoolArray, other: BoolArray) -> float:
    """Return the Dice of two masks in a cube; 1 where both are empty."""
    both = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(one & other)) / both if both else 1.0
