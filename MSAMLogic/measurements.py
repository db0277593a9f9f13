"""What is measured of a lesion: volume, intensity, and long and short axis in each anatomical plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MSAMLogic.diameters import BoolArray, longest_axes
from MSAMLogic.errors import ImageError
from MSAMLogic.geometry import ImageGrid, Point, Region

Plane = Literal["axial", "coronal", "sagittal"]

_NORMALS: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}  # the LPS axis across each plane


@dataclass(frozen=True)
class Diameters:
    """Long and short axis in the slice of a plane in which the lesion is longest.

    Attributes:
        plane: the anatomical plane that the slice is nearest to.
        slice_index: index of the slice along the image's axis across that plane.
        long_mm: millimetres of the longest line between two points of the outline in one slice.
        short_mm: millimetres of the longest line perpendicular to it in the same slice.
        long_ends: both ends, LPS millimetres.
        short_ends: both ends, LPS millimetres.
    """

    plane: Plane
    slice_index: int
    long_mm: float
    short_mm: float
    long_ends: tuple[Point, Point]
    short_ends: tuple[Point, Point]


@dataclass(frozen=True)
class LesionMeasurements:
    """The measurements of one mask.

    Attributes:
        volume_ml: millilitres of the mask's voxels.
        voxel_count: how many voxels the mask has.
        mean: of the image's values in the mask.
        standard_deviation: of the same values, divided by their number (not by one less).
        minimum: the least of them.
        maximum: the greatest of them.
        diameters: for each plane, on the image's own slices.
    """

    volume_ml: float
    voxel_count: int
    mean: float
    standard_deviation: float
    minimum: float
    maximum: float
    diameters: Mapping[Plane, Diameters]


def measure(image: sitk.Image, mask: sitk.Image) -> LesionMeasurements:
    """Measure a lesion on the slices of its scan.

    Diameters are those of RECIST 1.1 (see :mod:`MSAMLogic.diameters` for the outline), on original
    slices: nothing is resampled, so "axial" means the slices that are nearest to axial.

    Args:
        image: the scan, one value a voxel, in any orientation.
        mask: lesion where it is not 0; on the image's grid, or on a box of it with origin and size of its
            own, as :class:`MSAMLogic.InteractiveSession` returns it.

    Raises:
        ImageError: when either is no 3D scalar image, the mask is empty or lies on another grid, or the
            image has values in the mask that are no numbers.
    """
    for what, volume in (("image", image), ("mask", mask)):
        if volume.GetDimension() != 3 or volume.GetNumberOfComponentsPerPixel() != 1:
            raise ImageError(f"The {what} must be a single 3D volume with one value a voxel.")
    grid = ImageGrid.of(image)
    lesion = sitk.GetArrayViewFromImage(mask) != 0
    region = _box(lesion, _place(grid, mask))
    lesion = lesion[_slices(region, _place(grid, mask))]
    values = sitk.GetArrayViewFromImage(image)[_slices(region, grid.whole)][lesion].astype(np.float64)
    if not np.isfinite(values).all():
        raise ImageError("The image has values in the mask that are no numbers; correct the image first.")
    return LesionMeasurements(
        volume_ml=values.size * voxel_volume(grid) / 1000,
        voxel_count=values.size,
        mean=float(values.mean()),
        standard_deviation=float(values.std()),
        minimum=float(values.min()),
        maximum=float(values.max()),
        diameters={
            plane: _diameters(plane, axis, lesion, region, grid) for plane, axis in plane_axes(grid).items()
        },
    )


def plane_axes(grid: ImageGrid) -> dict[Plane, int]:
    """Return for each anatomical plane which of the axes (i, j, k) runs across its slices.

    For a scan that is turned this is the assignment in which the three axes are nearest to the normals of
    the three planes taken together, so no axis serves two planes.
    """
    nearness = np.abs(np.array(grid.direction).reshape(3, 3))
    best = max(permutations(range(3)), key=lambda order: sum(nearness[n, a] for n, a in enumerate(order)))
    return {plane: best[_NORMALS[plane]] for plane in ("axial", "coronal", "sagittal")}


def _place(grid: ImageGrid, mask: sitk.Image) -> Region:
    """Return the box of the image's voxels on which the mask lies."""
    offset = np.rint(grid.index(mask.GetOrigin()))
    i, j, k = (int(n) for n in offset)
    ni, nj, nk = mask.GetSize()
    region = Region((i, j, k), (i + ni, j + nj, k + nk))
    box = ImageGrid(mask.GetSize(), grid.point(offset), grid.spacing, grid.direction)
    if region.intersection(grid.whole) != region or not box.matches(ImageGrid.of(mask), tolerance=1e-2):
        raise ImageError(
            "The mask does not lie on the image's voxels; measure it on the scan that it was drawn on, or "
            "resample it to that scan."
        )
    return region


def _box(lesion: BoolArray, place: Region) -> Region:
    """Return the tight box, in the image, of the mask's voxels."""
    start, stop = [], []
    for axis, offset in zip((2, 1, 0), place.start, strict=True):
        hit = np.flatnonzero(lesion.any(axis=tuple(a for a in range(3) if a != axis)))
        if not hit.size:
            raise ImageError("The mask is empty; there is nothing to measure.")
        start.append(offset + int(hit[0]))
        stop.append(offset + int(hit[-1]) + 1)
    return Region((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _slices(region: Region, corner: Region) -> tuple[slice, ...]:
    """Return the (k, j, i) slices of ``region`` in an array that starts at ``corner.start``."""
    pairs = zip(region.start, region.stop, corner.start, strict=True)
    return tuple(slice(a - c, b - c) for a, b, c in pairs)[::-1]


def voxel_volume(grid: ImageGrid) -> float:
    """Return cubic millimetres of a voxel, whose axes may slant."""
    return float(np.prod(grid.spacing) * abs(np.linalg.det(np.array(grid.direction).reshape(3, 3))))


def _diameters(plane: Plane, axis: int, lesion: BoolArray, region: Region, grid: ImageGrid) -> Diameters:
    """Measure the slices across ``axis`` (0 for i) of ``lesion`` (k, j, i), which fills ``region``."""
    rows, columns = (a for a in range(3) if a != axis)
    directions = np.array(grid.direction).reshape(3, 3) * grid.spacing
    # Millimetres within the plane, right also where the two axes do not meet at a right angle.
    steps = np.linalg.qr(directions[:, [rows, columns]])[1]
    found = longest_axes(lesion.transpose(2, 1, 0).transpose(axis, rows, columns), steps)

    def ends(pair: NDArray[np.float64]) -> tuple[Point, Point]:
        index = np.zeros((2, 3))
        index[:, axis] = found.slice_index
        index[:, [rows, columns]] = pair
        a, b = index + region.start
        return (grid.point(a), grid.point(b))

    return Diameters(
        plane=plane,
        slice_index=region.start[axis] + found.slice_index,
        long_mm=found.long_mm,
        short_mm=found.short_mm,
        long_ends=ends(found.long_ends),
        short_ends=ends(found.short_ends),
    )
