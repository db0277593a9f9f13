"""Masks that are far from a lesion: a part of it, or much more. Who corrects one clicks far from its edge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.training.clicks import Mask, random_voxel

_PART, _CORE = 0.4, 0.25  # shares of the kinds; the others are more than the lesion
_KEPT = (0.2, 0.75)  # share of the lesion's voxels that a part or a core is
_EXCESS_RADIUS = (0.5, 1.2)  # of what is too much, in radii of a ball as large as the lesion


def wrong_mask(lesion: Mask, spacing: tuple[float, ...], rng: np.random.Generator) -> Mask:
    """Return a mask that shares voxels with a lesion and is far from right.

    A part is what lies on one side of a plane, a core what lies round a voxel of the lesion; what is more
    than the lesion has a ball round one of its voxels.

    Args:
        lesion: (k, j, i), not empty.
        spacing: (z, y, x) millimetres.
        rng: source of chance.

    Returns:
        The mask, not empty.
    """
    kind = rng.random()
    if kind < _PART:
        direction = rng.standard_normal(3)
        return _nearest(lesion, np.argwhere(lesion) * np.asarray(spacing) @ direction, rng)
    middle = random_voxel(lesion, rng)
    if kind < _PART + _CORE:
        return _nearest(lesion, _squared_distance(np.argwhere(lesion), middle, spacing), rng)
    radius = rng.uniform(*_EXCESS_RADIUS) * np.cbrt(
        0.75 / np.pi * np.count_nonzero(lesion) * np.prod(spacing)
    )
    reach = np.ceil(radius / np.asarray(spacing)).astype(int)
    box = tuple(slice(max(m - r, 0), m + r + 1) for m, r in zip(middle, reach, strict=True))
    more = lesion.copy()
    cells = np.moveaxis(np.indices(more[box].shape), 0, -1) + [axis.start for axis in box]
    more[box] |= _squared_distance(cells, middle, spacing) <= radius**2
    return more


def _nearest(lesion: Mask, order: NDArray[np.floating], rng: np.random.Generator) -> Mask:
    """Return the first voxels of a lesion in an order, as many as a part of it has."""
    part = np.zeros_like(lesion)
    part[lesion] = order <= np.quantile(order, rng.uniform(*_KEPT))
    return part


def _squared_distance(
    voxels: NDArray[np.intp], middle: NDArray[np.intp], spacing: tuple[float, ...]
) -> NDArray[np.floating]:
    return np.asarray((((voxels - middle) * np.asarray(spacing)) ** 2).sum(axis=-1))
