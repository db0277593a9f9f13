"""The evaluation report: which lesions are clicked, what is averaged over what."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK as sitk
from images import balls
from predictors import ThresholdPredictor

from MSAMLogic.errors import ImageError
from MSAMLogic.evaluation.protocol import Click, ClickScore, ClickSeries
from MSAMLogic.evaluation.report import LesionResult, evaluate, summarise, table
from MSAMLogic.session import InteractiveSession
from MSAMLogic.training.cases import Case


def result(source: str, *dices: float) -> LesionResult:
    click = Click((0.0, 0.0, 0.0), True)
    scores = tuple(ClickScore(click, d, d, d / 2, 0.5 if n == 0 else 0.1) for n, d in enumerate(dices))
    return LesionResult(source, "case", ClickSeries(scores))


def test_sources_count_alike_however_many_lesions_they_have() -> None:
    rows = summarise([result("many", 0.2), result("many", 0.4), result("few", 0.9)])
    assert [row.source for row in rows] == ["few", "many", "all sources"]
    assert rows[1].dice == pytest.approx((0.3,) * 4)
    assert rows[2].dice == pytest.approx((0.6,) * 4)
    assert rows[2].surface_dice == pytest.approx((0.3,) * 4)


def test_clicks_needed_are_capped() -> None:
    early, never = summarise([result("early", 0.5, 0.85, 0.7)])[0], summarise([result("never", 0.5)])[0]
    assert (early.clicks_needed, never.clicks_needed) == (2.0, 10.0)


def test_first_and_further_clicks_are_timed_apart() -> None:
    row = summarise([result("source", 0.5, 0.6, 0.7)])[0]
    assert (row.first_seconds, row.further_seconds) == (0.5, 0.1)


def test_table_has_a_line_for_each_source() -> None:
    text = table(summarise([result("sts", 0.5, 0.6, 0.7)]))
    assert "| sts | 1 | 0.50 / 0.70 / 0.70 / 0.70 |" in text
    assert text.splitlines()[-1].startswith("| all sources | 1 |")


def test_nothing_to_click_is_said() -> None:
    with pytest.raises(ImageError, match="no lesion"):
        summarise([])


def test_every_large_lesion_of_a_case_is_clicked(tmp_path: Path) -> None:
    image = balls(centres=[(30.0, 0.0, 50.0), (55.0, 25.0, 75.0)], radius=7)
    sitk.WriteImage(image, str(tmp_path / "image.nrrd"))
    sitk.WriteImage(image > 50, str(tmp_path / "mask.nrrd"))
    case = Case("case", "source", "patient", "MR", tmp_path / "image.nrrd", tmp_path / "mask.nrrd")
    results = evaluate(InteractiveSession(ThresholdPredictor()), [case], clicks=1)
    assert len(results) == 2
    assert all(r.series.after(1).dice > 0.8 for r in results)
