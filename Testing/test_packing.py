"""A data set that is packed: as small as asked for, the same places, the same lesions, the same split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from images import AXIAL, balls, oblique
from typer.testing import CliRunner

from MSAMLogic.cli import app
from MSAMLogic.errors import TrainingError
from MSAMLogic.geometry import ImageGrid
from MSAMLogic.training.cases import read_cases, split_by_patient
from MSAMLogic.training.loaded_case import LoadedCase
from MSAMLogic.training.packing import coarsened, pack

HEADER = "case\tsource\tpatient\tmodality\timage\tmask\n"


def quiet(line: str) -> None:
    """Log nothing."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cases: a large noisy scan and a small one, a lesion in each."""
    made = tmp_path / "data"
    made.mkdir()
    rows = []
    for name, size, direction in (("large", (90, 80, 40), oblique()), ("small", (24, 20, 16), AXIAL)):
        grid = ImageGrid.of(balls(size, (1.0, 1.0, 2.0), direction))
        centre = grid.point(np.array(size) / 2)
        image = balls(size, (1.0, 1.0, 2.0), direction, centres=[centre], radius=7)
        mask = image == 100
        noise = np.random.default_rng(1).normal(0, 30, tuple(reversed(size)))
        noisy = sitk.GetImageFromArray((sitk.GetArrayViewFromImage(image) + noise).astype(np.int16))
        noisy.CopyInformation(image)
        sitk.WriteImage(noisy, str(made / f"{name}.nii.gz"), useCompression=True)
        sitk.WriteImage(mask, str(made / f"{name}_mask.nii.gz"), useCompression=True)
        rows.append(f"{name}\ta\tpatient {name}\tCT\t{name}.nii.gz\t{name}_mask.nii.gz\n")
    (made / "cases.tsv").write_text(HEADER + "".join(rows))
    return made


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_packed_data_set_is_small_enough_and_its_lesions_are_where_they_were(
    folder: Path, tmp_path: Path
) -> None:
    budget = bytes_of(folder) / 1e6 / 3
    result = pack(folder, tmp_path / "packed", budget, quiet)
    assert result.size == bytes_of(tmp_path / "packed") <= budget * 1e6
    assert (result.cases, result.coarser) == (2, 1)
    for before, after in zip(read_cases(folder), read_cases(tmp_path / "packed"), strict=True):
        assert (after.name, after.source, after.patient, after.modality) == (
            before.name,
            before.source,
            before.patient,
            before.modality,
        )
        was, now = LoadedCase(before), LoadedCase(after)
        (old,), (new,) = was.lesions, now.lesions
        assert new.centre == pytest.approx(old.centre, abs=max(now.grid.spacing))
        assert new.volume == pytest.approx(old.volume, rel=0.15)
        if before.name == "small":
            assert now.grid == was.grid
            assert np.array_equal(sitk.GetArrayFromImage(now.image), sitk.GetArrayFromImage(was.image))
        else:
            assert np.prod(now.grid.size) < 0.4 * np.prod(was.grid.size)


def test_patients_that_are_kept_aside_can_be_left_out_and_are_kept_aside_all_the_same(
    folder: Path, tmp_path: Path
) -> None:
    training, aside = split_by_patient(read_cases(folder))
    result = CliRunner().invoke(app, ["pack", str(folder), str(tmp_path / "packed"), "--training-only"])
    assert result.exit_code == 0, result.output
    packed_training, packed_aside = split_by_patient(read_cases(tmp_path / "packed"))
    assert [case.name for case in packed_training] == [case.name for case in training] != []
    assert [case.name for case in packed_aside] == [case.name for case in aside] != []
    assert all(case.image_path.is_file() and case.mask_path.is_file() for case in packed_training)
    assert not any(case.image_path.exists() or case.mask_path.exists() for case in packed_aside)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(1, 24)] * 3),
    st.tuples(*[st.sampled_from([0.5, 0.7, 1.0, 3.3])] * 3),
    st.integers(1, 3000),
    st.integers(0, 60),
)
def test_a_coarser_image_covers_the_same_box_in_few_enough_voxels(
    size: tuple[int, ...], spacing: tuple[float, ...], most: int, angle: int
) -> None:
    image = balls(size, spacing, oblique(angle)) * 0 + 7
    coarse = coarsened(image, most)
    assert np.prod(coarse.GetSize()) <= most or coarse.GetSize() == (1, 1, 1)
    assert np.all(sitk.GetArrayViewFromImage(coarse) == 7)
    for corner in (0.0, 1.0):
        before, after = (
            one.TransformContinuousIndexToPhysicalPoint([corner * n - 0.5 for n in one.GetSize()])
            for one in (image, coarse)
        )
        assert after == pytest.approx(before, abs=1e-3)


def test_the_finest_axes_are_coarsened_first() -> None:
    coarse = coarsened(balls((100, 100, 10), (0.5, 0.5, 4.0)), 50 * 50 * 10)
    assert coarse.GetSize() == (50, 50, 10) and coarse.GetSpacing() == pytest.approx((1.0, 1.0, 4.0))


def test_a_coarse_voxel_is_the_mean_of_what_it_covers_and_lesion_where_half_of_it_was() -> None:
    values = np.random.default_rng(0).integers(-500, 500, (4, 6, 8)).astype(np.int16)
    image = sitk.GetImageFromArray(values)
    coarse = sitk.GetArrayFromImage(coarsened(image, 2 * 3 * 4))
    blocks = values.reshape(2, 2, 3, 2, 4, 2).mean(axis=(1, 3, 5))
    assert np.abs(coarse - blocks).max() <= 1
    mask = (values > 0).astype(np.uint8)
    share = mask.reshape(2, 2, 3, 2, 4, 2).mean(axis=(1, 3, 5))
    found = sitk.GetArrayFromImage(coarsened(sitk.GetImageFromArray(mask), 2 * 3 * 4, is_mask=True))
    assert np.array_equal(found, share >= 0.5)


def test_what_cannot_be_made_so_small_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="does not fit into"):
        pack(folder, tmp_path / "packed", 0.0005, quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_folder_that_holds_something_is_never_overwritten(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(TrainingError, match="is not empty"):
        pack(folder, folder, 60, quiet)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_command_says_how_large_it_became(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["pack", str(folder), str(tmp_path / "packed"), "--megabytes", "60"])
    assert done.exit_code == 0, done.output
    assert "2 cases" in done.output and "0 of 2 scans coarser" in done.output
    again = CliRunner().invoke(app, ["pack", str(folder), str(tmp_path / "packed")])
    assert again.exit_code == 1 and "is not empty" in again.output


@pytest.mark.parametrize("part", ["large.nii.gz", "large_mask.nii.gz"])
def test_a_file_that_is_missing_is_named_and_nothing_is_left(folder: Path, tmp_path: Path, part: str) -> None:
    (folder / part).unlink()
    with pytest.raises(TrainingError, match=part):
        pack(folder, tmp_path / "packed", 60, quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
