"""Linear interpolation on a grid whose axes are those of the array: one axis after the other.

What SimpleITK's resampling gives, to rounding, in a fraction of the time: it weighs eight voxels for every
sample, wherever the samples lie. Here each axis has its own few weights, and most of the array is never read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class _AxisWeights(NamedTuple):
    """What each of n results takes of an axis.

    Attributes:
        cells: (n, t) cells of the array.
        weights: (n, t) float32, what each counts; with samples beyond the array they add up to less than 1.
        within: (n,) float32 share of the samples that lie in the array.
    """

    cells: NDArray[np.intp]
    weights: NDArray[np.float32]
    within: NDArray[np.float32]


def sampled(
    values: NDArray[Any], positions: Sequence[NDArray[np.floating]], outside: float, averaged: int = 1
) -> NDArray[np.float32]:
    """Return values interpolated linearly at the points of a grid.

    Within the half cell beyond the outermost centres the nearest centre's value is taken, as ITK does.

    Args:
        values: (a, b, c) finite real numbers of any type; only the box round the samples is read.
        positions: along each axis the fractional cells of the grid's points.
        outside: value of samples that lie beyond the array.
        averaged: so many neighbouring samples of each axis are averaged; their number divides that of the
            positions.

    Returns:
        (n0, n1, n2), n being the number of positions divided by ``averaged``.
    """
    axes = [
        _axis_weights(np.asarray(along, np.float64), size, averaged)
        for along, size in zip(positions, values.shape, strict=True)
    ]
    rows, columns = (slice(axis.cells.min(), axis.cells.max() + 1) for axis in axes[1:])
    found = _along_first(values[:, rows, columns], axes[0])
    for axis, start in ((1, rows.start), (2, columns.start)):
        found = _along(found, axes[axis]._replace(cells=axes[axis].cells - start), axis)
    first, second, third = (axis.within for axis in axes)
    if min(first.min(), second.min(), third.min()) < 1:
        share = first[:, None, None] * second[:, None] * third
        beyond = share < 1
        found[beyond] += (outside * (1 - share[beyond])).astype(np.float32)
    return found


def _axis_weights(positions: NDArray[np.float64], size: int, averaged: int) -> _AxisWeights:
    within = (positions >= -0.5) & (positions < size - 0.5)
    at = np.clip(positions, 0, size - 1)
    lower = np.minimum(at.astype(np.intp), max(size - 2, 0))
    share = at - lower
    cells = np.stack((lower, np.minimum(lower + 1, size - 1)), axis=1)
    weights = np.stack((1 - share, share), axis=1) * within[:, None] / averaged
    return _AxisWeights(
        cells.reshape(-1, 2 * averaged),
        weights.reshape(-1, 2 * averaged).astype(np.float32),
        within.reshape(-1, averaged).mean(axis=1).astype(np.float32),
    )


def _along_first(values: NDArray[Any], axis: _AxisWeights) -> NDArray[np.float32]:
    """Return the weighted sums along the first axis, slab by slab: one slab stays in the processor's cache.

    Not as a product of matrices: NumPy's threads would go on waiting for more of them, in the network's way.
    """
    found = np.zeros((len(axis.cells), *values.shape[1:]), np.float32)
    part = np.empty(values.shape[1:], np.float32)
    for result, cells, weights in zip(found, axis.cells, axis.weights, strict=True):
        for cell, weight in zip(cells, weights, strict=True):
            if weight:
                np.multiply(values[cell], weight, out=part)
                result += part
    return found


def _along(values: NDArray[np.float32], axis: _AxisWeights, number: int) -> NDArray[np.float32]:
    """Return the weighted sums along axis ``number``."""
    shape = [1, 1, 1]
    shape[number] = len(axis.cells)
    parts: Iterator[NDArray[np.float32]] = (
        values.take(cells, number) * weights.reshape(shape)
        for cells, weights in zip(axis.cells.T, axis.weights.T, strict=True)
    )
    found = next(parts)
    for part in parts:
        found += part
    return found
