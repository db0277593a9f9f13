"""Between MRML and MSAMLogic: world RAS and a volume's own LPS, volumes and masks.

A volume's own coordinates are those of its IJK-to-RAS matrix, before any parent transform. Clicks come
in world RAS: they go through the parent transforms to the volume's own RAS and change two signs. No axis
is guessed, so oblique, left-handed and transformed volumes need no special case.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from MSAMLogic.errors import ImageError
from MSAMLogic.geometry import ImageGrid

Point = tuple[float, float, float]


def require_linear_transform(volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Raise :class:`ImageError` when a parent transform of the volume bends space."""
    parent = volume.GetParentTransformNode()
    if parent is not None and not parent.IsTransformToWorldLinear():
        raise ImageError(
            f"'{volume.GetName()}' is under the non-linear transform '{parent.GetName()}'. Voxels have no "
            "single size there. Harden the transform on the volume, or move the volume out of it."
        )


def own_lps_of_world(volume: slicer.vtkMRMLScalarVolumeNode, world: Point) -> Point:
    """Return the volume's own LPS millimetres of a point in world RAS millimetres.

    Raises:
        ImageError: when the volume is under a non-linear transform.
    """
    require_linear_transform(volume)
    x, y, z = _transformed(None, volume.GetParentTransformNode(), world)
    return (-x, -y, z)


def world_of_own_lps(volume: slicer.vtkMRMLScalarVolumeNode, point: Point) -> Point:
    """Return world RAS millimetres of a point in the volume's own LPS millimetres."""
    return _transformed(volume.GetParentTransformNode(), None, (-point[0], -point[1], point[2]))


def _transformed(
    source: slicer.vtkMRMLTransformNode | None, target: slicer.vtkMRMLTransformNode | None, point: Point
) -> Point:
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, transform)
    x, y, z = transform.TransformPoint(point)
    return (x, y, z)


def voxels_of(volume: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Return the volume's voxels (k, j, i) without copying them.

    Raises:
        ImageError: when there are none, or several values a voxel.
    """
    data = volume.GetImageData()
    scalars = data.GetPointData().GetScalars() if data is not None else None
    if scalars is None:
        raise ImageError(f"'{volume.GetName()}' has no voxels. Choose another volume.")
    if data.GetNumberOfScalarComponents() != 1:
        raise ImageError(f"'{volume.GetName()}' has several values a voxel. Choose a scalar volume.")
    return vtk_to_numpy(scalars).reshape(tuple(reversed(data.GetDimensions())))


def ijk_to_ras(volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Return the 4×4 matrix from voxel (i, j, k) to the volume's own RAS millimetres."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def grid_of(to_ras: np.ndarray, size: tuple[int, ...]) -> ImageGrid:
    """Return the grid in LPS of voxels (i, j, k) that a 4×4 matrix takes to RAS.

    Args:
        to_ras: from voxel to RAS millimetres.
        size: voxels along (i, j, k).
    """
    to_lps = np.diag([-1.0, -1.0, 1.0]) @ to_ras[:3]
    spacing = np.linalg.norm(to_lps[:, :3], axis=0)
    direction = tuple((to_lps[:, :3] / spacing).ravel().tolist())
    return ImageGrid(tuple(size), tuple(to_lps[:, 3].tolist()), tuple(spacing.tolist()), direction)


def image_of(voxels: np.ndarray, to_ras: np.ndarray) -> sitk.Image:
    """Return a copy of voxels (k, j, i) as an image that knows where it lies in LPS.

    This takes time for a large volume, and needs no MRML: the worker's thread does it.
    """
    grid = grid_of(to_ras, voxels.shape[::-1])
    return grid.image(voxels, grid.whole)


def labelmap_of(
    mask: sitk.Image, volume: slicer.vtkMRMLVolumeNode, world_to_target: np.ndarray | None = None
) -> slicer.vtkOrientedImageData:
    """Return a mask as Slicer's segmentations take it, with the volume's voxel numbers as its extent.

    Args:
        mask: a box of the volume's voxels.
        volume: the volume.
        world_to_target: 4×4, RAS to RAS, when the segmentation lies in other coordinates than the volume.
    """
    array = sitk.GetArrayViewFromImage(mask)
    to_ras = ijk_to_ras(volume)
    x, y, z = mask.GetOrigin()
    start = np.rint(np.linalg.solve(to_ras, [-x, -y, z, 1.0])[:3]).astype(int)
    stop = start + np.array(mask.GetSize()) - 1
    labelmap = slicer.vtkOrientedImageData()
    labelmap.SetExtent(*(int(v) for pair in zip(start, stop, strict=True) for v in pair))
    labelmap.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(labelmap.GetPointData().GetScalars())[:] = array.ravel()
    to_target = to_ras if world_to_target is None else world_to_target @ to_ras
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(to_target.ravel().tolist())
    labelmap.SetImageToWorldMatrix(matrix)
    return labelmap


def mask_of(labelmap: slicer.vtkOrientedImageData, target_to_volume: np.ndarray | None = None) -> sitk.Image:
    """Return a segment's labelmap as a mask in LPS; one voxel of 0 when it is empty.

    Args:
        labelmap: on its own grid.
        target_to_volume: 4×4, RAS to RAS, when the segmentation lies in other coordinates than the volume.
    """
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    to_ras = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    extent = labelmap.GetExtent()
    size = [extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in range(3)]
    if min(size) < 1 or labelmap.GetPointData().GetScalars() is None:
        voxels, start = np.zeros((1, 1, 1), np.uint8), np.zeros(3)
    else:
        scalars = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(tuple(reversed(size)))
        voxels, start = (scalars != 0).astype(np.uint8), np.array(extent[::2], float)
    if target_to_volume is not None:
        to_ras = target_to_volume @ to_ras
    to_ras[:3, 3] += to_ras[:3, :3] @ start
    return image_of(voxels, to_ras)


def transform_between(
    source: slicer.vtkMRMLTransformableNode, target: slicer.vtkMRMLTransformableNode
) -> np.ndarray:
    """Return the 4×4 matrix, RAS to RAS, from one node's own coordinates to another's.

    Raises:
        ImageError: when a transform between them is not linear.
    """
    one, other = source.GetParentTransformNode(), target.GetParentTransformNode()
    if one is other:
        return np.eye(4)
    matrix = vtk.vtkMatrix4x4()
    for node in (one, other):
        if node is not None and not node.IsTransformToWorldLinear():
            raise ImageError(
                f"'{source.GetName()}' or '{target.GetName()}' is under the non-linear transform "
                f"'{node.GetName()}'. Harden it, or move them out of it."
            )
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(one, other, matrix)
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
