"""From scanner values to what the networks were trained on."""

from __future__ import annotations

from typing import Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MSAMLogic.capabilities import IntensityRange

Modality = Literal["CT", "MR"]

CT_RANGE = (-1000.0, 1000.0)  # Hounsfield units that M-SAM keeps
_CT_EVIDENCE = -200.0  # magnitude images have no such values; air and fat of a CT have
_SAMPLES_A_SIDE = 24
_LEAST_FOREGROUND = 1e-3  # share of the patch


def guess_modality(image: sitk.Image) -> Modality:
    """Return "CT" when the image has Hounsfield units, else "MR" (any scale without a meaning).

    The DICOM modality, where the image carries it, decides; otherwise a sparse grid of samples does, so
    the cost does not depend on the size of the image.
    """
    for key in ("0008|0060", "modality", "Modality"):
        if image.HasMetaDataKey(key):
            return "CT" if image.GetMetaData(key).strip().upper() == "CT" else "MR"
    view = sitk.GetArrayViewFromImage(image)
    steps = tuple(slice(None, None, max(1, n // _SAMPLES_A_SIDE)) for n in view.shape)
    return "CT" if float(view[steps].min()) < _CT_EVIDENCE else "MR"


def normalise(
    patch: NDArray[np.float32], modality: Modality, intensity: IntensityRange | None = None
) -> NDArray[np.float32]:
    """Clamp a CT to ±1000 HU, then z-score over the voxels above 0, as M-SAM's release does.

    A patch of, say, aerated lung alone has no or a handful of voxels above 0, which say nothing; then all
    voxels give mean and deviation.

    Args:
        patch: scanner values; voxels outside the image are 0.
        modality: "CT" clamps, anything else does not.
        intensity: a fixed normalisation to use instead.

    Returns:
        float32 of the same shape; zeros for a constant patch.
    """
    if intensity is not None:
        clipped = np.clip(patch, intensity.low, intensity.high)
        return ((clipped - intensity.mean) / intensity.deviation).astype(np.float32)
    values = np.clip(patch, *CT_RANGE) if modality == "CT" else patch
    foreground = values[values > 0]
    if foreground.size < _LEAST_FOREGROUND * values.size or not np.ptp(foreground):
        foreground = values.ravel()
    if not np.ptp(foreground):
        return np.zeros_like(values)
    deviation = float(foreground.std(dtype=np.float64))
    mean = float(foreground.mean(dtype=np.float64))
    return ((values - mean) / deviation).astype(np.float32)
