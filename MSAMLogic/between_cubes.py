"""Values on one cube brought to another cube, which lies the same way in most cases."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.geometry import PatchGrid, extract_patch


def brought_to(
    target: PatchGrid, values: NDArray[np.floating], grid: PatchGrid, outside: float
) -> NDArray[np.float32]:
    """Return values, interpolated linearly, on the cells of another cube.

    Between cubes with the same axes interpolation works along one axis after the other, which is quicker
    than :func:`extract_patch`. That does all other cubes; they agree to rounding.

    Args:
        target: where the values are wanted, n cells a side.
        values: (m, m, m) on ``grid``, finite.
        grid: where they are known, m cells a side.
        outside: value of cells whose centre lies beyond ``grid``.

    Returns:
        (n, n, n), axes those of ``target``.
    """
    if grid.axes != target.axes:
        return extract_patch(grid.image(np.asarray(values, np.float32)), target, outside)
    first = grid.voxels(np.asarray(target.origin))
    cells = first[:, None] + target.spacing / grid.spacing * np.arange(target.size)
    found = np.asarray(values, np.float32)
    for axis in range(3):
        found = _interpolated(found, cells[axis], axis)
    # A cell that is half a cell beyond the last centre is still within.
    within = (cells >= -0.5) & (cells < grid.size - 0.5)
    for axis in range(3):
        np.moveaxis(found, axis, 0)[~within[axis]] = outside
    return np.ascontiguousarray(found)


def _interpolated(values: NDArray[np.float32], cells: NDArray[np.float64], axis: int) -> NDArray[np.float32]:
    """Return values at n fractional cells along an axis, clamped at both ends.

    Not as a product of matrices: NumPy's threads would go on waiting for more, in the network's way.
    """
    at = np.clip(cells, 0, values.shape[axis] - 1)
    lower = np.minimum(at.astype(np.intp), max(values.shape[axis] - 2, 0))
    upper = np.minimum(lower + 1, values.shape[axis] - 1)
    share = np.expand_dims((at - lower).astype(np.float32), tuple(a for a in range(3) if a != axis))
    below: NDArray[np.float32] = values.take(lower, axis)
    above: NDArray[np.float32] = values.take(upper, axis)
    above -= below
    above *= share
    above += below
    return above
