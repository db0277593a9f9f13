"""The log of a run: a table that can be read while it runs, and TensorBoard where that is installed."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

FILE = "log.csv"


class TrainingLog:
    """Appends rows of figures to a CSV file and to TensorBoard's event files.

    Args:
        folder: of the run; the table is :data:`FILE` in it, the event files are in ``tensorboard``.
        step: how far the run is; later rows, from before a kill, are dropped, for they come again.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self._path = folder / FILE
        self._drop_after(step)
        self._board = _summary_writer(folder / "tensorboard", step)

    def write(self, row: dict[str, float]) -> None:
        """Append one row; ``step`` says where in the run it belongs."""
        is_new = not self._path.exists()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if is_new:
                writer.writeheader()
            writer.writerow(row)
        if self._board is not None:
            for name, value in row.items():
                if name != "step":
                    self._board.add_scalar(name, value, int(row["step"]))
            self._board.flush()

    def close(self) -> None:
        """Finish the event file."""
        if self._board is not None:
            self._board.close()

    def _drop_after(self, step: int) -> None:
        if not self._path.exists():
            return
        with self._path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            names, rows = list(reader.fieldnames or ()), list(reader)
        kept = [row for row in rows if int(row["step"]) <= step]
        if len(kept) < len(rows):
            with self._path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, names)
                writer.writeheader()
                writer.writerows(kept)


def _summary_writer(folder: Path, step: int) -> Any:
    """Return TensorBoard's writer, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    # What an interrupted run wrote beyond its checkpoint is hidden by the writer.
    return SummaryWriter(str(folder), purge_step=step + 1)
