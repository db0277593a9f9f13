"""The evaluation report: which lesions are clicked, what is averaged over what."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import SimpleITK as sitk
from images import balls
from predictors import ThresholdPredictor

from MSAMLogic.errors import ImageError
from MSAMLogic.evaluation.baselines import ClassicalSession, RegionGrowing
from MSAMLogic.evaluation.per_lesion import write_csv
from MSAMLogic.evaluation.protocol import Click, ClickScore, ClickSeries
from MSAMLogic.evaluation.report import (
    LesionResult,
    compare,
    comparison_table,
    evaluate,
    summarise,
    table,
)
from MSAMLogic.session import InteractiveSession
from MSAMLogic.training.cases import Case


def result(source: str, *dices: float, method: str = "") -> LesionResult:
    click = Click((0.0, 0.0, 0.0), True)
    scores = tuple(ClickScore(click, d, d, d / 2, 0.5 if n == 0 else 0.1) for n, d in enumerate(dices))
    return LesionResult(source, "case", ClickSeries(scores), method, 2, 1234.5)


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


def cases_with_two_lesions(folder: Path) -> list[Case]:
    image = balls(centres=[(30.0, 0.0, 50.0), (55.0, 25.0, 75.0)], radius=7)
    sitk.WriteImage(image, str(folder / "image.nrrd"))
    sitk.WriteImage(image > 50, str(folder / "mask.nrrd"))
    return [Case("case", "source", "patient", "MR", folder / "image.nrrd", folder / "mask.nrrd")]


def test_every_large_lesion_of_a_case_is_clicked(tmp_path: Path) -> None:
    cases = cases_with_two_lesions(tmp_path)
    results = evaluate(InteractiveSession(ThresholdPredictor()), cases, clicks=1)
    assert len(results) == 2
    assert all(r.series.after(1).dice > 0.8 for r in results)
    assert [r.lesion for r in results] == [1, 2]
    assert [r.volume_mm3 for r in results] == pytest.approx([4 / 3 * math.pi * 7**3] * 2, rel=0.05)


def test_smaller_lesions_and_more_of_them_are_clicked_where_that_is_asked_for(tmp_path: Path) -> None:
    centres = [(30.0, 0.0, 50.0), (55.0, 25.0, 75.0), (30.0, 25.0, 75.0), (55.0, 0.0, 50.0)]
    parts = [balls(centres=[c], radius=r) for c, r in zip(centres, (7, 6, 5, 3), strict=True)]
    image = parts[0]
    for part in parts[1:]:
        image = sitk.Maximum(image, part)
    sitk.WriteImage(image, str(tmp_path / "image.nrrd"))
    sitk.WriteImage(image > 50, str(tmp_path / "mask.nrrd"))
    case = Case("case", "source", "patient", "MR", tmp_path / "image.nrrd", tmp_path / "mask.nrrd")

    def clicked(**options: float) -> int:
        sessions = {"": InteractiveSession(ThresholdPredictor())}
        return len(compare(sessions, [case], clicks=1, **options))

    assert clicked() == 3
    assert clicked(most=4) == 3  # the smallest one is too small
    assert clicked(most=4, smallest=50.0) == 4
    assert clicked(smallest=1000.0) == 1


def test_methods_get_the_same_first_click_and_then_those_that_their_own_mistakes_ask_for(
    tmp_path: Path,
) -> None:
    sessions = {
        "good": InteractiveSession(ThresholdPredictor()),
        "narrow": ClassicalSession(RegionGrowing(reach_mm=4.0)),
    }
    done: list[LesionResult] = []
    results = compare(sessions, cases_with_two_lesions(tmp_path), clicks=3, on_result=done.append)
    assert [(r.method, r.lesion) for r in results] == [("good", 1), ("narrow", 1), ("good", 2), ("narrow", 2)]
    assert done == results
    good, narrow = (r.series.scores for r in results[:2])
    assert good[0].click == narrow[0].click
    # The narrow one reaches 4 mm of the 7 and is asked for more.
    assert narrow[0].dice < 0.8 and narrow[1].click.positive and narrow[1].click != narrow[0].click


def test_the_comparison_has_a_row_for_each_method_and_source_and_the_means_last() -> None:
    results = [
        result("sts", 0.5, method="model"),
        result("sts", 0.3, method="other"),
        result("ms", 0.7, method="model"),
        result("ms", 0.1, method="other"),
    ]
    head, _, *lines = comparison_table(results).splitlines()
    assert head.startswith("| method | source | lesions | Dice after 1 / 3 / 5 / 10 clicks |")
    assert [line.split(" | ")[:4] for line in lines] == [
        ["| model", "ms", "1", "0.70 / 0.70 / 0.70 / 0.70"],
        ["| other", "ms", "1", "0.10 / 0.10 / 0.10 / 0.10"],
        ["| model", "sts", "1", "0.50 / 0.50 / 0.50 / 0.50"],
        ["| other", "sts", "1", "0.30 / 0.30 / 0.30 / 0.30"],
        ["| model", "all sources", "2", "0.60 / 0.60 / 0.60 / 0.60"],
        ["| other", "all sources", "2", "0.20 / 0.20 / 0.20 / 0.20"],
    ]
    assert {line.count("|") for line in [head, *lines]} == {9}
    with pytest.raises(ImageError, match="no lesion"):
        comparison_table([])


def test_the_figures_of_each_lesion_are_written(tmp_path: Path) -> None:
    results = [result("sts", 0.5, 0.85, 0.9, method="a, b"), result("ms", 0.25, method="other")]
    write_csv(tmp_path / "new" / "lesions.csv", results)
    with (tmp_path / "new" / "lesions.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    named = {"method": "a, b", "source": "sts", "case": "case", "lesion": "2", "volume_mm3": "1234.5"}
    assert named.items() <= first.items()
    assert [float(first[f"dice_{n}"]) for n in (1, 3, 5, 10)] == [0.5, 0.9, 0.9, 0.9]
    assert float(first["surface_dice_3"]) == 0.45 and float(first["iou_1"]) == 0.5
    assert (first["clicks_needed"], first["first_seconds"], first["further_seconds"]) == (
        "2",
        "0.500",
        "0.100",
    )
    assert (second["clicks_needed"], second["further_seconds"]) == ("10", "0.000")
