"""What a network's corrector makes of a mask where it was clicked, on one image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MSAMLogic.correcting.correction import (
    Correction,
    click_depth,
    correction_cube,
    made_to_obey,
    obeying_earlier_clicks,
    obeys,
    varied_cube,
)
from MSAMLogic.correcting.lesion_level import lesion_level
from MSAMLogic.geometry import ImageGrid, PatchGrid, extract_patch
from MSAMLogic.looking.looks import Look, joint_logits
from MSAMLogic.mask_in_cube import mask_share, redrawn_mask
from MSAMLogic.predictor import Predictor
from MSAMLogic.session_state import Click
from MSAMLogic.voxels import VoxelSet

_CLOSER_CUBES = 2  # each half as large as the one before


class MaskCorrector:
    """Corrects masks of one image where they are clicked.

    Args:
        predictor: a network that corrects.
        image: a scalar volume of three dimensions; it is not copied.
    """

    def __init__(self, predictor: Predictor, image: sitk.Image) -> None:
        self._predictor, self._image = predictor, image
        self.grid = ImageGrid.of(image)

    def corrected(self, mask: VoxelSet, clicks: Sequence[Click], looks: Sequence[Look]) -> VoxelSet | None:
        """Return a mask as its newest click corrects it, or None where the click only confirms it.

        Args:
            mask: what was clicked at, not empty.
            clicks: of the lesion, the newest last.
            looks: what the network answers to them.
        """
        newest = clicks[-1]
        depth = click_depth(mask, self.grid, newest.point, newest.positive)
        if not depth:
            return None
        cube = correction_cube(depth, self.grid, newest.point, looks[0].grid.axes)
        return self.redrawn(mask, clicks, looks, cube, depth)

    def redrawn(
        self, mask: VoxelSet, clicks: Sequence[Click], looks: Sequence[Look], cube: PatchGrid, depth: float
    ) -> VoxelSet:
        """Return a mask with what is wrong in a cube round the last click put right.

        A click for the lesion only adds to the mask, one against it only takes away: what a corrector would
        change the other way nobody complained of, and more than half of it was right.

        A click that the corrector does not obey lies in something small and far from the mask: it looks
        closer, and at last the click is obeyed without it. Earlier clicks stay obeyed, unless no part of the
        mask that a lesion click is in was right.

        Args:
            mask: what was clicked at.
            clicks: of the lesion.
            looks: what the network answers to them.
            cube: round the last click.
            depth: millimetres between the last click and the mask's edge.
        """
        known, logits = self._obedient(mask, clicks, looks, cube, depth)

        def changed(logits: NDArray[np.float32]) -> VoxelSet:
            redrawn = redrawn_mask(mask, self.grid, known.cube, known.before, logits)
            return mask.union(redrawn) if clicks[-1].positive else mask.intersection(redrawn)

        found = changed(logits)
        obeying = obeying_earlier_clicks(logits, known)
        return found if obeying is logits or self.loses_lesion(found, clicks) else changed(obeying)

    def _obedient(
        self, mask: VoxelSet, clicks: Sequence[Click], looks: Sequence[Look], cube: PatchGrid, depth: float
    ) -> tuple[Correction, NDArray[np.float32]]:
        """Return what is known in a cube, or a closer one, and logits there that obey the last click.

        They are above 0 where the mask is to hold the lesion, see :mod:`MSAMLogic.correcting.lesion_level`.
        """
        for _ in range(1 + _CLOSER_CUBES):
            known = self.known(mask, clicks, looks, cube, depth)
            logits = self._predictor.correct(known) - np.float32(lesion_level(len(clicks)))
            if obeys(logits, known):
                return known, logits
            cube = varied_cube(cube, self.grid, 0.5)
            if cube == known.cube:  # as close as the voxels allow
                break
        return known, made_to_obey(logits, known)

    def loses_lesion(self, mask: VoxelSet, clicks: Sequence[Click]) -> bool:
        """Whether there are lesion clicks and the mask holds none of them."""
        wanted = [self.grid.nearest(click.point) for click in clicks if click.positive]
        return bool(wanted) and not any(index in mask for index in wanted)

    def known(
        self, mask: VoxelSet, clicks: Sequence[Click], looks: Sequence[Look], cube: PatchGrid, depth: float
    ) -> Correction:
        """Return what is known in a cube round the last click; the arguments are those of :meth:`redrawn`."""
        return Correction(
            cube,
            extract_patch(self._image, cube, np.nan, antialias=True),
            mask_share(mask, self.grid, cube),
            joint_logits(looks, cube),
            cube.voxels(np.array([click.point for click in clicks])).astype(np.float32),
            np.array([int(click.positive) for click in clicks], np.int64),
            depth / cube.spacing,
            (self.grid.voxel_sides(cube) / cube.spacing).astype(np.float32),
        )
