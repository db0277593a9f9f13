"""The click protocol over a data set: a table of means per source and over sources.

Several methods are measured in one run, lesion by lesion. The same rule clicks for each: the first click
is the same point for all, every later one answers the method's own mistakes, as a reader's would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from MSAMLogic.errors import ImageError
from MSAMLogic.evaluation.implanted import implanted_lesions
from MSAMLogic.evaluation.protocol import (
    MOST_LESIONS,
    SMALLEST_MM3,
    ClickSeries,
    Session,
    lesions,
    run_clicks,
)
from MSAMLogic.evaluation.seen_otherwise import seen_otherwise
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
        method: what was clicked into; empty where only one thing was.
        lesion: its rank by size in the case, from 1.
        volume_mm3: its size in cubic millimetres.
    """

    source: str
    case: str
    series: ClickSeries
    method: str = ""
    lesion: int = 1
    volume_mm3: float = 0.0

    @property
    def clicks_needed(self) -> int:
        """Clicks until Dice 0.80; the most clicks where it never gets there."""
        reached = (n for n, score in enumerate(self.series.scores, start=1) if score.dice >= _GOOD_DICE)
        return next(reached, CLICK_COUNTS[-1])

    @property
    def further_seconds(self) -> float:
        """Median seconds of a click after the first; 0 where there was none."""
        further = [score.seconds for score in self.series.scores[1:]]
        return float(np.median(further)) if further else 0.0


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
    return compare({"": session}, cases, clicks, on_result)


def compare(
    sessions: Mapping[str, Session],
    cases: Iterable[Case],
    clicks: int = 10,
    on_result: Callable[[LesionResult], object] | None = None,
    varied: int = 0,
    implanted: int = 0,
    smallest: float = SMALLEST_MM3,
    most: int = MOST_LESIONS,
) -> list[LesionResult]:
    """Click every lesion of every case with each method as the protocol says.

    Args:
        sessions: the methods to measure and their names.
        cases: cases with masks.
        clicks: clicks a lesion and method.
        on_result: called after each lesion and method, for a progress bar.
        varied: in how many variations each lesion's scan is seen, instead of as it is; see
            :func:`MSAMLogic.evaluation.seen_otherwise.seen_otherwise`.
        implanted: how many implanted lesions of each case are clicked, instead of its own; see
            :func:`MSAMLogic.evaluation.implanted.implanted_lesions`.
        smallest: mm³; smaller lesions of a case are left out.
        most: lesions of a case at most, the largest.

    Raises:
        ImageError: when an image or mask cannot be used.
        TrainingError: when lesions are to be implanted in a case that cannot be read or has none of its own.
    """
    results = []
    for case in cases:
        for number, name, scan, truth in _shown(case, varied, implanted, smallest, most):
            volume = float(sitk.GetArrayViewFromImage(truth).sum() * np.prod(truth.GetSpacing()))
            for method, session in sessions.items():
                series = run_clicks(session, scan, truth, clicks)
                result = LesionResult(case.source, name, series, method, number, volume)
                results.append(result)
                if on_result is not None:
                    on_result(result)
    return results


def _shown(
    case: Case, varied: int, implanted: int, smallest: float, most: int
) -> Iterator[tuple[int, str, sitk.Image, sitk.Image]]:
    """Yield what is clicked of a case: the lesion's number, a name, the scan and the lesion on its grid."""
    if implanted:
        for number, (name, scan, truth) in enumerate(implanted_lesions(case, implanted), start=1):
            yield number, name, scan, truth
        return
    image, mask = sitk.ReadImage(str(case.image_path)), sitk.ReadImage(str(case.mask_path))
    for number, lesion in enumerate(lesions(mask, smallest, most), start=1):
        if not varied:
            yield number, case.name, image, lesion
            continue
        for name, scan, truth in seen_otherwise(case, image, lesion, number, varied):
            yield number, name, scan, truth


def summarise(results: Sequence[LesionResult]) -> list[SourceSummary]:
    """Return a summary of each source and, last, the mean of the sources' means.

    Raises:
        ImageError: when there are no results.
    """
    if not results:
        raise ImageError("There was no lesion large enough to click; check the data folder.")
    sources = sorted({result.source for result in results})
    rows = [_summary(source, [r for r in results if r.source == source]) for source in sources]
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
    """Return the summaries of one method as a Markdown table."""
    return "\n".join([*_head(""), *(f"| {_cells(row)} |" for row in rows)])


def comparison_table(results: Sequence[LesionResult]) -> str:
    """Return a Markdown table of several methods, a row for each method and source.

    The rows of a source stand together, so that a column can be read down; the means over sources come
    last.

    Raises:
        ImageError: when there are no results.
    """
    methods = list(dict.fromkeys(result.method for result in results))
    rows = {method: summarise([r for r in results if r.method == method]) for method in methods}
    if not rows:
        summarise([])  # says what is wrong
    lines = [
        f"| {method} | {_cells(row)} |"
        for of_one_source in zip(*rows.values(), strict=True)
        for method, row in zip(methods, of_one_source, strict=True)
    ]
    return "\n".join([*_head("method"), *lines])


def _head(first: str) -> list[str]:
    counts = " / ".join(map(str, CLICK_COUNTS))
    names = [
        *([first] if first else []),
        "source",
        "lesions",
        f"Dice after {counts} clicks",
        f"surface Dice (2 mm) after {counts}",
        "clicks to 0.80",
        "first click, s",
        "further click, s",
    ]
    return [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]


def _cells(row: SourceSummary) -> str:
    dice, surface = (" / ".join(f"{v:.2f}" for v in values) for values in (row.dice, row.surface_dice))
    return (
        f"{row.source} | {row.lesions} | {dice} | {surface} | {row.clicks_needed:.1f} "
        f"| {row.first_seconds:.2f} | {row.further_seconds:.2f}"
    )


def _summary(source: str, results: Sequence[LesionResult]) -> SourceSummary:
    series = [result.series for result in results]
    further = [score.seconds for one in series for score in one.scores[1:]]
    return SourceSummary(
        source,
        len(series),
        _means([[one.after(n).dice for n in CLICK_COUNTS] for one in series]),
        _means([[one.after(n).surface_dice for n in CLICK_COUNTS] for one in series]),
        float(np.mean([result.clicks_needed for result in results])),
        float(np.median([one.scores[0].seconds for one in series])),
        float(np.median(further)) if further else 0.0,
    )


def _means(values: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(float(v) for v in np.mean(values, axis=0))
