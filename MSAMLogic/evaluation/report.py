"""The click protocol over a data set: a table of means per source and over sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from MSAMLogic.errors import ImageError
from MSAMLogic.evaluation.protocol import ClickSeries, Session, lesions, run_clicks
from MSAMLogic.training.cases import Case

CLICK_COUNTS = (1, 3, 5, 10)
_GOOD_DICE = 0.80


@dataclass(frozen=True)
class LesionResult:
    """The click series of one lesion.

    Attributes:
        source: collection of the case.
        case: name of the case.
        series: scores after each click.
    """

    source: str
    case: str
    series: ClickSeries


@dataclass(frozen=True)
class SourceSummary:
    """Means over the lesions of one source, or over sources.

    Attributes:
        source: its name.
        lesions: how many lesions were clicked.
        dice: mean Dice after each of :data:`CLICK_COUNTS`.
        surface_dice: mean surface Dice at 2 mm after each of :data:`CLICK_COUNTS`.
        clicks_needed: mean clicks until Dice 0.80; a lesion that never gets there counts as the most clicks.
        first_seconds: median seconds of a first click.
        further_seconds: median seconds of a further click.
    """

    source: str
    lesions: int
    dice: tuple[float, ...]
    surface_dice: tuple[float, ...]
    clicks_needed: float
    first_seconds: float
    further_seconds: float


def evaluate(
    session: Session,
    cases: Iterable[Case],
    clicks: int = 10,
    on_result: Callable[[LesionResult], object] | None = None,
) -> list[LesionResult]:
    """Click every lesion of every case as the protocol says.

    Args:
        session: the session to measure.
        cases: cases with masks.
        clicks: clicks a lesion.
        on_result: called after each lesion, for a progress bar.
    """
    results = []
    for case in cases:
        image, mask = sitk.ReadImage(str(case.image_path)), sitk.ReadImage(str(case.mask_path))
        for lesion in lesions(mask):
            result = LesionResult(case.source, case.name, run_clicks(session, image, lesion, clicks))
            results.append(result)
            if on_result is not None:
                on_result(result)
    return results


def summarise(results: Sequence[LesionResult]) -> list[SourceSummary]:
    """Return a summary of each source and, last, the mean of the sources' means.

    Raises:
        ImageError: when there are no results.
    """
    if not results:
        raise ImageError("There was no lesion of at least 200 mm³ to click; check the data folder.")
    sources = sorted({result.source for result in results})
    rows = [_summary(source, [r.series for r in results if r.source == source]) for source in sources]
    macro = SourceSummary(
        "all sources",
        len(results),
        _means([row.dice for row in rows]),
        _means([row.surface_dice for row in rows]),
        float(np.mean([row.clicks_needed for row in rows])),
        float(np.mean([row.first_seconds for row in rows])),
        float(np.mean([row.further_seconds for row in rows])),
    )
    return [*rows, macro]


def table(rows: Sequence[SourceSummary]) -> str:
    """Return the summaries as a Markdown table."""
    counts = " / ".join(map(str, CLICK_COUNTS))
    lines = [
        f"| source | lesions | Dice after {counts} clicks | surface Dice (2 mm) after {counts} "
        "| clicks to 0.80 | first click, s | further click, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        dice, surface = (" / ".join(f"{v:.2f}" for v in values) for values in (row.dice, row.surface_dice))
        lines.append(
            f"| {row.source} | {row.lesions} | {dice} | {surface} | {row.clicks_needed:.1f} "
            f"| {row.first_seconds:.2f} | {row.further_seconds:.2f} |"
        )
    return "\n".join(lines)


def _summary(source: str, series: Sequence[ClickSeries]) -> SourceSummary:
    needed = [
        next((n for n, score in enumerate(one.scores, start=1) if score.dice >= _GOOD_DICE), CLICK_COUNTS[-1])
        for one in series
    ]
    further = [score.seconds for one in series for score in one.scores[1:]]
    return SourceSummary(
        source,
        len(series),
        _means([[one.after(n).dice for n in CLICK_COUNTS] for one in series]),
        _means([[one.after(n).surface_dice for n in CLICK_COUNTS] for one in series]),
        float(np.mean(needed)),
        float(np.median([one.scores[0].seconds for one in series])),
        float(np.median(further)) if further else 0.0,
    )


def _means(values: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(float(v) for v in np.mean(values, axis=0))
