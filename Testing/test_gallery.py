"""The sheet of training samples: a row for each generator, the same for the same seed."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import SimpleITK as sitk

from MSAMLogic.errors import TrainingError
from MSAMLogic.model import CONFIGURATIONS
from MSAMLogic.training import gallery
from MSAMLogic.training.cases import Case
from MSAMLogic.training.gallery import Picture, patch_size_of, write_gallery
from MSAMLogic.training.samples import SampleMix
from MSAMLogic.training.trainer import TrainingConfig


def case(folder: Path, filled: bool = True) -> Case:
    """A bright cube of 10 mm in textured surroundings."""
    array = np.random.default_rng(0).normal(0, 8, (30, 36, 40))
    mask = np.zeros(array.shape, np.uint8)
    if filled:
        mask[10:20, 12:22, 14:24] = 1
    for name, values in (("image", array + 90 * mask), ("mask", mask)):
        kind = np.int16 if name == "image" else np.uint8
        sitk.WriteImage(sitk.GetImageFromArray(values.astype(kind)), str(folder / f"{name}.nrrd"))
    return Case("case", "source", "patient", "MR", folder / "image.nrrd", folder / "mask.nrrd")


def drawn(monkeypatch: pytest.MonkeyPatch, folder: Path, seed: int) -> dict[str, list[Picture]]:
    """Return what a sheet shows, row by row."""
    rows: list[tuple[str, list[Picture]]] = []
    draw = gallery._drawn
    monkeypatch.setattr(gallery, "_drawn", lambda given, columns: rows.extend(given) or draw(given, columns))
    write_gallery([case(folder)], folder / "new" / "sheet.png", 24, (0.5, 3.0), seed, columns=2)
    monkeypatch.undo()
    return dict(rows)


def test_every_kind_of_sample_and_every_generator_has_a_row(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = drawn(monkeypatch, tmp_path, seed=1)
    titles = " ".join(rows)
    for kind in fields(SampleMix):
        assert f"PatchSamples, {kind.name}" in titles
    for name in (
        "grown_shape",
        "insert_lesion",
        "coherent_region",
        "merged_region",
        "redrawn",
        "simulate_click",
        "varied_scan",
        "implanted_scan",
        "wrong_mask",
    ):
        assert name in titles
    assert all(len(pictures) == 2 for pictures in rows.values())
    assert all(p.patch.shape == (24, 24, 24) for pictures in rows.values() for p in pictures)
    clicked = next(pictures for title, pictures in rows.items() if title.startswith("simulate_click"))
    for picture in clicked:
        assert picture.target is not None and picture.answer is not None and picture.clicks[0][1] == 1
        assert (picture.target != picture.answer).any()
    height, width, _ = matplotlib.image.imread(tmp_path / "new" / "sheet.png").shape
    assert height > width > 300  # a row for each generator, two columns


def test_the_same_seed_draws_the_same_sheet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one, same, other = (drawn(monkeypatch, tmp_path, seed) for seed in (1, 1, 2))
    assert all(
        np.array_equal(a.patch, b.patch)
        for title in one
        for a, b in zip(one[title], same[title], strict=True)
    )
    assert not np.array_equal(one["PatchSamples, lesion"][0].patch, other["PatchSamples, lesion"][0].patch)


def test_cases_without_lesions_are_refused_and_no_file_is_left(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="No case has a lesion"):
        write_gallery([case(tmp_path, filled=False)], tmp_path / "sheet.png", 24, (0.5, 3.0))
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(
    ("values", "architecture"),
    [
        ({"architecture": "msam-vit-b"}, "msam-vit-b"),
        ({}, "msam-compact"),
        ({"start": "default"}, "msam-compact"),
    ],
)
def test_patches_are_as_large_as_the_run_makes_them(values: dict[str, str], architecture: str) -> None:
    config = TrainingConfig(data=Path("data"), output=Path("runs"), **values)
    assert patch_size_of(config) == CONFIGURATIONS[architecture].patch_size
