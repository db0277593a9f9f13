"""Evaluation on scans seen otherwise: repeatable, whole, and no lesion too small to be clicked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from images import AXIAL, balls
from typer.testing import CliRunner

from MSAMLogic.cli import app
from MSAMLogic.evaluation.protocol import SMALLEST_MM3
from MSAMLogic.evaluation.report import compare
from MSAMLogic.evaluation.seen_otherwise import seen_otherwise
from MSAMLogic.geometry import ImageGrid
from MSAMLogic.training.cases import Case

CASE = Case("one", "a", "patient", "MR", Path("one.nii.gz"), Path("one_mask.nii.gz"))


class Ball:
    """A session that marks a ball of 8 mm round every lesion click."""

    def set_image(self, image: sitk.Image) -> None:
        self.mask = sitk.Cast(image * 0, sitk.sitkUInt8)

    def click(self, point: tuple[float, float, float], *, positive: bool) -> None:
        distance = sitk.PhysicalPointSource(
            sitk.sitkVectorFloat64,
            self.mask.GetSize(),
            self.mask.GetOrigin(),
            self.mask.GetSpacing(),
            self.mask.GetDirection(),
        )
        places = sitk.GetArrayFromImage(distance)
        inside = np.linalg.norm(places - np.asarray(point), axis=-1) < 8
        marked = sitk.GetArrayFromImage(self.mask) > 0
        made = sitk.GetImageFromArray((marked | inside if positive else marked & ~inside).astype(np.uint8))
        made.CopyInformation(self.mask)
        self.mask = made


def scan(radius: float = 8.0) -> tuple[sitk.Image, sitk.Image]:
    size, spacing = (40, 36, 20), (1.0, 1.0, 2.0)
    centre = ImageGrid.of(balls(size, spacing, AXIAL)).point(np.array(size) / 2)
    image = balls(size, spacing, AXIAL, centres=[centre], radius=radius)
    noise = np.random.default_rng(0).normal(0, 5, (20, 36, 40))
    noisy = sitk.GetImageFromArray((sitk.GetArrayFromImage(image) + noise).astype(np.float32))
    noisy.CopyInformation(image)
    return noisy, sitk.Cast(image == 100, sitk.sitkUInt8)


def test_each_variation_is_another_scan_with_the_lesion_on_its_grid_and_the_same_every_time() -> None:
    image, lesion = scan()
    seen = [list(seen_otherwise(CASE, image, lesion, 1, 6)) for _ in range(2)]
    names = [name for name, _, _ in seen[0]]
    assert len(set(names)) == len(names) >= 4 and all(name.startswith("one seen otherwise") for name in names)
    for (_, varied, mask), (_, again, _) in zip(*seen, strict=True):
        assert np.array_equal(sitk.GetArrayViewFromImage(varied), sitk.GetArrayViewFromImage(again))
        assert mask.GetSpacing() == varied.GetSpacing() and mask.GetDirection() == varied.GetDirection()
        volume = sitk.GetArrayViewFromImage(mask).sum() * np.prod(mask.GetSpacing())
        assert volume >= SMALLEST_MM3
    spacings = {varied.GetSpacing() for _, varied, _ in seen[0]}
    assert len(spacings) > 1


def test_lesions_that_became_too_small_are_left_out() -> None:
    image, lesion = scan(radius=4.0)  # 270 mm³: whatever shrinks it loses it
    kept = [varied.GetSpacing()[0] for _, varied, _ in seen_otherwise(CASE, image, lesion, 1, 12)]
    assert 0 < len(kept) < 12 and min(kept) > 0.8


def test_variations_are_measured_instead_of_the_scan_as_it_is(tmp_path: Path) -> None:
    image, lesion = scan()
    case = Case("one", "a", "p", "MR", tmp_path / "one.nii.gz", tmp_path / "mask.nii.gz")
    sitk.WriteImage(image, str(case.image_path))
    sitk.WriteImage(lesion, str(case.mask_path))
    results = compare({"ball": Ball()}, [case], clicks=2, varied=3)
    assert 1 <= len(results) <= 3
    assert all(result.case.startswith("one seen otherwise") for result in results)
    (plain,) = compare({"ball": Ball()}, [case], clicks=2)
    assert plain.case == "one" and plain.series.after(1).dice == pytest.approx(1.0, abs=0.1)


def test_a_picture_sheet_of_variations_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    arguments = ["evaluate", str(tmp_path / "data"), "--varied", "2", "--sheet", str(tmp_path / "sheet.png")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1 and "--sheet" in result.output
