"""The voxels of cases on disk as memory maps: int16 values, and labels in as few bits as hold them.

Compressed files are decoded once and not at every start; the operating system keeps in memory what is used,
once for all processes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.geometry import ImageGrid
from MSAMLogic.training.cases import Case

_FORMAT = 1  # of what is stored; another number is stored anew


def stored_folder(store: Path, case: Case) -> Path:
    """Return where a case is kept; another place once one of its files has changed.

    Args:
        store: the folder of all cases.
        case: which one.
    """
    signs: list[object] = [_FORMAT]
    for path in (case.image_path, case.mask_path):
        # A missing file has no signs; reading the case will say so.
        signs += [
            str(path.absolute()),
            *([path.stat().st_size, path.stat().st_mtime_ns] if path.exists() else []),
        ]
    name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in case.name)
    return store / f"{name}-{zlib.crc32(repr(signs).encode()):08x}"


def store_arrays(
    folder: Path, grid: ImageGrid, values: NDArray[np.int16], labels: NDArray[np.integer]
) -> None:
    """Write the voxels of a case; the folder appears when all is written.

    Args:
        folder: from :func:`stored_folder`.
        grid: where they lie.
        values: (k, j, i).
        labels: (k, j, i), not negative.

    Raises:
        OSError: when the folder cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-") as temporary:
        partial = Path(temporary) / "case"
        partial.mkdir()
        np.save(partial / "values.npy", values)
        np.save(partial / "labels.npy", labels.astype(np.min_scalar_type(int(labels.max(initial=0)))))
        (partial / "grid.json").write_text(json.dumps(asdict(grid)), encoding="utf-8")
        try:
            shutil.rmtree(folder, ignore_errors=True)  # a damaged one; what others have mapped stays theirs
            partial.rename(folder)
        except OSError:
            if load_arrays(folder) is None:  # or else another process has just stored the same
                raise


def load_arrays(folder: Path) -> tuple[ImageGrid, NDArray[np.int16], NDArray[np.integer]] | None:
    """Return grid, values and labels of a case as memory maps, read only; None when not kept whole."""
    try:
        described = json.loads((folder / "grid.json").read_text(encoding="utf-8"))
        values = np.load(folder / "values.npy", mmap_mode="r")
        labels = np.load(folder / "labels.npy", mmap_mode="r")
    except (OSError, ValueError):
        return None
    grid = ImageGrid(*(tuple(described[name]) for name in ("size", "origin", "spacing", "direction")))
    return grid, values, labels
