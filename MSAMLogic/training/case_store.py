"""The voxels of cases on disk as memory maps: int16 values, and labels in as few bits as hold them.

Beside them lies what was measured of each lesion. Compressed files are decoded once and not at every start;
the operating system keeps in memory what is used, once for all processes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.geometry import ImageGrid
from MSAMLogic.training.cases import Case
from MSAMLogic.training.lesions import Lesion

_FORMAT = 3  # of what is stored; another number is stored anew


class StoredCase(NamedTuple):
    """What is kept of a case.

    Attributes:
        grid: where the voxels lie.
        values: (k, j, i) of the scan.
        labels: (k, j, i) of its components, not negative.
        lesions: all of the components.
    """

    grid: ImageGrid
    values: NDArray[np.int16]
    labels: NDArray[np.integer]
    lesions: list[Lesion]


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


def store_case(folder: Path, case: StoredCase) -> None:
    """Write what is kept of a case; the folder appears when all is written.

    Args:
        folder: from :func:`stored_folder`.
        case: voxels and lesions.

    Raises:
        OSError: when the folder cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-") as temporary:
        partial = Path(temporary) / "case"
        partial.mkdir()
        np.save(partial / "values.npy", case.values)
        fewest_bits = np.min_scalar_type(int(case.labels.max(initial=0)))
        np.save(partial / "labels.npy", case.labels.astype(fewest_bits))
        described = {"grid": asdict(case.grid), "lesions": [asdict(lesion) for lesion in case.lesions]}
        (partial / "case.json").write_text(json.dumps(described), encoding="utf-8")
        try:
            shutil.rmtree(folder, ignore_errors=True)  # a damaged one; what others have mapped stays theirs
            partial.rename(folder)
        except OSError:
            if load_case(folder) is None:  # or else another process has just stored the same
                raise


def load_case(folder: Path) -> StoredCase | None:
    """Return what is kept of a case, its voxels as memory maps, read only; None when not kept whole."""
    try:
        described = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        values = np.load(folder / "values.npy", mmap_mode="r")
        labels = np.load(folder / "labels.npy", mmap_mode="r")
        grid = ImageGrid(**_with_tuples(described["grid"]))
        lesions = [Lesion(**_with_tuples(lesion)) for lesion in described["lesions"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return StoredCase(grid, values, labels, lesions)


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields as they were before JSON made lists of their tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
