"""Seeded region growing: everything of similar brightness that is connected with a lesion click.

This is the connected threshold of SimpleITK and of Slicer's "Threshold" with "Islands", with the interval
taken from the clicks as a user takes it from the image: brightness in a ball round a lesion click and its
deviation. A click against the lesion narrows the interval of each lesion click to exclude what lies under
it where that looks different, and everything nearer to it than to a lesion click is cut away, which is
what a user does with the scissors where brightness alone cannot tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.bounding_box import Mask
from MSAMLogic.evaluation.baselines.session import Seed, near


class RegionGrowing:
    """Grow a region from each lesion click, and unite them.

    The defaults were chosen on twelve lesions of patients that training uses, none of those that
    ``msam evaluate`` measures.

    Args:
        reach_mm: how far from the box of the lesion clicks a region may leak.
        ball_mm: radius in which brightness is measured round a lesion click.
        width: half of the interval in deviations of that brightness.
        least_deviation: smallest deviation that is believed, as a share of the range of brightness near
            the clicks; a ball of two voxels would have next to none.
        told_apart: how far from the middle of the interval, as a share of its half, what lies under a click
            against the lesion must be to narrow the interval.
        smoothing_mm: deviation of a Gaussian over the image, against the holes that noise makes.
    """

    def __init__(
        self,
        reach_mm: float = 40.0,
        ball_mm: float = 2.0,
        width: float = 2.5,
        least_deviation: float = 0.06,
        told_apart: float = 0.3,
        smoothing_mm: float = 0.7,
    ) -> None:
        self.reach_mm = reach_mm
        self._ball_mm = ball_mm
        self._width = width
        self._least_deviation = least_deviation
        self._told_apart = told_apart
        self._smoothing_mm = smoothing_mm

    def segment(
        self, values: NDArray[np.float32], spacing: tuple[float, float, float], seeds: tuple[Seed, ...]
    ) -> Mask:
        """See :meth:`MSAMLogic.evaluation.baselines.session.Method.segment`."""
        smooth = ndimage.gaussian_filter(values, [self._smoothing_mm / mm for mm in spacing])
        lesion_seeds = [seed for seed in seeds if seed.positive]
        other_seeds = [seed for seed in seeds if not seed.positive]
        clicked = [float(smooth[seed.voxel]) for seed in lesion_seeds]  # a small lesion is in no percentile
        low, high = (float(value) for value in np.percentile(smooth, (5, 95)))
        least = max(self._least_deviation * (max(high, *clicked) - min(low, *clicked)), 1e-6)
        allowed = np.ones(values.shape, bool)
        if other_seeds:
            allowed = _nearest(lesion_seeds, spacing, values) < _nearest(other_seeds, spacing, values)
        out = np.zeros(values.shape, bool)
        for seed in lesion_seeds:
            lower, upper = self._interval(smooth, spacing, seed, other_seeds, least)
            alike = (smooth >= lower) & (smooth <= upper) & allowed
            alike[seed.voxel] = True
            labels, _ = ndimage.label(alike)
            out |= labels == labels[seed.voxel]
        out = ndimage.binary_fill_holes(out | ndimage.binary_closing(out))
        for seed in other_seeds:
            out[seed.voxel] = False
        return np.asarray(out, bool)

    def _interval(
        self,
        smooth: NDArray[np.float32],
        spacing: tuple[float, float, float],
        seed: Seed,
        others: Sequence[Seed],
        least: float,
    ) -> tuple[float, float]:
        """Return the lowest and highest brightness of a lesion click's region."""
        k, j, i = smooth.shape
        ball = smooth[near((seed,), self._ball_mm, spacing, (k, j, i))]
        middle = float(np.median(ball))
        reach = self._width * max(float(ball.std()), least)
        lower, upper = middle - reach, middle + reach
        for other in others:
            value = float(smooth[other.voxel])
            if abs(value - middle) < self._told_apart * reach:
                continue  # so much alike that the lesion would go with it; the cut has to do
            if value < middle:
                lower = max(lower, (value + middle) / 2)
            else:
                upper = min(upper, (value + middle) / 2)
        return lower, upper


def _nearest(
    seeds: Sequence[Seed], spacing: tuple[float, float, float], values: NDArray[Any]
) -> NDArray[np.float64]:
    """Return squared millimetres (k, j, i) from each voxel to the nearest seed."""
    axes = np.ogrid[tuple(slice(0, n) for n in values.shape)]
    nearest = np.full(values.shape, np.inf)
    for seed in seeds:
        z, y, x = (((axis - v) * mm) ** 2 for axis, v, mm in zip(axes, seed.voxel, spacing, strict=True))
        np.minimum(nearest, z + y + x, out=nearest)
    return nearest
