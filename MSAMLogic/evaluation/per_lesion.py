"""The figures of every single lesion as a CSV file, for a closer look than a table of means allows."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from MSAMLogic.evaluation.report import CLICK_COUNTS, LesionResult
from MSAMLogic.files import atomic_path

_METRICS = ("dice", "iou", "surface_dice")


def write_csv(path: Path, results: Sequence[LesionResult]) -> None:
    """Write one line for each method and lesion.

    Columns: method, source, case, lesion (rank by size in the case), volume_mm3; Dice, IoU and surface
    Dice at 2 mm after each of :data:`CLICK_COUNTS`; clicks until Dice 0.80; seconds of the first click and
    the median of the further ones.

    Args:
        path: the file; its folder is made if need be, and it is whole or not there.
        results: what :func:`MSAMLogic.evaluation.report.compare` returned.

    Raises:
        OSError: when the file cannot be written.
    """
    columns = ["method", "source", "case", "lesion", "volume_mm3"]
    columns += [f"{metric}_{n}" for metric in _METRICS for n in CLICK_COUNTS]
    columns += ["clicks_needed", "first_seconds", "further_seconds"]
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for result in results:
            series = result.series
            scores = [getattr(series.after(n), metric) for metric in _METRICS for n in CLICK_COUNTS]
            writer.writerow(
                [result.method, result.source, result.case, result.lesion, f"{result.volume_mm3:.1f}"]
                + [f"{score:.4f}" for score in scores]
                + [result.clicks_needed, f"{series.scores[0].seconds:.3f}", f"{result.further_seconds:.3f}"]
            )
