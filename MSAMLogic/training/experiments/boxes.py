"""Boxes of voxels somewhere in the world, of three side lengths and spacings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MSAMLogic.geometry import RAS_AXES, Index, Point


@dataclass(frozen=True)
class BoxGrid:
    """A box of voxels; :class:`MSAMLogic.geometry.PatchGrid` is the cube among them.

    Attributes:
        centre: LPS millimetres of the middle of the box.
        spacing: millimetres between voxels along dim 0, 1 and 2.
        shape: voxels along dim 0, 1 and 2.
        axes: row-major 3×3 matrix whose columns are the directions of dim 0, 1 and 2 in LPS; unit and
            orthogonal, of either handedness.
    """

    centre: Point
    spacing: Point
    shape: Index
    axes: tuple[float, ...] = RAS_AXES

    def world(self, voxels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return LPS millimetres (..., 3) of box voxels (..., 3)."""
        offset = (np.asarray(voxels, float) - self._middle) * self.spacing
        return np.asarray(offset @ self._matrix.T + self.centre, np.float64)

    def voxels(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return box voxels (..., 3), fractional, of LPS millimetres (..., 3)."""
        offset = (np.asarray(points, float) - self.centre) @ self._matrix
        return np.asarray(offset / self.spacing + self._middle, np.float64)

    def extract(self, image: sitk.Image, outside: float = 0.0, nearest: bool = False) -> NDArray[np.float32]:
        """Return an image's values in the box, axes those of the box.

        Args:
            image: any scalar volume, in any orientation.
            outside: value where the box leaves the image.
            nearest: take the nearest voxel, for labels, in place of linear interpolation.
        """
        interpolation = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
        reference = self._place(sitk.Image(self.shape, sitk.sitkUInt8))
        sampled = sitk.Resample(image, reference, sitk.Transform(), interpolation, outside, sitk.sitkFloat32)
        # A copy in any case: of a single voxel the view would be contiguous, and outlive its image.
        return np.array(sitk.GetArrayViewFromImage(sampled).transpose(2, 1, 0), np.float32, order="C")

    def image(self, array: NDArray[np.generic]) -> sitk.Image:
        """Return values (dim 0, dim 1, dim 2) that cover the box, at any resolution, as an image."""
        grid = BoxGrid(
            self.centre,
            tuple(s * n / m for s, n, m in zip(self.spacing, self.shape, array.shape, strict=True)),
            array.shape,
            self.axes,
        )
        return grid._place(sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0))))

    @property
    def _middle(self) -> NDArray[np.float64]:
        return (np.asarray(self.shape) - 1) / 2

    @property
    def _matrix(self) -> NDArray[np.float64]:
        return np.asarray(self.axes, float).reshape(3, 3)

    def _place(self, image: sitk.Image) -> sitk.Image:
        image.SetOrigin(self.world(np.zeros(3)).tolist())
        image.SetSpacing(self.spacing)
        image.SetDirection(self.axes)
        return image
