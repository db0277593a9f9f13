"""Values on one cube brought to another cube, which lies the same way in most cases."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.aligned_sampling import sampled
from MSAMLogic.geometry import PatchGrid, extract_patch


def brought_to(
    target: PatchGrid, values: NDArray[np.floating], grid: PatchGrid, outside: float
) -> NDArray[np.float32]:
    """Return values, interpolated linearly, on the cells of another cube.

    As :func:`extract_patch` does, and without making an image of them where both cubes have the same axes, as
    all in one session have: a first click brings up to ten answers to a cube.

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
    positions = first[:, None] + target.spacing / grid.spacing * np.arange(target.size)
    return sampled(values, list(positions), outside)
