"""Several lesions of a scan, clicked one after the other in one session.

Readers mark metastases and plaques as they go through a scan. Each click is the first one of its lesion, and
what it draws should be what it would draw alone; what was drawn before should stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MSAMLogic.errors import ImageError
from MSAMLogic.evaluation.metrics import dice
from MSAMLogic.evaluation.protocol import MOST_LESIONS, SMALLEST_MM3, Session, lesions, next_click
from MSAMLogic.training.cases import Case


@dataclass(frozen=True)
class TogetherResult:
    """The lesions of a case after one click each.

    Attributes:
        method: what was clicked into.
        source: collection of the case.
        lesions: how many were clicked, two or more.
        together: Dice of the mask of one session with all of them.
        alone: Dice of what as many sessions drew, one for each lesion, put together.
    """

    method: str
    source: str
    lesions: int
    together: float
    alone: float


def click_together(
    session: Session, image: sitk.Image, truths: Sequence[sitk.Image]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Click lesions once each, at their deepest points, and return two masks (k, j, i) of all of them.

    Args:
        session: what answers; it is given the image anew.
        image: the scan.
        truths: the lesions on its grid, in the order of the clicks.

    Returns:
        What one session draws, and what sessions of their own draw.
    """
    shape = tuple(reversed(image.GetSize()))
    points = [click.point for truth in truths if (click := next_click(truth, truth * 0)) is not None]
    alone = np.zeros(shape, bool)
    for point in points:
        session.set_image(image)
        session.click(point, positive=True)
        alone |= _array(session.mask)
    session.set_image(image)
    for point in points:
        session.click(point, positive=True)
    return _array(session.mask), alone


def compare_together(
    sessions: Mapping[str, Session],
    cases: Iterable[Case],
    smallest: float = SMALLEST_MM3,
    most: int = MOST_LESIONS,
    on_result: Callable[[TogetherResult], object] | None = None,
) -> list[TogetherResult]:
    """Click the lesions of every case that has several, with each method.

    Args:
        sessions: the methods to measure and their names.
        cases: cases with masks.
        smallest: mm³; smaller lesions are left out.
        most: lesions of a case at most, the largest.
        on_result: called after each case and method, for a progress bar.

    Raises:
        ImageError: when no case has two lesions.
    """
    results = []
    for case in cases:
        image, mask = sitk.ReadImage(str(case.image_path)), sitk.ReadImage(str(case.mask_path))
        truths = lesions(mask, smallest, most)
        if len(truths) < 2:
            continue
        truth = np.any([_array(lesion) for lesion in truths], axis=0)
        for method, session in sessions.items():
            together, alone = click_together(session, image, truths)
            result = TogetherResult(
                method, case.source, len(truths), dice(truth, together), dice(truth, alone)
            )
            results.append(result)
            if on_result is not None:
                on_result(result)
    if not results:
        raise ImageError("No case has two lesions that are large enough; allow smaller ones, or other cases.")
    return results


def together_table(results: Sequence[TogetherResult]) -> str:
    """Return the means of each source and method as a Markdown table."""
    lines = [
        "| method | source | cases | lesions | Dice in one session | Dice, a session for each lesion |",
        "|---|---|---|---|---|---|",
    ]
    for source in sorted({result.source for result in results}):
        of_source = [result for result in results if result.source == source]
        for method in dict.fromkeys(result.method for result in of_source):
            chosen = [result for result in of_source if result.method == method]
            clicked = sum(result.lesions for result in chosen)
            together = np.mean([result.together for result in chosen])
            alone = np.mean([result.alone for result in chosen])
            lines.append(
                f"| {method} | {source} | {len(chosen)} | {clicked} | {together:.2f} | {alone:.2f} |"
            )
    return "\n".join(lines)


def _array(mask: sitk.Image) -> NDArray[Any]:
    return np.asarray(sitk.GetArrayFromImage(mask) != 0)
