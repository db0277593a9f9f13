"""What is kept of a correcting click, as it lies on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.correction import CUBE_SIZE, Correction
from MSAMLogic.errors import TrainingError
from MSAMLogic.files import atomic_path

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
    return record


def write_records(path: Path, records: list[NDArray[np.void]]) -> None:
    """Write the records of a session; there may be none.

    Raises:
        OSError: when the folder cannot be written.
    """
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.save(file, np.array(records, RECORD))


def map_records(path: Path) -> NDArray[np.void]:
    """Return the records of a session, read from disk as they are used.

    Raises:
        TrainingError: when the file is damaged or of another version.
    """
    try:
        records: NDArray[np.void] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        # A memory map cannot be empty, a session can.
        try:
            records = np.load(path)
        except (OSError, ValueError, EOFError) as error:
            raise TrainingError(f"{path} is damaged ({error}); remove it and it is made again.") from error
    if records.dtype != RECORD:
        raise TrainingError(f"{path} is of another version; remove its folder and it is made again.")
    return records
