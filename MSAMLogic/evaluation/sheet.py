"""A sheet of pictures that shows where a method stands: best, median and worst lesion of each source.

A mean hides what fails. The sheet says which lesions to look at next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import SimpleITK as sitk

from MSAMLogic.errors import ImageError
from MSAMLogic.evaluation.pictures import BACKGROUND, TEXT, LesionViews, add_legend
from MSAMLogic.evaluation.protocol import ClickScore, Session, lesions, run_clicks
from MSAMLogic.evaluation.report import CLICK_COUNTS, LesionResult
from MSAMLogic.files import atomic_path
from MSAMLogic.session import Click
from MSAMLogic.training.cases import Case

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RANKED_AFTER = 5
_SHOWN_AFTER = (1, 5)
_SMALLEST_VIEW_MM = 30.0
_INCHES_A_VIEW = 2.1
_INCHES_A_TITLE = 0.42


def chosen_lesions(results: Sequence[LesionResult]) -> list[tuple[str, LesionResult]]:
    """Return the best, the median and the worst lesion of each source by Dice after five clicks.

    Args:
        results: those of one method. Of an even number the better one of the two in the middle is the
            median; a source of one or two lesions gives as many.

    Returns:
        What a lesion is ("best", "median" or "worst") and its result, source after source.
    """
    chosen: list[tuple[str, LesionResult]] = []
    for source in sorted({result.source for result in results}):
        ranked = sorted(
            (result for result in results if result.source == source),
            key=lambda result: -result.series.after(_RANKED_AFTER).dice,
        )
        places = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
        taken: set[int] = set()
        for name in ("best", "worst", "median"):  # of one or two lesions the ends matter more
            if places[name] in taken:
                del places[name]
            else:
                taken.add(places[name])
        chosen += [(name, ranked[place]) for name, place in places.items()]
    return chosen


def write_sheet(
    session: Session, cases: Sequence[Case], results: Sequence[LesionResult], path: Path, title: str = ""
) -> None:
    """Write a PNG of the chosen lesions, one in a row: three views after one click, three after five.

    Masks are not kept while a data set is measured; the chosen lesions are clicked once more, by the
    same rule.

    Args:
        session: the method that was measured.
        cases: the cases that ``results`` are about, with or without others.
        results: those of this one method.
        path: the PNG; its folder is made if need be.
        title: heading of the sheet.

    Raises:
        ImageError: when there are no results.
        OSError: when the file cannot be written.
    """
    chosen = chosen_lesions(results)
    if not chosen:
        raise ImageError("There was no lesion to draw; check the data folder.")
    by_name = {(case.source, case.name): case for case in cases}
    figure, tops = _figure(len(chosen), title)
    for top, (name, result) in zip(tops, chosen, strict=True):
        case = by_name[result.source, result.case]
        image, mask = sitk.ReadImage(str(case.image_path)), sitk.ReadImage(str(case.mask_path))
        lesion = lesions(mask)[result.lesion - 1]
        views = LesionViews(image, lesion, modality=case.modality, smallest_mm=_SMALLEST_VIEW_MM)
        answers = _answers(session, image, lesion)
        for part, clicks in enumerate(_SHOWN_AFTER):
            answer, made = answers[min(clicks, max(answers))]
            views.draw(_axes(figure, top, part), answer, made)
        _write_titles(figure, top, name, result)
    add_legend(figure)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=100, facecolor=BACKGROUND)


def _answers(
    session: Session, image: sitk.Image, lesion: sitk.Image
) -> Mapping[int, tuple[sitk.Image, tuple[Click, ...]]]:
    """Return mask and clicks so far, by the number of clicks; a perfect mask ends them early."""
    answers: dict[int, tuple[sitk.Image, tuple[Click, ...]]] = {}
    clicks: list[Click] = []

    def note(score: ClickScore, answer: sitk.Image) -> None:
        clicks.append(score.click)
        answers[len(clicks)] = (answer, tuple(clicks))

    run_clicks(session, image, lesion, max(_SHOWN_AFTER), note)
    return answers


def _figure(rows: int, title: str) -> tuple[Figure, list[float]]:
    """Return a figure and the height in inches of the upper edge of each row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    head = 0.5 if title else 0.15
    row = _INCHES_A_VIEW + _INCHES_A_TITLE
    height = head + rows * row + 0.45
    figure = Figure(figsize=(_left(5) + _INCHES_A_VIEW + 0.1, height), facecolor=BACKGROUND)
    FigureCanvasAgg(figure)  # as in pictures: neither a display nor pyplot
    if title:
        figure.text(0.01, 1 - 0.1 / height, title, color=TEXT, fontsize=15, weight="bold", va="top")
    return figure, [height - head - number * row for number in range(rows)]


def _left(column: int) -> float:
    """Return the left edge of a column in inches; a gap parts the views after one click and after five."""
    return 0.1 + column * (_INCHES_A_VIEW + 0.05) + (0.2 if column >= 3 else 0.0)


def _axes(figure: Figure, top: float, part: int) -> list[Axes]:
    width, height = figure.get_size_inches()
    low = (top - _INCHES_A_TITLE - _INCHES_A_VIEW) / height
    return [
        figure.add_axes((_left(3 * part + n) / width, low, _INCHES_A_VIEW / width, _INCHES_A_VIEW / height))
        for n in range(3)
    ]


def _write_titles(figure: Figure, top: float, name: str, result: LesionResult) -> None:
    width, height = figure.get_size_inches()
    counts = " / ".join(map(str, CLICK_COUNTS))
    dices = " / ".join(f"{result.series.after(n).dice:.2f}" for n in CLICK_COUNTS)
    which = f"{result.source}, {name}: {result.case}"
    if result.lesion > 1:
        which += f", lesion {result.lesion}"
    if result.volume_mm3:
        which += (
            f", {result.volume_mm3 / 1000:.2g} ml"
            if result.volume_mm3 < 1e4
            else f", {result.volume_mm3 / 1000:.0f} ml"
        )
    y = (top - 0.06) / height
    figure.text(_left(0) / width, y, which, color=TEXT, fontsize=11, weight="bold", va="top")
    text = f"Dice after {counts} clicks: {dices}"
    figure.text((_left(5) + _INCHES_A_VIEW) / width, y, text, color=TEXT, fontsize=11, va="top", ha="right")
    for part, clicks in enumerate(_SHOWN_AFTER):
        text = f"after {clicks} click{'' if clicks == 1 else 's'}"
        y = (top - 0.24) / height
        figure.text(_left(3 * part) / width, y, text, color="#b8b8b8", fontsize=9, va="top")
