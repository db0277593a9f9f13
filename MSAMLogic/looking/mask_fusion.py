"""What a network's look fusion makes of the first looks at a lesion, on one image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from MSAMLogic.geometry import ImageGrid, PatchGrid, Point, extract_patch
from MSAMLogic.looking.centredness import centredness
from MSAMLogic.looking.edge_sharpness import edge_sharpness
from MSAMLogic.looking.first_looks import FirstLooks
from MSAMLogic.looking.look_fusion import cube_round, first_looks_in, fusion_cube
from MSAMLogic.looking.looks import Look, lesion_extent
from MSAMLogic.looking.standing_out import standing_out
from MSAMLogic.mask_in_cube import mask_share, redrawn_mask
from MSAMLogic.predictor import Answer, Predictor
from MSAMLogic.voxels import VoxelSet

# The cube lies round the lesion of the look that was chosen; where that look is wrong, so is the cube. What
# the fusion draws in it says better where the lesion is, so it is drawn once more in a cube round that.
_TIMES = 2
# A cube of nearly the same size (by this factor) in nearly the same place (by this share of a side) shows
# nothing new.
_SAME_SIZE, _SAME_PLACE = 1.1, 0.04
# Dice below which two masks are not two drawings of one thing, but a thing and its core.
_SAME_THING = 0.2
# Faces of its cube that a drawing may reach; with more it has an edge almost nowhere, and is a box.
_MOST_CUT_FACES = 3
# A mask whose edge is so sharp is left for a smaller one only where that one's edge is so sharp beside it.
_SHARP, _AS_SHARP = 1.1, 0.85
# One of two things stands out, in standard deviations, and so many times as much as the other.
_CLEAR, _CLEARER = 1.0, 2.0


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
        """Return what all looks show together; the mask as it was where the click would be lost.

        The mask stays as it was too where what is drawn fills its cube, and so has no edge, or runs within a
        sharp edge of the image that the mask follows. (Readers do outline more than a sharp edge encloses.)
        Where it is but a small core of what the chosen look shows, the one of both that stands out is
        returned, or what the click lies more in the middle of where both do, or neither. A much larger thing
        is not doubted: other looks show it round what the chosen one shows.

        Args:
            mask: what the chosen look shows.
            chosen: the look that suits the lesion best.
            looks: all first looks.
            point: LPS millimetres of the click, for the lesion.
        """
        spacings = self._predictor.capabilities.fused_looks
        shown = mask
        known_in: list[FirstLooks] = []
        for _ in range(_TIMES):
            cube = fusion_cube(chosen, point, self._grid)
            if known_in and _are_alike(cube, known_in[-1].cube):
                break
            known = first_looks_in(cube, self._image, chosen, looks, spacings, point)
            logits = self._predictor.fuse(known)
            drawn = redrawn_mask(mask, self._grid, cube, mask_share(mask, self._grid, cube), logits)
            if self._grid.nearest(point) not in drawn:
                break
            mask, chosen = drawn, Look.of(cube, Answer(logits, logits, 1.0))
            known_in.append(known)
        if not known_in or _fills_its_cube(chosen):
            return shown
        if mask.count < shown.count and shown.dice(mask) < _SAME_THING:
            return self._meant(mask, shown, point, chosen.grid.axes)
        return shown if self._shrinks_from_sharp_edge(shown, mask, known_in) else mask

    def _meant(self, core: VoxelSet, whole: VoxelSet, point: Point, axes: tuple[float, ...]) -> VoxelSet:
        """Return which of a thing and its core a click means."""
        things = (core, whole)
        stand_out = [self._standing_out(mask, axes) for mask in things]
        if max(stand_out) > max(_CLEAR, _CLEARER * min(stand_out)):
            return things[int(np.argmax(stand_out))]
        voxel = self._grid.nearest(point)
        return max(things, key=lambda mask: centredness(mask, self._grid, voxel))

    def _standing_out(self, mask: VoxelSet, axes: tuple[float, ...]) -> float:
        """Return how much a mask stands out, seen in a cube of its own size."""
        cube = cube_round(mask, self._grid, axes)
        image = extract_patch(self._image, cube, np.nan, antialias=True)
        return standing_out(image, mask_share(mask, self._grid, cube))

    def _shrinks_from_sharp_edge(
        self, shown: VoxelSet, drawn: VoxelSet, known_in: Sequence[FirstLooks]
    ) -> bool:
        """Whether one mask follows a sharp edge of the image, and another, smaller one does not."""
        if drawn.count >= shown.count:
            return False
        known = max(known_in, key=lambda known: known.cube.spacing)  # the cube that holds both
        before, after = (
            edge_sharpness(known.image, mask_share(mask, self._grid, known.cube)) for mask in (shown, drawn)
        )
        return before > _SHARP and after < _AS_SHARP * before


def _are_alike(cube: PatchGrid, other: PatchGrid) -> bool:
    """Whether two cubes lie in about the same place and are about as large."""
    moved = np.abs(np.subtract(cube.centre, other.centre)).max()
    ratio = max(cube.spacing / other.spacing, other.spacing / cube.spacing)
    return bool(ratio < _SAME_SIZE and moved < _SAME_PLACE * other.extent)


def _fills_its_cube(drawn: Look) -> bool:
    """Whether what was drawn goes on beyond most faces of the cube it was drawn in."""
    extent = lesion_extent(drawn)
    return extent is not None and sum(extent.cut) > _MOST_CUT_FACES
