"""Lesions clicked one after the other in one session, measured against what each click draws alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from images import balls
from predictors import ThresholdPredictor

from MSAMLogic.errors import ImageError
from MSAMLogic.evaluation.together import TogetherResult, click_together, compare_together, together_table
from MSAMLogic.geometry import Point
from MSAMLogic.session import InteractiveSession
from MSAMLogic.training.cases import Case

CENTRES = ((30.0, 0.0, 50.0), (55.0, 25.0, 75.0), (30.0, 25.0, 75.0))
RADII = (7.0, 5.0, 3.0)


def scan_and_lesions(count: int = 3) -> tuple[sitk.Image, list[sitk.Image]]:
    parts = [balls(centres=[c], radius=r) for c, r in zip(CENTRES[:count], RADII, strict=False)]
    scan = parts[0]
    for part in parts[1:]:
        scan = sitk.Maximum(scan, part)
    return scan, [part > 50 for part in parts]


def case_of(folder: Path, count: int = 3) -> Case:
    scan, truths = scan_and_lesions(count)
    folder.mkdir()
    sitk.WriteImage(scan, str(folder / "image.nrrd"))
    sitk.WriteImage(sum(truths[1:], truths[0]), str(folder / "mask.nrrd"))
    return Case(folder.name, "source", "patient", "MR", folder / "image.nrrd", folder / "mask.nrrd")


class Forgetful(InteractiveSession):
    """Draws only what the newest click is for."""

    def click(self, point: Point, positive: bool = True) -> sitk.Image:
        self.reset()
        return super().click(point, positive)


def test_a_session_that_keeps_what_it_drew_draws_what_single_sessions_draw() -> None:
    scan, truths = scan_and_lesions()
    together, alone = click_together(InteractiveSession(ThresholdPredictor()), scan, truths)
    assert (together == alone).all()
    truth = np.any([sitk.GetArrayFromImage(lesion) for lesion in truths], axis=0)
    assert 2 * (together & truth).sum() / (together.sum() + truth.sum()) > 0.8


def test_one_that_forgets_is_found_out(tmp_path: Path) -> None:
    sessions = {
        "keeps": InteractiveSession(ThresholdPredictor()),
        "forgets": Forgetful(ThresholdPredictor()),
    }
    seen: list[TogetherResult] = []
    keeps, forgets = compare_together(sessions, [case_of(tmp_path / "case")], 50.0, on_result=seen.append)
    assert seen == [keeps, forgets] and [keeps.lesions, forgets.lesions] == [3, 3]
    assert keeps.together == keeps.alone == forgets.alone > 0.8
    assert forgets.together < 0.3


def test_only_cases_with_several_lesions_of_the_size_that_is_asked_for_count(tmp_path: Path) -> None:
    cases = [case_of(tmp_path / "one", 1), case_of(tmp_path / "three", 3)]
    sessions = {"model": InteractiveSession(ThresholdPredictor())}

    def clicked(smallest: float, most: int) -> list[int]:
        return [result.lesions for result in compare_together(sessions, cases, smallest, most)]

    assert clicked(50.0, 9) == [3]
    assert clicked(50.0, 2) == [2]
    assert clicked(200.0, 9) == [2]
    with pytest.raises(ImageError, match="two lesions"):
        clicked(1000.0, 9)


def test_the_table_has_a_row_for_each_source_and_method() -> None:
    results = [
        TogetherResult("model", "ms", 3, 0.5, 0.7),
        TogetherResult("model", "ms", 2, 0.7, 0.8),
        TogetherResult("other", "ms", 3, 0.1, 0.2),
        TogetherResult("model", "liver", 2, 0.9, 0.9),
    ]
    head, _, *lines = together_table(results).splitlines()
    assert head.count("|") == 7
    assert lines == [
        "| model | liver | 1 | 2 | 0.90 | 0.90 |",
        "| model | ms | 2 | 5 | 0.60 | 0.75 |",
        "| other | ms | 1 | 3 | 0.10 | 0.20 |",
    ]
