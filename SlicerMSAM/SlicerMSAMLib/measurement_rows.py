"""Measurements as the table shows them, as text for the clipboard, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from MSAMLogic.files import atomic_path
from MSAMLogic.measurements import LesionMeasurements, Plane

HEADINGS = ("Lesion", "ml", "Long, mm", "Short, mm", "Mean", "SD")
EXPLANATIONS = (
    "Name of the segment",
    "Volume in millilitres",
    "Longest diameter within one slice, in millimetres",
    "Longest diameter across it in the same slice, in millimetres",
    "Mean of the volume's values in the lesion",
    "Standard deviation of the volume's values in the lesion",
)
_CSV_HEADINGS = ("lesion", "plane", "volume_ml", "long_axis_mm", "short_axis_mm", "mean", "sd", "voxels")


class NamedMeasurements(NamedTuple):
    """A segment's name and what was measured of it; None while it is not measured or empty."""

    name: str
    values: LesionMeasurements | None


def shown_row(row: NamedMeasurements, plane: Plane) -> tuple[str, ...]:
    """Return a table row for a plane: one text for each of :data:`HEADINGS`."""
    values = row.values
    if values is None:
        return (row.name, *("–",) * (len(HEADINGS) - 1))
    diameters = values.diameters[plane]
    volume = f"{values.volume_ml:.2f}" if values.volume_ml < 10 else f"{values.volume_ml:.1f}"
    return (
        row.name,
        volume,
        f"{diameters.long_mm:.1f}",
        f"{diameters.short_mm:.1f}",
        f"{values.mean:.1f}",
        f"{values.standard_deviation:.1f}",
    )


def clipboard_text(rows: Iterable[NamedMeasurements], plane: Plane) -> str:
    """Return tab-separated text that a spreadsheet takes, with headings."""
    lines = [HEADINGS, *(shown_row(row, plane) for row in rows)]
    return "\n".join("\t".join(line) for line in lines)


def csv_text(rows: Iterable[NamedMeasurements]) -> str:
    """Return the measurements in all three planes, one line for each lesion and plane."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_CSV_HEADINGS)
    for name, values in rows:
        if values is None:
            continue
        for plane, diameters in values.diameters.items():
            writer.writerow(
                [
                    name,
                    plane,
                    f"{values.volume_ml:.4f}",
                    f"{diameters.long_mm:.2f}",
                    f"{diameters.short_mm:.2f}",
                    f"{values.mean:.3f}",
                    f"{values.standard_deviation:.3f}",
                    values.voxel_count,
                ]
            )
    return stream.getvalue()


def write_csv(path: Path, rows: Iterable[NamedMeasurements]) -> None:
    """Write :func:`csv_text` to a file, atomically.

    Raises:
        OSError: when the file cannot be written.
    """
    with atomic_path(path) as partial:
        partial.write_text(csv_text(rows), encoding="utf-8")
