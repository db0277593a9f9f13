"""The picture sheet of an evaluation: which lesions it shows, and what it shows of them."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import SimpleITK as sitk
from images import balls
from predictors import ThresholdPredictor

from MSAMLogic.errors import ImageError
from MSAMLogic.evaluation import pictures
from MSAMLogic.evaluation.protocol import Click, ClickScore, ClickSeries
from MSAMLogic.evaluation.report import LesionResult, compare
from MSAMLogic.evaluation.sheet import chosen_lesions, write_sheet
from MSAMLogic.session import InteractiveSession
from MSAMLogic.training.cases import Case


def result(source: str, case: str, *dices: float) -> LesionResult:
    click = Click((0.0, 0.0, 0.0), True)
    return LesionResult(
        source, case, ClickSeries(tuple(ClickScore(click, d, d, d, 0.1) for d in dices)), "model"
    )


def test_best_median_and_worst_are_ranked_after_five_clicks_in_each_source() -> None:
    results = [
        result("a", "rises", 0.1, 0.2, 0.3, 0.4, 0.9, 0.1),
        result("a", "falls", 0.9, 0.9, 0.9, 0.9, 0.2, 0.9),
        result("a", "stays", 0.5),
        result("a", "middling", 0.6),
        result("b", "good", 0.8),
        result("b", "bad", 0.3),
        result("c", "only", 0.3),
    ]
    shown = [(r.source, name, r.case) for name, r in chosen_lesions(results)]
    assert shown == [
        ("a", "best", "rises"),
        ("a", "median", "middling"),
        ("a", "worst", "falls"),
        ("b", "best", "good"),
        ("b", "worst", "bad"),
        ("c", "best", "only"),
    ]


def has(pixels: np.ndarray, colour: str) -> bool:
    wanted = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
    return bool((np.abs(pixels - wanted).max(axis=2) < 0.05).any())


def test_a_row_shows_truth_mask_and_clicks_after_one_click_and_after_five(tmp_path: Path) -> None:
    # The truth leaves out the larger ball's upper half, so that the second click is one against the lesion.
    image = balls(centres=[(40.0, 10.0, 62.0)], radius=12)
    truth = sitk.GetArrayFromImage(image > 50)
    truth[34:] = 0
    mask = sitk.GetImageFromArray(truth)
    mask.CopyInformation(image)
    sitk.WriteImage(image, str(tmp_path / "image.nrrd"))
    sitk.WriteImage(mask, str(tmp_path / "mask.nrrd"))
    case = Case("case", "source", "patient", "MR", tmp_path / "image.nrrd", tmp_path / "mask.nrrd")
    session = InteractiveSession(ThresholdPredictor())
    results = compare({"model": session}, [case], clicks=5)
    write_sheet(session, [case], results, tmp_path / "new" / "sheet.png", "Title")
    pixels = matplotlib.image.imread(tmp_path / "new" / "sheet.png")[..., :3]
    body = pixels[: int(0.8 * len(pixels))]  # without the legend
    after_one, after_five = np.split(body, [body.shape[1] // 2], axis=1)
    for part in (after_one, after_five):
        assert has(part, pictures._TRUTH) and has(part, pictures._PREDICTION)
    assert has(after_one, pictures._LESION_CLICK) and not has(after_one, pictures._BACKGROUND_CLICK)
    assert has(after_five, pictures._BACKGROUND_CLICK)


def test_without_results_there_is_no_sheet(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no lesion"):
        write_sheet(InteractiveSession(ThresholdPredictor()), [], [], tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
