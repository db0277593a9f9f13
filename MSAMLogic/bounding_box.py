"""The smallest box round what is in masks, without looking at more of a volume than it must."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Box = tuple[slice, ...]


def bounding_box(*masks: NDArray[Any]) -> Box | None:
    """Return the smallest box that holds every voxel that is not zero in any of the masks.

    Args:
        masks: arrays (k, j, i) of one shape.

    Returns:
        One slice for each axis, or None when all masks are empty.
    """
    spans = [span for span in map(_spans, masks) if span is not None]
    if not spans:
        return None
    return tuple(
        slice(min(start for start, _ in axis), max(stop for _, stop in axis))
        for axis in zip(*spans, strict=True)
    )


def _spans(mask: NDArray[Any]) -> list[tuple[int, int]] | None:
    # The slowest axis first: it is contiguous in memory and leaves a slab of the volume to look at.
    slices = _span(mask, 0)
    if slices is None:
        return None
    slab = np.asarray(mask[slices[0] : slices[1]].any(axis=0))
    return [slices, *filter(None, (_span(slab, axis) for axis in range(slab.ndim)))]


def _span(mask: NDArray[Any], axis: int) -> tuple[int, int] | None:
    rows = np.moveaxis(mask, axis, 0).reshape(mask.shape[axis], -1)
    filled = np.flatnonzero(rows.any(axis=1))
    return (int(filled[0]), int(filled[-1]) + 1) if filled.size else None
