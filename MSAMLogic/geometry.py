"""World and voxel coordinates, and patches cut from an image by geometry alone.

World coordinates are LPS millimetres, as ITK and DICOM have them; 3D Slicer shows RAS, which differs in
the sign of the first two axes. Voxel indices are (i, j, k), fastest first, as SimpleITK takes them.
Patch arrays are indexed (dim 0, dim 1, dim 2) = (R, A, S) unless a grid was turned on purpose; NumPy
arrays that SimpleITK makes are the reverse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MSAMLogic.aligned_sampling import sampled
from MSAMLogic.errors import ImageError

Point = tuple[float, float, float]
Index = tuple[int, int, int]

# Patch axes in LPS: dim 0 runs to the patient's right, dim 1 to anterior, dim 2 to superior.
RAS_AXES: tuple[float, ...] = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
# Voxels that a patch may leave an image's axes by, from one face to the other, and still lie along them: what
# the headers of scans lose to rounding.
_ASKEW_VOXELS = 1e-4


def lps_from_ras(point: Point) -> Point:
    """Return LPS millimetres of RAS millimetres; the same function goes back."""
    return (-point[0], -point[1], point[2])


@dataclass(frozen=True)
class PatchGrid:
    """A cube of isotropic voxels somewhere in the world.

    Attributes:
        centre: LPS millimetres of the cube's centre, which lies between voxels for an even size.
        spacing: millimetres between voxels.
        size: voxels a side.
        axes: row-major 3×3 matrix whose columns are the directions of dim 0, 1 and 2 in LPS; unit and
            orthogonal, of either handedness.
    """

    centre: Point
    spacing: float
    size: int
    axes: tuple[float, ...] = RAS_AXES

    @property
    def origin(self) -> Point:
        """LPS millimetres of voxel (0, 0, 0)."""
        x, y, z = self.world(np.zeros(3))
        return (float(x), float(y), float(z))

    @property
    def extent(self) -> float:
        """Millimetres that the cube covers a side."""
        return self.size * self.spacing

    def world(self, voxels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return LPS millimetres (..., 3) of patch voxels (..., 3)."""
        offset = (np.asarray(voxels, float) - (self.size - 1) / 2) * self.spacing
        return np.asarray(offset @ self._matrix.T + np.asarray(self.centre), np.float64)

    def voxels(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return patch voxels (..., 3), fractional, of LPS millimetres (..., 3)."""
        offset = (np.asarray(points, float) - np.asarray(self.centre)) @ self._matrix
        return np.asarray(offset / self.spacing + (self.size - 1) / 2, np.float64)

    def margin(self, point: Point) -> float:
        """Return how far inside the cube ``point`` lies: 1 at the centre, 0 on a face, negative outside."""
        offset = np.abs(self.voxels(np.asarray(point)) - (self.size - 1) / 2)
        return float(1 - offset.max() / (self.size / 2))

    def reference(self, dtype: int = sitk.sitkUInt8) -> sitk.Image:
        """Return an empty image on this grid."""
        image = sitk.Image((self.size,) * 3, dtype)
        self._place(image)
        return image

    def image(self, array: NDArray[np.generic]) -> sitk.Image:
        """Return the patch array (dim 0, dim 1, dim 2) as an image that knows where it lies."""
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
        self._place(image)
        return image

    @property
    def _matrix(self) -> NDArray[np.float64]:
        return np.asarray(self.axes, float).reshape(3, 3)

    def _place(self, image: sitk.Image) -> None:
        image.SetOrigin(self.origin)
        image.SetSpacing((self.spacing,) * 3)
        image.SetDirection(self.axes)


@dataclass(frozen=True)
class Region:
    """A box of voxels of an image: half open, ``start <= (i, j, k) < stop``."""

    start: Index
    stop: Index

    @property
    def size(self) -> Index:
        """Voxels along i, j and k."""
        i, j, k = (max(0, b - a) for a, b in zip(self.start, self.stop, strict=True))
        return (i, j, k)

    @property
    def empty(self) -> bool:
        """Whether the box holds no voxel."""
        return min(self.size) == 0

    def union(self, other: Region) -> Region:
        """Return the smallest box around both; an empty box adds nothing."""
        if self.empty or other.empty:
            return other if self.empty else self
        return Region(
            _index(min(a, b) for a, b in zip(self.start, other.start, strict=True)),
            _index(max(a, b) for a, b in zip(self.stop, other.stop, strict=True)),
        )

    def intersection(self, other: Region) -> Region:
        """Return the common box, possibly empty."""
        start = _index(max(a, b) for a, b in zip(self.start, other.start, strict=True))
        stop = _index(min(a, b) for a, b in zip(self.stop, other.stop, strict=True))
        return Region(start, _index(max(a, b) for a, b in zip(start, stop, strict=True)))


def _index(values: object) -> Index:
    i, j, k = (int(v) for v in values)  # type: ignore[attr-defined]
    return (i, j, k)


@dataclass(frozen=True)
class ImageGrid:
    """Size and placement of an image, apart from its voxels; left-handed and oblique alike.

    Attributes:
        size: voxels along (i, j, k).
        origin: LPS millimetres of voxel (0, 0, 0).
        spacing: millimetres along (i, j, k).
        direction: row-major 3×3 matrix whose columns are the directions of i, j, k in LPS.
    """

    size: Index
    origin: Point
    spacing: Point
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: sitk.Image) -> ImageGrid:
        """Return the grid of a three-dimensional image."""
        return cls(image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection())

    @property
    def whole(self) -> Region:
        """The box of all voxels."""
        return Region((0, 0, 0), self.size)

    def index(self, point: Point) -> NDArray[np.float64]:
        """Return the fractional voxel index (i, j, k) of a point in LPS millimetres."""
        return np.linalg.solve(self._matrix, np.asarray(point, float) - np.asarray(self.origin))

    def point(self, index: NDArray[np.floating]) -> Point:
        """Return LPS millimetres of a fractional voxel index (i, j, k)."""
        x, y, z = self._matrix @ np.asarray(index, float) + np.asarray(self.origin)
        return (float(x), float(y), float(z))

    def contains(self, point: Point) -> bool:
        """Whether a point in LPS millimetres lies within a voxel of the image."""
        index = self.index(point)
        return bool(np.all(index >= -0.5) and np.all(index < np.asarray(self.size) - 0.5))

    def nearest(self, point: Point) -> Index:
        """Return the voxel (i, j, k) of the image that is nearest to a point in LPS millimetres."""
        index = np.floor(self.index(point) + 0.5)
        return _index(np.clip(index, 0, np.asarray(self.size) - 1))

    def region_of(self, patch: PatchGrid) -> Region:
        """Return the box of the image's voxels that a patch can touch, clipped to the image."""
        return self._region_between(patch, np.full(3, -0.5), np.full(3, patch.size - 0.5))

    def region_of_cells(self, patch: PatchGrid, cells: NDArray[np.bool_]) -> Region:
        """Return the box of the image's voxels between some cells of a patch and their neighbours.

        A surface between a cell inside and one outside lies within it.

        Args:
            patch: any patch.
            cells: (n, n, n), true for the cells that are meant; none give an empty box.
        """
        chosen = np.argwhere(cells)
        if not len(chosen):
            return Region((0, 0, 0), (0, 0, 0))
        return self._region_between(patch, chosen.min(axis=0) - 1.0, chosen.max(axis=0) + 1.0)

    def _region_between(
        self, patch: PatchGrid, low: NDArray[np.floating], high: NDArray[np.floating]
    ) -> Region:
        corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T
        indices = np.array([self.index(tuple(corner)) for corner in patch.world(corners)])
        start = _index(np.floor(indices.min(axis=0)))
        stop = _index(np.ceil(indices.max(axis=0)) + 1)
        return Region(start, stop).intersection(self.whole)

    def region_of_image(self, other: sitk.Image) -> Region:
        """Return the box of this grid's voxels that another image can touch; it may leave this image."""
        corners = np.array(np.meshgrid(*[[-0.5, n - 0.5] for n in other.GetSize()])).reshape(3, -1).T
        points = [other.TransformContinuousIndexToPhysicalPoint(corner.tolist()) for corner in corners]
        indices = np.array([self.index(point) for point in points])
        return Region(_index(np.floor(indices.min(axis=0))), _index(np.ceil(indices.max(axis=0)) + 1))

    def reference(self, region: Region, dtype: int = sitk.sitkUInt8) -> sitk.Image:
        """Return an empty image on the box ``region`` of this grid."""
        image = sitk.Image(region.size, dtype)
        image.SetOrigin(self.point(np.asarray(region.start)))
        image.SetSpacing(self.spacing)
        image.SetDirection(self.direction)
        return image

    def image(self, array: NDArray[np.generic], region: Region) -> sitk.Image:
        """Return an array (k, j, i) of the box ``region`` as an image that knows where it lies."""
        image = sitk.GetImageFromArray(np.ascontiguousarray(array))
        image.SetOrigin(self.point(np.asarray(region.start)))
        image.SetSpacing(self.spacing)
        image.SetDirection(self.direction)
        return image

    def voxel_sides(self, patch: PatchGrid) -> NDArray[np.float64]:
        """Return the millimetres (3,) of a voxel's side along the image axis nearest to each patch axis."""
        axes = np.asarray(patch.axes).reshape(3, 3)
        cosines = np.abs(axes.T @ np.asarray(self.direction).reshape(3, 3))  # (patch axis, image axis)
        return np.asarray(np.asarray(self.spacing)[cosines.argmax(axis=1)], np.float64)

    def matches(self, other: ImageGrid, tolerance: float = 1e-4) -> bool:
        """Whether both grids put every voxel within ``tolerance`` voxels of the same place."""
        if self.size != other.size:
            return False
        corners = np.array(np.meshgrid(*[[0, n - 1] for n in self.size])).reshape(3, -1).T
        moved = np.array([self.index(other.point(corner)) for corner in corners])
        return bool(np.abs(moved - corners).max() <= tolerance)

    @property
    def _matrix(self) -> NDArray[np.float64]:
        directions = np.array(self.direction, np.float64).reshape(3, 3)
        return np.asarray(directions * np.array(self.spacing), np.float64)


def extract_patch(
    image: sitk.Image,
    grid: PatchGrid,
    outside: float = 0.0,
    nearest: bool = False,
    antialias: bool = False,
) -> NDArray[np.float32]:
    """Resample an image onto a patch.

    Args:
        image: any scalar image of three dimensions, in any orientation.
        grid: where and how fine the patch is.
        outside: value where the patch leaves the image.
        nearest: take the nearest voxel, for masks, in place of linear interpolation.
        antialias: where the patch is much coarser than the image, average several samples a voxel;
            single samples of a fine, noisy image alias. The published networks were trained without.

    Returns:
        (n, n, n) float32, axes those of ``grid``.

    Raises:
        ImageError: when the image has not three dimensions.
    """
    if image.GetDimension() != 3:
        raise ImageError(f"The image has {image.GetDimension()} dimensions; give a single 3D volume.")
    repeat = 2 if antialias and grid.spacing > 1.75 * min(image.GetSpacing()) else 1
    fine = PatchGrid(grid.centre, grid.spacing / repeat, grid.size * repeat, grid.axes)
    aligned = None if nearest else _along_image_axes(ImageGrid.of(image), fine)
    if aligned is not None:
        positions, order = aligned
        # (k, j, i), as the array is; the view ends with this function, and the image does not.
        values = sampled(sitk.GetArrayViewFromImage(image), positions, outside, repeat)
        return np.array(values.transpose(order), order="C")
    resampled = sitk.Resample(
        image,
        fine.reference(),
        sitk.Transform(),
        sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear,
        outside,
        sitk.sitkFloat32,
    )
    if repeat > 1:
        resampled = sitk.BinShrink(resampled, (repeat,) * 3)
    # A copy in any case: of a single voxel the view would be contiguous, and outlive its image.
    return np.array(sitk.GetArrayViewFromImage(resampled).transpose(2, 1, 0), np.float32, order="C")


def _along_image_axes(
    image: ImageGrid, patch: PatchGrid
) -> tuple[list[NDArray[np.float64]], tuple[int, int, int]] | None:
    """Return where a patch's voxels lie along the axes of an image, or None where its axes are others.

    Returns:
        Fractional indices along k, j and i, and which of those three each axis of the patch is.
    """
    start = image.index(patch.origin)
    corner = patch.world(np.eye(3))
    steps = np.array([image.index(tuple(point)) - start for point in corner])  # (patch axis, image axis)
    axes = np.abs(steps).argmax(axis=1)
    along = np.zeros_like(steps)
    along[range(3), axes] = steps[range(3), axes]
    if sorted(axes) != [0, 1, 2] or np.abs(steps - along).max() * patch.size > _ASKEW_VOXELS:
        return None
    positions = [start[axis] + along[:, axis].sum() * np.arange(patch.size) for axis in (2, 1, 0)]
    return positions, _index(2 - axes)
