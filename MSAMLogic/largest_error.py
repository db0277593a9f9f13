"""The largest error of a mask and its deepest point: where a careful reader clicks next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.bounding_box import Mask, bounding_box

_NEIGHBOURS_26 = np.ones((3, 3, 3), bool)
_EQUALLY_DEEP_MM = 1e-6


def largest_error(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    spacing: tuple[float, ...],
    background_clicks: bool = True,
) -> tuple[tuple[int, ...], bool] | None:
    """Return the deepest voxel (k, j, i) of the largest error and whether it is missed lesion.

    Of two errors of the same size, one that is missed goes before one that is too much.

    Args:
        truth: (k, j, i); what is not zero is lesion.
        prediction: the present mask, likewise.
        spacing: (z, y, x) millimetres.
        background_clicks: whether what is too much counts, or only what is missed.

    Returns:
        The voxel and the label, or None when there is no such error.
    """
    box = bounding_box(truth, prediction)
    if box is None:
        return None
    wanted, given = truth[box] != 0, prediction[box] != 0
    missed = largest_part(wanted & ~given)
    excess = largest_part(given & ~wanted & background_clicks)
    positive = np.count_nonzero(missed) >= np.count_nonzero(excess)
    part = missed if positive else excess
    if not part.any():
        return None
    corner = [axis.start for axis in box]
    voxel = tuple(int(a + b) for a, b in zip(corner, deepest_voxel(part, spacing), strict=True))
    return voxel, bool(positive)


def largest_part(error: Mask) -> Mask:
    """Return the largest 26-connected part of ``error``, the first one of equals."""
    labels, count = ndimage.label(error, _NEIGHBOURS_26)
    if count <= 1:
        return error
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    part: Mask = labels == int(sizes.argmax())
    return part


def deepest_voxel(part: Mask, spacing: tuple[float, ...]) -> NDArray[np.intp]:
    """Return the voxel (k, j, i) of ``part`` farthest from any voxel outside it."""
    box = bounding_box(part)
    assert box is not None  # callers ask for parts that are not empty only
    depth = ndimage.distance_transform_edt(np.pad(part[box], 1), sampling=spacing)
    deepest = np.argwhere(depth >= depth.max() - _EQUALLY_DEEP_MM)
    offset = (deepest - deepest.mean(axis=0)) * np.asarray(spacing)
    voxel = deepest[int(np.argmin((offset**2).sum(axis=1)))] - 1
    return np.asarray(voxel + [axis.start for axis in box], np.intp)
