"""Linear interpolation on a grid whose axes are those of the array: one axis after the other.

What SimpleITK's resampling gives, to rounding, in a fraction of the time: it weighs eight voxels for every
sample, wherever the samples lie. Here each axis has its own few weights, and most of the array is never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_CACHED_VALUES = 2**18  # float32, between one axis and the next


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
    found = _weighted_sums(values, *axes)
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


def _weighted_sums(
    values: NDArray[Any], first: _AxisWeights, second: _AxisWeights, third: _AxisWeights
) -> NDArray[np.float32]:
    """Return the weighted sums along all axes.

    Some results of the first axis after the other, so that what lies between stays in the processor's cache
    and takes no memory. Not as products of matrices: NumPy's threads would go on waiting for more of them, in
    the network's way.
    """
    rows, columns = (slice(axis.cells.min(), axis.cells.max() + 1) for axis in (second, third))
    values = values[:, rows, columns]
    second, third = (
        axis._replace(cells=axis.cells - read.start) for axis, read in ((second, rows), (third, columns))
    )
    found = np.empty(tuple(len(axis.cells) for axis in (first, second, third)), np.float32)
    at_once = max(1, _CACHED_VALUES // values[0].size)
    for start in range(0, len(found), at_once):
        some = slice(start, start + at_once)
        by_plane = _along(values, 0, first._replace(cells=first.cells[some], weights=first.weights[some]))
        found[some] = _along(_along(by_plane, 1, second), 2, third)
    return found


def _along(values: NDArray[Any], axis: int, weights: _AxisWeights) -> NDArray[np.float32]:
    """Return the weighted sums along one axis."""
    shape = [1, 1, 1]
    shape[axis] = len(weights.cells)

    def weighted(cells: NDArray[np.intp], weight: NDArray[np.float32]) -> NDArray[np.float32]:
        # Planes by an index: taking would first copy all of an array that is a box of a larger one.
        part = values[cells] if axis == 0 else values.take(cells, axis)
        part = part.astype(np.float32, copy=False)
        part *= weight.reshape(shape)
        return part

    samples = zip(weights.cells.T, weights.weights.T, strict=True)
    total = weighted(*next(samples))
    for cells, weight in samples:
        total += weighted(cells, weight)
    return total
