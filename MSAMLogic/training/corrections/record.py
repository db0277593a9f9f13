"""What is kept of a correcting click, as it lies on disk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.correcting.correction import CUBE_SIZE, Correction

MOST_CLICKS = 12
_CUBE = (CUBE_SIZE,) * 3
# Shares as bytes, 255 is 1; scanner values in float32, for they may be anything.
RECORD = np.dtype(
    [
        ("image", np.float32, _CUBE),
        ("before", np.uint8, _CUBE),
        ("answer", np.float16, _CUBE),
        ("truth", np.uint8, _CUBE),
        ("coords", np.float32, (MOST_CLICKS, 3)),
        ("labels", np.int8, (MOST_CLICKS,)),
        ("depth", np.float32),
        ("voxel", np.float32, (3,)),
    ]
)


def as_record(correction: Correction, truth: NDArray[np.float32]) -> NDArray[np.void]:
    """Return a correction and the share (n, n, n) of each cell that is lesion as one record.

    Of more clicks than a record holds the newest are kept; where there are fewer, labels are -1 in front.
    """
    record = np.zeros((), RECORD)
    count = min(len(correction.labels), MOST_CLICKS)
    record["image"] = correction.image
    record["before"] = np.rint(255 * correction.before)
    record["answer"] = correction.answer
    record["truth"] = np.rint(255 * truth)
    record["labels"] = -1
    record["labels"][-count:] = correction.labels[-count:]
    record["coords"][-count:] = correction.coords[-count:]
    record["depth"] = correction.depth
    record["voxel"] = correction.voxel
    return record
