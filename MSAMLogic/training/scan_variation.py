"""The same scan of another patient, in another scanner: a drawn lesion seen otherwise, with its scan whole.

A few dozen patients teach a network their sizes: that what is dark in a limb is a hand wide, that what is
bright in a brain is a fingertip wide. A network that looks at several spacings should know only how a lesion
looks at each. So a scan that clicks are recorded on is stretched, turned, seen through thicker slices, noise
and other contrast, before the network looks at it: unlike a recorded cube that is turned, it then answers
otherwise, too.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.intensity import Modality

Mask = NDArray[np.bool_]
Voxels = NDArray[np.float32]

_STRETCHED = (0.4, 2.0)  # times as large as it is
_VOXELS_MM = (0.3, 3.0)  # the finest side of a stretched voxel stays within
_THICKEST_MM = 8.0
_CT_NOISE = (4.0, 40.0)  # HU
_MR_NOISE = (0.01, 0.08)  # of the range that most of the scan's values span


def varied_scan(
    image: sitk.Image, modality: Modality, truth: Mask, rng: np.random.Generator
) -> tuple[sitk.Image, Mask]:
    """Return a scan and its lesion as another patient and scanner might have shown them.

    Args:
        image: the scan; it stays as it is.
        modality: Hounsfield units stay Hounsfield units.
        truth: (k, j, i) the lesion on the scan's grid.
        rng: source of chance.

    Returns:
        The varied scan, float32, and (k, j, i) the lesion on its grid, which has at least one voxel.
    """
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    direction = np.asarray(image.GetDirection()).reshape(3, 3)
    spacing = np.asarray(image.GetSpacing()) * _stretch(image, rng)
    if rng.random() < 0.5:  # the other side of the body
        values, truth = values[:, :, ::-1], truth[:, :, ::-1]
    if rng.random() < 0.3:
        direction = direction[:, rng.permutation(3)]
    step = int(rng.choice((1, 1, 2, 3)))
    if step * spacing[2] <= _THICKEST_MM and len(values) >= 6 * step:
        thicker = means_of_slices(truth.astype(np.float32), step) >= 0.5
        if thicker.any():
            values, truth = means_of_slices(values, step), thicker
            spacing[2] *= step
    varied = sitk.GetImageFromArray(np.ascontiguousarray(_other_scanner(values, modality, rng)))
    varied.SetSpacing([float(v) for v in spacing])
    varied.SetDirection([float(v) for v in direction.ravel()])
    return varied, np.ascontiguousarray(truth)


def means_of_slices(values: Voxels, step: int) -> Voxels:
    """Return a volume (k, j, i) with slices ``step`` times as thick: a slice shows what lies within it."""
    whole = len(values) // step * step
    return np.asarray(values[:whole].reshape(-1, step, *values.shape[1:]).mean(axis=1), np.float32)


def _stretch(image: sitk.Image, rng: np.random.Generator) -> float:
    """Return how many times as large the scan becomes; a third of them stay as large as they are."""
    if rng.random() < 1 / 3:
        return 1.0
    finest = min(image.GetSpacing())
    low, high = (limit / finest for limit in _VOXELS_MM)
    return float(np.clip(np.exp(rng.uniform(*np.log(_STRETCHED))), low, max(low, high)))


def _other_scanner(values: Voxels, modality: Modality, rng: np.random.Generator) -> Voxels:
    """Return values with other sharpness, contrast and noise."""
    out: NDArray[np.floating] = values
    if rng.random() < 0.25:
        out = ndimage.gaussian_filter(out, (0, *(rng.uniform(0.4, 1.0),) * 2))
    low, high = (float(v) for v in np.percentile(out[::2, ::2, ::2], (2, 98)))
    span = max(high - low, 1e-3)
    if modality == "CT":
        noise = rng.uniform(*_CT_NOISE)
    else:
        noise = rng.uniform(*_MR_NOISE) * span
        if rng.random() < 0.4:
            unit = np.clip((out - low) / span, 0, 1.5)
            out = unit ** float(np.exp(rng.uniform(-0.5, 0.5))) * span + low
        if rng.random() < 0.12:
            out = high + low - out
    if rng.random() < 0.4:
        out = out + rng.normal(0, noise, out.shape)
    return np.asarray(out, np.float32)
