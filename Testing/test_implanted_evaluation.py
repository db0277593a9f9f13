"""Evaluation on implanted lesions: repeatable, whole, and no lesion too small to be clicked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from test_implanting import head
from test_seen_otherwise import Ball
from typer.testing import CliRunner

from MSAMLogic.cli import app
from MSAMLogic.errors import TrainingError
from MSAMLogic.evaluation.implanted import implanted_lesions
from MSAMLogic.evaluation.protocol import SMALLEST_MM3
from MSAMLogic.evaluation.report import compare
from MSAMLogic.training.cases import Case


def written(folder: Path, radius: float = 8.0) -> Case:
    """Return a case of a head with a lesion of some millimetres in its middle."""
    image, distance = head()
    mask = sitk.GetImageFromArray((distance < radius).astype(np.uint8))
    mask.CopyInformation(image)
    case = Case("one", "a", "patient", "MR", folder / "one.nii.gz", folder / "mask.nii.gz")
    sitk.WriteImage(image, str(case.image_path))
    sitk.WriteImage(mask, str(case.mask_path))
    return case


def test_each_lesion_is_another_in_the_same_scan_and_the_same_every_time(tmp_path: Path) -> None:
    case = written(tmp_path)
    shown = [list(implanted_lesions(case, 6)) for _ in range(2)]
    names = [name for name, _, _ in shown[0]]
    assert len(set(names)) == len(names) >= 4 and all(name.startswith("one implanted") for name in names)
    for (_, scan, lesion), (_, again, _) in zip(*shown, strict=True):
        assert np.array_equal(sitk.GetArrayFromImage(scan), sitk.GetArrayFromImage(again))
        assert scan.GetSize() == lesion.GetSize() == head()[0].GetSize()
        assert lesion.GetPixelID() == sitk.sitkUInt8
        assert sitk.GetArrayFromImage(lesion).sum() * np.prod(lesion.GetSpacing()) >= SMALLEST_MM3
    masks = {sitk.GetArrayFromImage(lesion).tobytes() for _, _, lesion in shown[0]}
    assert len(masks) == len(names)


def test_implanted_lesions_are_measured_instead_of_the_case_s_own(tmp_path: Path) -> None:
    case = written(tmp_path)
    results = compare({"ball": Ball()}, [case], clicks=2, implanted=4)
    assert 2 <= len(results) <= 4
    assert all(result.case.startswith("one implanted") for result in results)
    assert len({result.volume_mm3 for result in results}) == len(results)
    (plain,) = compare({"ball": Ball()}, [case], clicks=2)
    assert plain.case == "one" and plain.series.after(1).dice > 0.8


def test_a_case_without_lesions_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="No case has a lesion"):
        list(implanted_lesions(written(tmp_path, radius=0.0), 2))


@pytest.mark.parametrize("other", [["--sheet", "sheet.png"], ["--varied", "2"]])
def test_what_does_not_go_together_is_refused(tmp_path: Path, other: list[str]) -> None:
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path), "--implanted", "2", *other])
    assert result.exit_code == 1 and "leave" in result.output
