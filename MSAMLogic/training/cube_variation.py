"""A recorded cube seen otherwise: turned, mirrored, and with other contrast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def turned(cube: NDArray[np.float32], turn: NDArray[np.intp], flip: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a cube with its axes exchanged and some of them reversed."""
    return cube.transpose(turn)[tuple(slice(None, None, -1 if back else 1) for back in flip)]


def turned_point(
    points: NDArray[np.float32], size: int, turn: NDArray[np.intp], flip: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return points (..., 3), in cells of a cube ``size`` cells a side, as :func:`turned` turns the cube."""
    middle = (size - 1) / 2
    moved = (points[..., turn] - middle) * np.where(flip, -1, 1) + middle
    return np.asarray(moved, np.float32)


def varied(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Vary sign, noise, contrast and sharpness; what lies beyond the image stays NaN."""
    known = image[~np.isnan(image)]
    if not known.size:
        return image
    out: NDArray[np.floating] = image
    deviation = float(known.std()) + 1e-3
    if rng.random() < 0.1:
        out = -out
    if rng.random() < 0.3:
        out = out + rng.normal(0, rng.uniform(0.02, 0.25) * deviation, out.shape)
    if rng.random() < 0.3:
        low, high = np.nanpercentile(out, (1, 99))
        unit = np.clip((out - low) / (high - low + 1e-3), 0, 1.3)
        out = unit ** float(np.exp(rng.uniform(-0.5, 0.5)))
    if rng.random() < 0.15:
        filled = np.nan_to_num(out, nan=float(np.nanmean(out)))
        blurred = ndimage.gaussian_filter(filled, rng.uniform(0.3, 0.9))
        out = np.where(np.isnan(out), np.nan, blurred)
    return np.asarray(out, np.float32)
