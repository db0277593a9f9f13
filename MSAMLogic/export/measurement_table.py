"""Measurements as a table: one row a lesion, comma-separated, UTF-8."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from MSAMLogic.files import atomic_path
from MSAMLogic.measurements import LesionMeasurements, Plane

_PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")


def write_measurement_table(
    path: Path, names: Sequence[str], measurements: Sequence[LesionMeasurements]
) -> None:
    """Write measurements as CSV (RFC 4180), atomically.

    Units are in the names of the columns; slices count from 0 along the image's axis across the plane.

    Args:
        path: the file.
        names: of the lesions.
        measurements: one for each.

    Raises:
        OSError: when the file cannot be written.
    """
    rows = []
    for name, measured in zip(names, measurements, strict=True):
        row: dict[str, object] = {
            "segment": name,
            "volume_ml": f"{measured.volume_ml:.6g}",
            "voxel_count": measured.voxel_count,
            "mean": f"{measured.mean:.6g}",
            "standard_deviation": f"{measured.standard_deviation:.6g}",
            "minimum": f"{measured.minimum:.6g}",
            "maximum": f"{measured.maximum:.6g}",
        }
        for plane in _PLANES:
            diameters = measured.diameters[plane]
            row |= {
                f"{plane}_long_mm": f"{diameters.long_mm:.2f}",
                f"{plane}_short_mm": f"{diameters.short_mm:.2f}",
                f"{plane}_slice": diameters.slice_index,
            }
        rows.append(row)
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["segment"])
        writer.writeheader()
        writer.writerows(rows)
