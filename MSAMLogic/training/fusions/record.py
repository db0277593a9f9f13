"""What is kept of the first looks at a lesion, as it lies on disk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.looking.first_looks import CUBE_SIZE, MOST_LOOKS, FirstLooks

_CUBE = (CUBE_SIZE,) * 3
# The truth as bytes, 255 is 1; scanner values in float32, for they may be anything.
RECORD = np.dtype(
    [
        ("image", np.float32, _CUBE),
        ("chosen", np.float16, _CUBE),
        ("answers", np.float16, (MOST_LOOKS, *_CUBE)),
        ("truth", np.uint8, _CUBE),
        ("click", np.float32, (3,)),
        ("voxel", np.float32, (3,)),
    ]
)


def as_record(known: FirstLooks, truth: NDArray[np.float32]) -> NDArray[np.void]:
    """Return first looks and the share (n, n, n) of each cell that is lesion as one record."""
    record = np.zeros((), RECORD)
    for name in ("image", "chosen", "answers", "click", "voxel"):
        record[name] = getattr(known, name)
    record["truth"] = np.rint(255 * truth)
    return record
