"""A session whose mask comes from a classical method that sees the image near the clicks, and the clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MSAMLogic.bounding_box import Box, Mask
from MSAMLogic.errors import ClickError, ImageError
from MSAMLogic.geometry import ImageGrid, Index, Point
from MSAMLogic.session import Click

_EMPTY: Mask = np.zeros((0, 0, 0), bool)
_NOWHERE: Box = (slice(0, 0), slice(0, 0), slice(0, 0))


@dataclass(frozen=True)
class Seed:
    """A click on the voxels that a method sees.

    Attributes:
        voxel: (k, j, i) in the crop.
        positive: whether it is for the lesion.
    """

    voxel: Index
    positive: bool


class Method(Protocol):
    """A classical interactive segmentation: voxels and all clicks so far, at once.

    Attributes:
        reach_mm: how far from the box of the lesion clicks the image counts, in millimetres along each
            image axis; further away there is no mask.
    """

    reach_mm: float

    def segment(
        self, values: NDArray[np.float32], spacing: tuple[float, float, float], seeds: tuple[Seed, ...]
    ) -> Mask:
        """Return the mask (k, j, i) of a crop.

        Args:
            values: scanner values (k, j, i) round the clicks.
            spacing: (z, y, x) in millimetres.
            seeds: the clicks so far, at least one of them positive, oldest first.
        """


class ClassicalSession:
    """Click into an image and let a classical method answer each click from all clicks so far.

    Nothing is carried over from one answer to the next, and nothing is left to chance.

    Args:
        method: what turns a crop and clicks into a mask.
    """

    def __init__(self, method: Method) -> None:
        self._method = method
        self._image: sitk.Image | None = None
        self._clicks: tuple[Click, ...] = ()
        self._part: Mask = _EMPTY
        self._box: Box = _NOWHERE

    def set_image(self, image: sitk.Image) -> None:
        """Start over with another image and an empty mask.

        Args:
            image: a scalar volume of three dimensions. It is not copied.

        Raises:
            ImageError: when the image is something else.
        """
        if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
            raise ImageError("A classical method needs a single 3D volume with one value a voxel.")
        self._image, self._clicks = image, ()
        self._part, self._box = _EMPTY, _NOWHERE

    def click(self, point: Point, positive: bool = True) -> None:
        """Take a click and segment anew.

        Args:
            point: (x, y, z) in LPS millimetres.
            positive: for the lesion, or against it.

        Raises:
            ImageError: when no image is set.
            ClickError: when the click lies outside the image, or no click so far is for the lesion.
        """
        image = self._require_image()
        grid = ImageGrid.of(image)
        if not grid.contains(point):
            raise ClickError(f"The click at LPS {tuple(point)} mm lies outside the image.")
        clicks = (*self._clicks, Click(point, positive))
        if not any(click.positive for click in clicks):
            raise ClickError("The first click of a lesion must be positive; click the lesion first.")
        everywhere = tuple(Seed(_reversed(grid.nearest(click.point)), click.positive) for click in clicks)
        x, y, z = grid.spacing
        box = box_round(everywhere, self._method.reach_mm, (z, y, x), _reversed(grid.size))
        values = np.ascontiguousarray(sitk.GetArrayViewFromImage(image)[box], dtype=np.float32)
        part = self._method.segment(values, (z, y, x), seeds_within(everywhere, box))
        self._clicks, self._part, self._box = clicks, part, box

    @property
    def mask(self) -> sitk.Image:
        """The present mask, uint8 (0, 1) on the grid of the image.

        Raises:
            ImageError: when no image is set.
        """
        grid = ImageGrid.of(self._require_image())
        whole = np.zeros(tuple(reversed(grid.size)), np.uint8)
        whole[self._box] = self._part
        return grid.image(whole, grid.whole)

    def _require_image(self) -> sitk.Image:
        if self._image is None:
            raise ImageError("No image is set; call set_image first.")
        return self._image


def box_round(
    seeds: Sequence[Seed], reach_mm: float, spacing: tuple[float, float, float], shape: Index
) -> Box:
    """Return the box (k, j, i) within ``reach_mm`` of the lesion seeds along each axis, clipped to the array.

    Seeds against the lesion do not count: what lies far from all lesion seeds is background anyway.

    Args:
        seeds: at least one for the lesion.
        reach_mm: millimetres.
        spacing: (z, y, x) in millimetres.
        shape: voxels (k, j, i) of the array that the seeds lie in.
    """
    voxels = np.array([seed.voxel for seed in seeds if seed.positive])
    reach = np.ceil(reach_mm / np.asarray(spacing)).astype(int)
    low, high = voxels.min(axis=0) - reach, voxels.max(axis=0) + reach + 1
    return tuple(slice(max(0, int(a)), min(n, int(b))) for a, b, n in zip(low, high, shape, strict=True))


def seeds_within(seeds: Sequence[Seed], box: Box) -> tuple[Seed, ...]:
    """Return the seeds that lie in a box (k, j, i), counted from its corner."""
    inside = []
    for seed in seeds:
        k, j, i = (v - axis.start for v, axis in zip(seed.voxel, box, strict=True))
        if all(0 <= v < axis.stop - axis.start for v, axis in zip((k, j, i), box, strict=True)):
            inside.append(Seed((k, j, i), seed.positive))
    return tuple(inside)


def near(seeds: Sequence[Seed], radius_mm: float, spacing: tuple[float, float, float], shape: Index) -> Mask:
    """Return the voxels (k, j, i) within ``radius_mm`` of a seed, the seeds themselves always among them."""
    mask = np.zeros(shape, bool)
    for seed in seeds:
        ball = box_round((Seed(seed.voxel, True),), radius_mm, spacing, shape)
        squared = sum(
            ((np.arange(axis.start, axis.stop) - v) * mm).reshape([-1 if a == n else 1 for a in range(3)])
            ** 2
            for n, (axis, v, mm) in enumerate(zip(ball, seed.voxel, spacing, strict=True))
        )
        mask[ball] |= squared <= radius_mm**2
        mask[seed.voxel] = True
    return mask


def _reversed(index: Index) -> Index:
    return (index[2], index[1], index[0])
