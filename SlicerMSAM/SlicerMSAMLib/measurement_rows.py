"""Measurements as the panel's table shows them, and as text for the clipboard."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

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
