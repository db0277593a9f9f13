"""Records on disk: what a network met, to learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.errors import TrainingError
from MSAMLogic.files import atomic_path


def write_records(path: Path, records: list[NDArray[np.void]], kind: np.dtype[np.void]) -> None:
    """Write records of a kind; there may be none.

    Raises:
        OSError: when the folder cannot be written.
    """
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.save(file, np.array(records, kind))


def map_records(path: Path, kind: np.dtype[np.void]) -> NDArray[np.void]:
    """Return the records of a file, read from disk as they are used.

    Raises:
        TrainingError: when the file is damaged or of another kind or version.
    """
    try:
        records: NDArray[np.void] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        # A memory map cannot be empty, a list of records can.
        try:
            records = np.load(path)
        except (OSError, ValueError, EOFError) as error:
            raise TrainingError(f"{path} is damaged ({error}); remove it and it is made again.") from error
    if records.dtype != kind:
        raise TrainingError(f"{path} is of another version; remove its folder and it is made again.")
    return records
