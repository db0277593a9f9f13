"""GrowCut, which 3D Slicer offers as "Grow from seeds", started from clicks.

Every voxel goes to the seed from which it is reached with the smallest change of brightness on the way
(Zhu L, Kolesov I, Gao Y, Kikinis R, Tannenbaum A, MICCAI 2014 workshop on interactive medical image
computing). The implementation is ITKGrowCut, a port of Slicer's.

A user of Slicer paints lesion and background. Here each click is a small ball of its sign. Background
needs more than the clicks against the lesion, or everything would be lesion: as users do, a ring is drawn
round the lesion, here the walls of a box. A user sees how far away it should be; this method may not
know the truth, so it tries boxes of several sizes round the lesion clicks and keeps the answer whose
edge is clearest in the image: the largest difference in brightness between a thin shell inside and one
outside, in units of their deviations. Nothing but the image and the clicks enters. Where a box is cut off
by the image's border it has no wall, since a lesion may go on to the first or last slice, unless no wall
would be left.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.bounding_box import Box, Mask
from MSAMLogic.evaluation.baselines.session import Seed, box_round, near, seeds_within
from MSAMLogic.geometry import Index
from MSAMLogic.packages import require

_LESION, _BACKGROUND = 1, 2
_SHELL = 2  # voxels


class GrowCut:
    """Grow lesion and background from the clicks and a ring round them.

    The defaults were chosen on twelve lesions of patients that training uses, none of those that
    ``msam evaluate`` measures.

    Args:
        rings_mm: distances of the ring from the box of the lesion clicks that are tried.
        ball_mm: radius of a click's ball, at most a quarter of the ring's distance.
        smoothing_mm: deviation of a Gaussian over the image; the noise of every voxel on the way counts
            as a change of brightness.
        distance_penalty: what a millimetre costs, as a share of the range of brightness near the clicks.

    Raises:
        PackageError: when itk-growcut is not installed.
    """

    def __init__(
        self,
        rings_mm: tuple[float, ...] = (8.0, 13.0, 20.0, 32.0, 50.0),
        ball_mm: float = 2.0,
        smoothing_mm: float = 0.7,
        distance_penalty: float = 0.005,
    ) -> None:
        require("itk-growcut", "baselines", "Grow from seeds")
        self.reach_mm = max(rings_mm)
        self._rings_mm = rings_mm
        self._ball_mm = ball_mm
        self._smoothing_mm = smoothing_mm
        self._distance_penalty = distance_penalty

    def segment(
        self, values: NDArray[np.float32], spacing: tuple[float, float, float], seeds: tuple[Seed, ...]
    ) -> Mask:
        """See :meth:`MSAMLogic.evaluation.baselines.session.Method.segment`."""
        smooth = ndimage.gaussian_filter(values, [self._smoothing_mm / mm for mm in spacing])
        low, high = np.percentile(smooth, (5, 95))
        penalty = self._distance_penalty * float(high - low)
        out = np.zeros(values.shape, bool)
        clearest = -1.0
        for ring in self._rings_mm:
            box = box_round(seeds, ring, spacing, _shape(smooth))
            part = smooth[box]
            labels = _walls(box, _shape(smooth))
            self._mark(labels, spacing, seeds_within(seeds, box), min(self._ball_mm, ring / 4))
            mask = np.asarray(fast_grow_cut(part, labels, spacing, penalty) == _LESION, bool)
            clearness = _clearness(part, mask)
            if clearness > clearest:
                clearest = clearness
                out[:] = False
                out[box] = mask
        return out

    @staticmethod
    def _mark(
        labels: NDArray[np.uint8],
        spacing: tuple[float, float, float],
        seeds: tuple[Seed, ...],
        radius_mm: float,
    ) -> None:
        """Write the clicks' balls into the labels (k, j, i) of a box."""
        shape = _shape(labels)
        lesion_seeds = [seed for seed in seeds if seed.positive]
        other_seeds = [seed for seed in seeds if not seed.positive]
        labels[near(other_seeds, radius_mm, spacing, shape)] = _BACKGROUND
        labels[near(lesion_seeds, radius_mm, spacing, shape)] = _LESION
        # Where balls overlap the lesion wins, but a clicked voxel is what the click says.
        for seed in other_seeds:
            labels[seed.voxel] = _BACKGROUND


def _walls(box: Box, shape: Index) -> NDArray[np.uint8]:
    """Return the labels (k, j, i) of a box in an array of ``shape``, background at its walls."""
    labels = np.zeros([axis.stop - axis.start for axis in box], np.uint8)
    faces = [(axis, side) for axis in range(3) for side in (0, -1)]
    within = [
        (axis, side)
        for axis, side in faces
        if (box[axis].start > 0 if side == 0 else box[axis].stop < shape[axis])
    ]
    for axis, side in within or faces:
        np.moveaxis(labels, axis, 0)[side] = _BACKGROUND
    return labels


def fast_grow_cut(
    values: NDArray[np.float32],
    labels: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    penalty: float = 0.0,
) -> NDArray[np.uint8]:
    """Return the label (k, j, i) of the seed that each voxel is nearest to by brightness.

    Args:
        values: brightness (k, j, i).
        labels: seeds (k, j, i), 0 where there is none; at least one.
        spacing: (z, y, x) in millimetres.
        penalty: what a millimetre costs, in units of brightness.
    """
    # itk takes seconds to import, and few installations have it.
    import itk

    # The filter does not look at the neighbours of border voxels; without padding, seeds there are lost.
    image = _itk_image(itk, np.pad(values, 1, mode="edge"), spacing)
    grow_cut = itk.FastGrowCut[itk.Image[itk.F, 3], itk.Image[itk.UC, 3]].New()
    grow_cut.SetInput(image)
    grow_cut.SetSeedImage(_itk_image(itk, np.pad(labels, 1), spacing))
    grow_cut.SetDistancePenalty(penalty)
    grow_cut.Update()
    grown: NDArray[np.uint8] = itk.array_from_image(grow_cut.GetOutput())[1:-1, 1:-1, 1:-1]
    return grown


def _itk_image(itk: Any, array: NDArray[Any], spacing: tuple[float, float, float]) -> Any:
    image = itk.image_from_array(np.ascontiguousarray(array))
    image.SetSpacing([float(mm) for mm in reversed(spacing)])
    return image


def _clearness(values: NDArray[np.float32], mask: Mask) -> float:
    """Return how much the shell inside the edge differs from the shell outside; 0 where one is missing."""
    inside = values[mask & ~ndimage.binary_erosion(mask, iterations=_SHELL)]
    outside = values[ndimage.binary_dilation(mask, iterations=_SHELL) & ~mask]
    if not inside.size or not outside.size:
        return 0.0
    deviation = float(inside.std() + outside.std())
    return abs(float(inside.mean() - outside.mean())) / max(deviation, 1e-6)


def _shape(array: NDArray[Any]) -> Index:
    k, j, i = array.shape
    return (k, j, i)
