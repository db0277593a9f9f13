"""Images with bright balls at known places in the world, on any grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0)
SAGITTAL = (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
LEFT_HANDED = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)


def oblique(degrees: float = 25.0) -> tuple[float, ...]:
    """Return the axes of a scan turned about two axes of the patient."""
    a, b = np.deg2rad(degrees), np.deg2rad(0.6 * degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return tuple(float(v) for v in (about_x @ about_z).ravel())


def balls(
    size: Sequence[int] = (64, 64, 64),
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    direction: Sequence[float] = AXIAL,
    origin: Sequence[float] = (10.0, -20.0, 30.0),
    centres: Sequence[Sequence[float]] = (),
    radius: float = 8.0,
    dtype: type = np.int16,
) -> sitk.Image:
    """Return an image of value 100 within ``radius`` mm of each of ``centres`` (LPS mm), faint outside."""
    i, j, k = size
    index = np.stack(np.meshgrid(np.arange(k), np.arange(j), np.arange(i), indexing="ij")[::-1], axis=-1)
    matrix = np.asarray(direction).reshape(3, 3) * np.asarray(spacing)
    world = index @ matrix.T + np.asarray(origin)
    array = index.sum(axis=-1) % 3.0
    for centre in centres:
        array[np.linalg.norm(world - np.asarray(centre), axis=-1) <= radius] = 100
    image = sitk.GetImageFromArray(array.astype(dtype))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def middle(image: sitk.Image) -> tuple[float, float, float]:
    """Return LPS millimetres of the middle of an image."""
    centre: tuple[float, float, float] = image.TransformContinuousIndexToPhysicalPoint(
        [(n - 1) / 2 for n in image.GetSize()]
    )
    return centre


def centroid(mask: sitk.Image) -> np.ndarray:
    """Return LPS millimetres of the centroid of the voxels that are not 0."""
    indices = np.argwhere(sitk.GetArrayViewFromImage(mask))[:, ::-1].astype(float)
    return np.mean(
        [mask.TransformContinuousIndexToPhysicalPoint(list(map(float, p))) for p in indices], axis=0
    )


def volume(mask: sitk.Image) -> float:
    """Return cubic millimetres of the voxels that are not 0."""
    return float(sitk.GetArrayViewFromImage(mask).astype(bool).sum() * np.prod(mask.GetSpacing()))
