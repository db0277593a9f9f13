"""Training: cases and their split, samples, simulated clicks, losses, synthetic targets, the trainer."""

from __future__ import annotations

import csv
import itertools
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from images import AXIAL, LEFT_HANDED, oblique
from scipy import ndimage
from test_model import TINY

from MSAMLogic.errors import TrainingError
from MSAMLogic.geometry import ImageGrid, PatchGrid, extract_patch
from MSAMLogic.largest_error import largest_part
from MSAMLogic.loading import read_network
from MSAMLogic.model import CONFIGURATIONS, PatchFeatures, build_model
from MSAMLogic.model.checkpoints import save_weights
from MSAMLogic.model.msam import Segmentation
from MSAMLogic.training import run as run_module
from MSAMLogic.training import samples as samples_module
from MSAMLogic.training import synthetic
from MSAMLogic.training.cases import Case, read_cases, split_by_patient
from MSAMLogic.training.clicks import deepest_voxel, habit_of, simulate_click
from MSAMLogic.training.corrections.trainer import CorrectorConfig
from MSAMLogic.training.distance_from_edge import distance_from_edge
from MSAMLogic.training.fusions.trainer import FusionConfig
from MSAMLogic.training.loaded_case import LoadedCase
from MSAMLogic.training.log import TrainingLog
from MSAMLogic.training.losses import click_disobedience, dice_cross_entropy, true_iou
from MSAMLogic.training.recipes.clicks import _starting_masks, click_losses, mask_to_logits, turns
from MSAMLogic.training.recorded_run import recipe_of
from MSAMLogic.training.redrawing import redrawn
from MSAMLogic.training.samples import PatchSamples, SampleMix
from MSAMLogic.training.shapes import (
    grown_shape,
    leaning_shape,
    lobulated_shape,
    smooth_noise,
    spiculated_shape,
)
from MSAMLogic.training.synthetic import coherent_region, insert_lesion, merged_region
from MSAMLogic.training.trainer import Trainer, TrainingConfig
from MSAMLogic.training.wrong_masks import wrong_mask

unhurried = settings(max_examples=50, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


# Cases written by the tests

SPACING = (1.0, 1.25, 2.0)
ORIGIN = (-40.0, 25.0, 300.0)
BOXES = {  # (i, j, k) from and to, of each lesion
    "one": [((10, 8, 5), (22, 20, 12))],
    # Two lesions, a speck that is too small, and two parts that touch at a corner.
    "three": [
        ((4, 4, 4), (10, 10, 8)),
        ((20, 20, 3), (30, 27, 9)),
        ((2, 30, 0), (4, 32, 1)),
        ((33, 4, 10), (37, 9, 13)),
        ((30, 9, 13), (33, 14, 16)),
    ],
    "none": [],
}


def write_case(folder: Path, name: str, source: str, modality: str, direction: tuple[float, ...]) -> str:
    """Write image and mask of a case with bright boxes, and return its row of ``cases.tsv``."""
    size = (40, 36, 20)
    mask = np.zeros(tuple(reversed(size)), np.uint8)
    for (i, j, k), (x, y, z) in BOXES[name]:
        mask[k:z, j:y, i:x] = 1
    values = rng_of(len(name)).normal(40 if modality == "CT" else 300, 12, mask.shape) + 120 * mask
    if modality == "CT":
        values[:, :, :3] = -1000
    for kind, array in (("image", values.round().astype(np.int16)), ("mask", mask)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(SPACING)
        image.SetOrigin(ORIGIN)
        image.SetDirection(direction)
        sitk.WriteImage(image, str(folder / f"{name}_{kind}.nii.gz"))
    cells = (name, source, f"patient {name}", modality, f"{name}_image.nii.gz", f"{name}_mask.nii.gz")
    return "\t".join(cells) + "\n"


HEADER = "case\tsource\tpatient\tmodality\timage\tmask\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with three cases."""
    made = tmp_path_factory.mktemp("data")
    rows = [
        write_case(made, "one", "a", "CT", oblique(15)),
        write_case(made, "three", "b", "MR T1 (N4)", LEFT_HANDED),
        write_case(made, "none", "b", "ct", AXIAL),
    ]
    (made / "cases.tsv").write_text(HEADER + "".join(rows))
    return made


@pytest.fixture(scope="module")
def loaded(folder: Path) -> dict[str, LoadedCase]:
    return {case.name: LoadedCase(case) for case in read_cases(folder)}


# The case list and its split


@st.composite
def case_lists(draw: st.DrawFn) -> list[Case]:
    """Cases of up to three sources; several cases of a patient, and some patients in two sources."""
    numbers = draw(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), min_size=1, max_size=40))
    return [
        Case(f"case {n}", source, str(patient), "CT", Path("image"), Path("mask"))
        for n, (source, patient) in enumerate(numbers)
    ]


def patients(cases: list[Case], source: str | None = None) -> set[str]:
    return {case.patient for case in cases if source in (None, case.source)}


@unhurried
@given(case_lists(), st.randoms(use_true_random=False))
def test_no_patient_is_on_both_sides_whatever_the_order_of_the_cases(cases: list[Case], random: Any) -> None:
    training, validation = split_by_patient(cases)
    assert sorted(map(hash, training + validation)) == sorted(map(hash, cases))
    assert not patients(training) & patients(validation)
    shuffled = random.sample(cases, len(cases))
    assert [set(side) for side in split_by_patient(shuffled)] == [set(training), set(validation)]
    assert training == [case for case in cases if case in training]


@unhurried
@given(case_lists())
def test_a_fifth_of_the_patients_of_each_source_is_kept_aside(cases: list[Case]) -> None:
    own = [replace(case, patient=f"{case.source}{case.patient}") for case in cases]
    _, validation = split_by_patient(own)
    for source in {case.source for case in own}:
        assert len(patients(validation, source)) == math.ceil(len(patients(own, source)) / 5)


def test_cases_are_read_with_their_files_and_modality(folder: Path) -> None:
    one, three, none = read_cases(folder)
    assert (one.name, one.source, one.patient) == ("one", "a", "patient one")
    assert one.image_path == folder / "one_image.nii.gz" and three.mask_path == folder / "three_mask.nii.gz"
    assert [case.modality for case in (one, three, none)] == ["CT", "MR", "CT"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "does not exist"),
        ("", "needs the columns case, source"),
        (HEADER, "at least one row"),
        (HEADER.replace("\tpatient", "") + "a\tb\tCT\tc\td\n", "needs the columns"),
        (HEADER + "a\tb\tp\n", r"cases\.tsv"),  # a row that ends early
    ],
)
def test_a_bad_case_list_is_said_to_be(tmp_path: Path, content: str | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / "cases.tsv").write_text(content)
    with pytest.raises(TrainingError, match=complaint):
        read_cases(tmp_path)


# Cases in memory


def test_lesions_are_measured_in_millimetres(loaded: dict[str, LoadedCase]) -> None:
    case = loaded["one"]
    (lesion,) = case.lesions
    assert lesion.volume == pytest.approx(12 * 12 * 7 * 2.5)
    assert lesion.extent == pytest.approx(12 * 1.25)
    middle = case.image.TransformContinuousIndexToPhysicalPoint([15.5, 13.5, 8.0])
    assert lesion.centre == pytest.approx(middle, abs=1e-3)


def test_components_are_numbered_and_specks_are_no_targets(loaded: dict[str, LoadedCase]) -> None:
    case = loaded["three"]
    labels = sitk.GetArrayFromImage(case.components)
    assert [lesion.label for lesion in case.lesions] == [1, 2, 3]
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    expected = {
        frozenset([(i, j, k) for i in range(4, 10) for j in range(4, 10) for k in range(4, 8)]),
        frozenset([(i, j, k) for i in range(20, 30) for j in range(20, 27) for k in range(3, 9)]),
        frozenset(
            [(i, j, k) for i in range(33, 37) for j in range(4, 9) for k in range(10, 13)]
            + [(i, j, k) for i in range(30, 33) for j in range(9, 14) for k in range(13, 16)]
        ),
    }
    found = {frozenset(map(tuple, np.argwhere(labels == n)[:, ::-1].tolist())) for n in (1, 2, 3)}
    assert found == expected
    for lesion in case.lesions:
        assert lesion.volume == pytest.approx((labels == lesion.label).sum() * 2.5)
    assert ImageGrid.of(case.components) == case.grid == ImageGrid.of(case.image)


def test_a_smaller_volume_may_be_asked_for(folder: Path) -> None:
    case = next(case for case in read_cases(folder) if case.name == "three")
    assert len(LoadedCase(case, minimum_volume=10.0).lesions) == 4
    assert len(LoadedCase(case, minimum_volume=500.0).lesions) == 1


def test_a_case_without_lesions_has_none(loaded: dict[str, LoadedCase]) -> None:
    assert loaded["none"].lesions == []
    assert not sitk.GetArrayFromImage(loaded["none"].components).any()


def test_the_body_is_where_the_tissue_is(loaded: dict[str, LoadedCase]) -> None:
    body = loaded["one"].body
    values = sitk.GetArrayFromImage(loaded["one"].image)  # a view would outlive an image made on demand
    assert len(body) == 10 * 9 * 9  # every second slice, every fourth row and column, without the air
    assert min(values[k, j, i] for i, j, k in body) > -300


def test_a_mask_on_another_grid_is_refused(folder: Path, tmp_path: Path) -> None:
    case = read_cases(folder)[0]
    mask = sitk.ReadImage(str(case.mask_path))
    mask.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(mask, str(tmp_path / "moved.nii.gz"))
    with pytest.raises(TrainingError, match="case one lie on different grids"):
        LoadedCase(replace(case, mask_path=tmp_path / "moved.nii.gz"))


@pytest.mark.parametrize("field", ["image_path", "mask_path"])
def test_a_case_whose_file_is_missing_is_named(folder: Path, field: str) -> None:
    case = replace(read_cases(folder)[0], **{field: folder / "missing.nii.gz"})
    with pytest.raises(TrainingError, match=r"missing\.nii\.gz"):
        LoadedCase(case)


def test_a_stored_case_is_the_same_and_needs_its_files_no_more(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for case in read_cases(folder):
        fresh, first = LoadedCase(case), LoadedCase(case, store=tmp_path)
        monkeypatch.setattr(
            "MSAMLogic.training.loaded_case.read_case", lambda case: pytest.fail("read again")
        )
        again = LoadedCase(case, store=tmp_path)
        monkeypatch.undo()
        assert isinstance(again._values, np.memmap) and isinstance(again._labels, np.memmap)
        assert again._values.dtype == np.int16 and again._labels.dtype == np.uint8
        for other in (first, again):
            assert other.grid == fresh.grid and other.lesions == fresh.lesions
            assert np.array_equal(other.body, fresh.body)
            grid = PatchGrid(fresh.grid.point(np.array([15.0, 13.0, 8.0])), 1.3, 24)
            assert np.array_equal(other.patch(grid, -50), fresh.patch(grid, -50))
            assert all(np.array_equal(other.target(x, grid), fresh.target(x, grid)) for x in fresh.lesions)


def test_a_case_whose_files_changed_is_stored_anew(folder: Path, tmp_path: Path) -> None:
    case = read_cases(folder)[0]
    for path in (case.image_path, case.mask_path):
        shutil.copy(path, tmp_path / path.name)
    moved = replace(
        case, image_path=tmp_path / case.image_path.name, mask_path=tmp_path / case.mask_path.name
    )
    before = LoadedCase(moved, store=tmp_path / "store")
    mask = sitk.ReadImage(str(moved.mask_path))
    sitk.WriteImage(mask * 0, str(moved.mask_path))
    os.utime(moved.mask_path, ns=(0, 0))
    after = LoadedCase(moved, store=tmp_path / "store")
    assert len(before.lesions) == 1 and after.lesions == []


@pytest.mark.parametrize("whole", [True, False])
def test_two_processes_may_store_the_same_case_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    case = read_cases(folder)[0]
    expected = LoadedCase(case, store=tmp_path / "other")
    (theirs,) = (tmp_path / "other").iterdir()
    if not whole:
        (theirs / "values.npy").unlink()
    remove = shutil.rmtree

    def remove_too_early(path: Path, **options: Any) -> None:
        remove(path, **options)
        if Path(path).parent == tmp_path / "mine":  # the other process is quicker
            shutil.copytree(theirs, path)

    monkeypatch.setattr("MSAMLogic.training.case_store.shutil.rmtree", remove_too_early)
    if whole:
        mine = LoadedCase(case, store=tmp_path / "mine")
        assert mine.lesions == expected.lesions and isinstance(mine._values, np.memmap)
    else:  # what lies there is no case: that is an error, not a case that is lost
        with pytest.raises(OSError):
            LoadedCase(case, store=tmp_path / "mine")


@pytest.mark.parametrize(
    ("name", "content"),
    [("values.npy", None), ("case.json", "{"), ("case.json", "[]"), ("case.json", '{"grid": {"size": 3}}')],
)
def test_a_store_that_was_damaged_is_not_used(
    folder: Path, tmp_path: Path, name: str, content: str | None
) -> None:
    case = read_cases(folder)[0]
    LoadedCase(case, store=tmp_path)
    (kept,) = tmp_path.glob(f"*/{name}")
    kept.write_bytes(kept.read_bytes()[:200] if content is None else content.encode())
    again = LoadedCase(case, store=tmp_path)
    assert again.lesions == LoadedCase(case).lesions and isinstance(again._values, np.memmap)


@unhurried
@given(
    st.sampled_from(["one", "three"]),
    st.tuples(*[st.floats(-25, 25)] * 3),
    st.floats(0.4, 6.0),
    st.booleans(),
)
def test_a_patch_of_a_case_is_that_of_its_whole_image(
    loaded: dict[str, LoadedCase], name: str, away: tuple[float, ...], spacing: float, turned: bool
) -> None:
    case = loaded[name]
    middle = np.array(case.grid.point(np.array(case.grid.size) / 2))
    x, y, z = (float(v) for v in middle + away)
    grid = PatchGrid((x, y, z), spacing, 16, oblique(20) if turned else AXIAL)
    expected = extract_patch(case.image, grid, outside=-77.0, antialias=True)
    assert case.patch(grid, -77.0) == pytest.approx(expected, abs=0.05)
    labels = extract_patch(case.components, grid, nearest=True)
    for lesion in case.lesions:
        # Where a sample lies just between two voxels, rounding decides.
        assert np.count_nonzero(case.target(lesion, grid) != (labels == lesion.label)) <= 8


# Samples


def samples_of(
    cases: dict[str, LoadedCase],
    mix: SampleMix | None = None,
    seed: int = 3,
    size: int = 32,
    **weights: float,
) -> PatchSamples:
    return PatchSamples(list(cases.values()), weights, size, (0.35, 6.0), seed, 1000, mix)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in ("patch", "target"))


MIXES = {
    "lesion": SampleMix(1, 0, 0),
    "inserted": SampleMix(0, 1, 0),
    "region": SampleMix(0, 0, 1),
    "all": SampleMix(),
}


@pytest.mark.parametrize("kind", MIXES)
def test_a_sample_is_a_finite_patch_and_a_target_that_is_not_empty(
    loaded: dict[str, LoadedCase], kind: str
) -> None:
    samples = samples_of(loaded, MIXES[kind])
    for index in range(12):
        sample = samples[index]
        assert sample["patch"].shape == sample["target"].shape == (1, 32, 32, 32)
        assert sample["patch"].dtype == torch.float32 and sample["target"].dtype == torch.bool
        assert torch.isfinite(sample["patch"]).all() and sample["patch"].abs().max() < 400
        assert sample["target"].sum() >= 6


def test_a_lesion_of_a_few_voxels_is_drawn_again(loaded: dict[str, LoadedCase]) -> None:
    # The lesion is 12 x 15 x 14 mm.
    samples = PatchSamples([loaded["one"]], {}, 32, (8.0, 8.0), 0, 100, MIXES["lesion"])
    assert min(int(samples[index]["target"].sum()) for index in range(25)) >= 6


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 999), min_size=1, max_size=3), st.integers(0, 5))
def test_a_sample_is_the_same_whenever_it_is_made(
    loaded: dict[str, LoadedCase], indices: list[int], seed: int
) -> None:
    made = samples_of(loaded, seed=seed)
    first = {index: made[index] for index in indices}
    assert all(same(made[index], first[index]) for index in reversed(indices))
    assert all(same(samples_of(loaded, seed=seed)[index], first[index]) for index in indices)


def test_samples_differ_by_index_and_by_seed(loaded: dict[str, LoadedCase]) -> None:
    made = [samples_of(loaded, seed=seed)[index] for seed in (1, 2) for index in (0, 1, 2)]
    assert not any(same(a, b) for a, b in itertools.combinations(made, 2))


def test_the_target_is_the_lesion_that_the_patch_shows(
    loaded: dict[str, LoadedCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples_module, "_augment", lambda patch, modality, rng: patch)
    samples = samples_of({"one": loaded["one"]}, MIXES["lesion"])
    for index in range(15):  # lesion voxels are 10 deviations of noise above the others
        patch, target = samples[index]["patch"], samples[index]["target"]
        core = torch.from_numpy(ndimage.binary_erosion(target.numpy()[0], border_value=1))[None]
        around = ndimage.binary_dilation(target.numpy()[0], iterations=3)
        outside = ~torch.from_numpy(ndimage.binary_dilation(target.numpy()[0]))[None]
        outside &= torch.from_numpy(around)[None]
        if core.any() and outside.any():
            assert patch[core].median() > patch[outside].median() + 0.5


def test_some_targets_are_another_readers_and_their_image_is_the_same(
    loaded: dict[str, LoadedCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples_module, "_augment", lambda patch, modality, rng: patch)
    cases = [loaded["one"]]
    for mix, least in ((MIXES["lesion"], 1), (MIXES["inserted"], 1), (MIXES["region"], 0)):
        mine, others = (
            PatchSamples(cases, {}, 32, (0.5, 2.0), 3, 1000, mix, redrawn=share) for share in (0.0, 1.0)
        )
        pairs = [(mine[index], others[index]) for index in range(6)]
        same_image = [(a, b) for a, b in pairs if torch.equal(a["patch"], b["patch"])]
        assert same_image
        assert sum(not torch.equal(a["target"], b["target"]) for a, b in same_image) >= least
        if not least:  # a region is what its edge says
            assert all(same(a, b) for a, b in pairs)


def test_a_source_without_weight_is_never_drawn(loaded: dict[str, LoadedCase]) -> None:
    other = samples_of({"one": loaded["one"], "three": loaded["three"]}, b=0.0)
    alone = samples_of({"one": loaded["one"], "three": loaded["three"]}, a=0.0)
    assert samples_of(loaded, b=3.0).source_shares.tolist() == [0.25, 0.75]
    replaced = LoadedCase(replace(loaded["one"].case, source="b"))
    changed = samples_of({"one": loaded["one"], "three": replaced}, b=0.0)
    assert all(same(other[index], changed[index]) for index in range(4))
    assert not any(same(other[index], alone[index]) for index in range(4))


def test_a_data_set_without_lesions_is_refused(loaded: dict[str, LoadedCase]) -> None:
    with pytest.raises(TrainingError, match="lesion"):
        samples_of({"none": loaded["none"]})


@unhurried
@given(seeds, st.sampled_from(["CT", "MR"]), st.integers(0, 16), st.integers(1, 7))
def test_what_lies_outside_the_image_is_filled(seed: int, modality: str, inside: int, eighths: int) -> None:
    rng = rng_of(seed)
    patch = np.full((16, 16, 16), samples_module._OUTSIDE, np.float32)
    patch[:inside] = rng.integers(-1000 if modality == "CT" else 0, 1000, (inside, 16, 16))
    if 0 < inside < 16:  # one to seven of the eight samples of these voxels lie outside
        patch[inside] = patch[inside - 1] + eighths / 8 * (samples_module._OUTSIDE - patch[inside - 1])
    filled = samples_module._fill_outside(patch, rng)
    assert np.isfinite(filled).all() and filled.min() > -2500 and filled.max() < 2500
    assert np.array_equal(filled[:inside], patch[:inside])


# Another reader


@unhurried
@given(seeds, st.floats(3.0, 9.0))
def test_another_reader_draws_the_same_lesion_along_another_edge(seed: int, radius: float) -> None:
    offsets = np.indices((24, 24, 24)) - np.array([11.0, 12.0, 12.5])[:, None, None, None]
    distance = np.linalg.norm(offsets, axis=0)
    lesion = distance < radius
    other = redrawn(lesion, rng_of(seed))
    assert (other & lesion).any() and largest_part(other).sum() == other.sum()
    # At most 3 voxels evenly, and four deviations of 1.8 voxels in places.
    assert not (other & (distance > radius + 3 + 4 * 1.8 + 0.5)).any()


def test_readers_draw_smaller_and_larger_and_not_always_the_same() -> None:
    lesion = block((6, 18), (6, 18), (8, 16))
    sizes = [int(redrawn(lesion, rng_of(seed)).sum()) for seed in range(40)]
    assert min(sizes) < 0.6 * lesion.sum() and max(sizes) > 1.4 * lesion.sum()
    assert len(set(sizes)) > 30
    assert abs(np.median(sizes) / lesion.sum() - 1) < 0.3


def test_a_reader_never_loses_a_lesion() -> None:
    speck = block((5, 6), (5, 6), (5, 6))
    assert all(redrawn(speck, rng_of(seed)).any() for seed in range(50))
    assert not redrawn(np.zeros((8, 8, 8), bool), rng_of(0)).any()
    assert redrawn(np.ones((8, 8, 8), bool), rng_of(0)).all()


# Masks that are far from right


@unhurried
@given(seeds, st.sampled_from([(1.0, 1.0, 1.0), (3.0, 0.7, 0.7)]))
def test_a_wrong_mask_is_a_part_of_the_lesion_or_all_of_it_and_more(
    seed: int, spacing: tuple[float, float, float]
) -> None:
    lesion = block((6, 18), (4, 20), (8, 16))
    wrong = wrong_mask(lesion, spacing, rng_of(seed))
    kept = (wrong & lesion).sum() / lesion.sum()
    if (wrong & ~lesion).any():
        assert kept == 1.0
        # What is too much lies within a ball round a voxel of the lesion.
        radius = 1.2 * np.cbrt(0.75 / np.pi * lesion.sum() * np.prod(spacing))
        far = ndimage.distance_transform_edt(~lesion, sampling=spacing)
        assert far[wrong].max() <= radius
    else:
        assert 0.15 < kept < 0.8 or kept == 1.0  # a ball in the middle of the lesion adds nothing


def test_wrong_masks_lack_a_side_or_the_outside_or_have_too_much() -> None:
    lesion = block((6, 18), (6, 18), (8, 16))
    masks = [wrong_mask(lesion, (1.0, 1.0, 1.0), rng_of(seed)) for seed in range(100)]
    assert 20 < sum(bool((mask & ~lesion).any()) for mask in masks) < 50
    parts = [mask for mask in masks if mask.sum() < lesion.sum()]
    assert len({mask.tobytes() for mask in parts}) == len(parts) > 40
    # A part leaves the lesion's other end far away: who clicks its middle clicks far from the mask.
    far = [ndimage.distance_transform_edt(~mask)[lesion].max() for mask in parts]
    assert np.median(far) > 6


def test_of_a_lesion_of_one_voxel_a_wrong_mask_keeps_it() -> None:
    speck = block((5, 6), (5, 6), (5, 6))
    assert all(wrong_mask(speck, (1.0, 1.0, 1.0), rng_of(seed))[speck].all() for seed in range(30))


# Clicks

masks = arrays(bool, (6, 5, 7))


@unhurried
@given(masks, masks, seeds)
def test_a_click_lies_on_a_mistake_and_says_which(target: np.ndarray, answer: np.ndarray, seed: int) -> None:
    click = simulate_click(target, answer, rng_of(seed))
    if (target == answer).all():
        assert click is None
        return
    assert click is not None
    voxel, label = click
    error = target ^ answer
    # A slip of the hand misses by a few voxels, and means what it missed.
    nearest = np.linalg.norm(np.argwhere(error) - voxel, axis=1).min()
    assert nearest < 12
    assert ((target == bool(label)) & error).any()


def test_the_first_clicks_correct_the_masks_that_are_given() -> None:
    network = build_model("", replace(TINY, lora_rank=0, all_clicks=True))
    n = network.config.patch_size
    target = torch.stack([target_of(block((8, 20), size=n))[0]] * 2)
    given = block((4, 16), (4, 16), (9, 21), size=n)
    seen: list[torch.Tensor] = []

    def rule(truth: torch.Tensor, masks: torch.Tensor) -> list[tuple[np.ndarray, int]]:
        seen.append(masks.clone())
        return [(np.array([10, 10, 10]), 1)] * 2

    list(turns(network, torch.zeros(2, 1, n, n, n), target, rule, [True, True], [None, given]))
    assert not seen[0][0].any() and np.array_equal(seen[0][1].numpy(), given)
    assert len(seen) == 2 and not torch.equal(seen[1], seen[0])  # then it is the answers


def test_few_clicks_slip_off_the_mistake() -> None:
    target, answer = block((4, 16), (4, 16), (4, 16)), block((4, 16), (4, 16), (9, 21))
    clicks = [simulate_click(target, answer, rng_of(seed)) for seed in range(400)]
    off = sum(bool((target == answer)[tuple(click[0])]) for click in clicks if click is not None)
    assert 0 < off < 0.05 * len(clicks)


def block(*slices: tuple[int, int], size: int = 24) -> np.ndarray:
    mask = np.zeros((size,) * 3, bool)
    mask[tuple(slice(*s) for s in slices)] = True
    return mask


@unhurried
@given(seeds)
def test_what_is_missed_gets_a_lesion_click_and_what_is_too_much_a_background_click(seed: int) -> None:
    target, shifted = block((4, 12), (4, 12), (4, 12)), block((4, 12), (4, 12), (8, 16))
    slips = habit_of(rng_of(seed)) == "slip"  # then the click is beside what it means
    first = simulate_click(target, None, rng_of(seed))
    assert first is not None and first[1] == 1 and (slips or target[tuple(first[0])])
    for answer, label in ((target & shifted, 1), (target | shifted, 0)):
        click = simulate_click(target, answer, rng_of(seed))
        assert click is not None and click[1] == label
        assert slips or (target ^ answer)[tuple(click[0])]
    assert simulate_click(target, target.copy(), rng_of(seed)) is None


def test_mostly_the_middle_of_the_largest_mistake_is_clicked() -> None:
    target = block((2, 14), (2, 14), (2, 14))
    specks = block((16, 24, 2), (0, 24, 2), (0, 24, 2))
    clicks = [simulate_click(target, specks, rng_of(seed)) for seed in range(200)]
    middle = [np.linalg.norm(c[0] - 7.5) < 4 for c in clicks if c is not None and c[1] == 1]
    assert 0.6 < sum(middle) / len(clicks) < 0.95
    assert len({tuple(c[0]) for c in clicks if c is not None}) > 20  # no two people click alike


def test_the_largest_mistake_is_clicked_though_another_is_deeper() -> None:
    slab, cube = block((0, 2)), block((10, 15), (10, 15), (10, 15))
    clicks = [simulate_click(slab | cube, None, rng_of(seed)) for seed in range(100)]
    assert sum(slab[tuple(click[0])] for click in clicks if click is not None) > 85


@unhurried
@given(masks)
def test_the_deepest_voxel_is_farthest_from_all_that_is_not_the_region(region: np.ndarray) -> None:
    if not region.any():
        return
    outside = np.argwhere(~np.pad(region, 1)) - 1
    depth = {
        voxel: np.linalg.norm(outside - voxel, axis=1).min()
        for voxel in map(tuple, np.argwhere(region).tolist())
    }
    assert depth[tuple(deepest_voxel(region).tolist())] == pytest.approx(max(depth.values()))


def test_the_largest_part_counts_corners_as_touching() -> None:
    two = block((0, 3), (0, 3), (0, 3)) | block((3, 6), (3, 6), (3, 6))
    small = block((10, 13), (10, 13), (10, 14))
    assert np.array_equal(largest_part(two | small), two)
    assert not largest_part(block((0, 0))).any()


# Losses


def logits_of(mask: np.ndarray, certainty: float = 20.0) -> torch.Tensor:
    return torch.from_numpy(np.where(mask, certainty, -certainty).astype(np.float32))[None, None]


def target_of(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(mask)[None, None]


@unhurried
@given(masks)
def test_a_perfect_answer_costs_nothing_and_its_opposite_much(mask: np.ndarray) -> None:
    assert float(dice_cross_entropy(logits_of(mask), target_of(mask))) == pytest.approx(0, abs=1e-4)
    assert float(dice_cross_entropy(logits_of(~mask), target_of(mask))) > 5
    better, worse = logits_of(mask, 2.0), logits_of(mask, 0.5)
    assert dice_cross_entropy(better, target_of(mask)) < dice_cross_entropy(worse, target_of(mask))


@unhurried
@given(masks, seeds)
def test_the_gradient_raises_the_lesion_and_lowers_the_rest(mask: np.ndarray, seed: int) -> None:
    logits = torch.from_numpy(rng_of(seed).normal(0, 2, (1, 1, *mask.shape)).astype(np.float32))
    logits.requires_grad_()
    dice_cross_entropy(logits, target_of(mask)).backward()
    assert logits.grad is not None
    assert ((logits.grad < 0) == target_of(mask)).all()


@unhurried
@given(st.lists(st.tuples(masks, masks), min_size=2, max_size=3))
def test_the_loss_of_a_batch_is_the_mean_of_its_patches(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    logits = torch.cat([logits_of(answer, 1.5) for answer, _ in pairs])
    target = torch.cat([target_of(truth) for _, truth in pairs])
    single = [dice_cross_entropy(logits[n : n + 1], target[n : n + 1]) for n in range(len(pairs))]
    assert float(dice_cross_entropy(logits, target)) == pytest.approx(float(torch.stack(single).mean()), 1e-5)


def test_dice_and_cross_entropy_weigh_the_same() -> None:
    mask = block((0, 2), (0, 4), (0, 4), size=4)
    unsure = torch.zeros((1, 1, 4, 4, 4))  # probability 1/2 everywhere
    dice = 1 - (2 * 16 + 1) / (64 / 4 + 32 + 1)
    assert float(dice_cross_entropy(unsure, target_of(mask))) == pytest.approx((dice + math.log(2)) / 2)


@unhurried
@given(masks, masks)
def test_iou_is_that_of_the_voxels(answer: np.ndarray, truth: np.ndarray) -> None:
    union = (answer | truth).sum()
    iou = true_iou(logits_of(answer), target_of(truth))
    assert iou.shape == (1, 1)
    assert float(iou) == pytest.approx((answer & truth).sum() / union if union else 0)


# Synthetic targets


@unhurried
@given(seeds, st.integers(3, 24))
def test_noise_is_smooth_with_mean_0_and_deviation_1(seed: int, cells: int) -> None:
    noise = smooth_noise(32, cells, rng_of(seed))
    assert noise.shape == (32, 32, 32) and noise.dtype == np.float32
    assert noise.mean() == pytest.approx(0, abs=1e-3) and noise.std() == pytest.approx(1, abs=1e-2)
    if cells <= 8:
        assert max(np.diff(noise, axis=axis).std() for axis in range(3)) < 0.75


@unhurried
@given(seeds, st.floats(2, 12))
def test_a_grown_shape_is_one_piece(seed: int, radius: float) -> None:
    shape = grown_shape(32, np.array([15.2, 16.4, 14.9]), radius, rng_of(seed))
    assert ndimage.label(shape, np.ones((3, 3, 3)))[1] == 1


def test_grown_shapes_are_about_as_large_as_asked_for_and_round_their_place() -> None:
    # The noise that warps a surface has no bound, so this holds for most shapes, not for each.
    centre = np.array([15.2, 16.4, 14.9])
    sizes, offsets = [], []
    for seed in range(60):
        radius = 2 + seed % 10
        shape = grown_shape(32, centre, radius, rng_of(seed))
        sizes.append(shape.sum() / (4 / 3 * np.pi * radius**3))
        offsets.append(np.linalg.norm(np.argwhere(shape).mean(axis=0) - centre) / radius)
    assert 0.8 < np.median(sizes) < 1.25 and np.median(offsets) < 0.2
    assert (
        np.mean((np.array(sizes) > 0.5) & (np.array(sizes) < 2)) > 0.9
        and np.mean(np.array(offsets) < 0.5) > 0.9
    )


@unhurried
@given(seeds, st.sampled_from([lobulated_shape, spiculated_shape]), st.floats(4, 10))
def test_a_lobulated_or_spiculated_shape_is_one_piece_about_as_large_as_asked(
    seed: int, draw: Callable[..., np.ndarray], radius: float
) -> None:
    shape = draw(32, np.array([16.0, 15.0, 17.0]), radius, rng_of(seed))
    assert shape.shape == (32, 32, 32) and ndimage.label(shape, np.ones((3, 3, 3)))[1] == 1
    assert 0.2 < shape.sum() / (4 / 3 * np.pi * radius**3) < 3.0


def test_lobes_and_spikes_make_a_shape_less_compact() -> None:
    def compactness(draw: Callable[..., np.ndarray]) -> float:
        shapes = [draw(48, np.full(3, 24.0), 12.0, rng_of(seed)) for seed in range(12)]
        surfaces = [(shape & ~ndimage.binary_erosion(shape)).sum() for shape in shapes]
        ratios = [surface / shape.sum() ** (2 / 3) for surface, shape in zip(surfaces, shapes, strict=True)]
        return float(np.mean(ratios))

    smooth = compactness(lambda *args: grown_shape(*args[:3], np.random.default_rng(0)))
    assert compactness(lobulated_shape) > smooth and compactness(spiculated_shape) > smooth


def test_a_leaning_shape_stops_at_the_wall() -> None:
    rng = rng_of(0)
    patch = rng.normal(0, 10, (32, 32, 32)).astype(np.float32)
    patch[:, :, 20:] += 500  # bone
    shape = block((8, 24), (8, 24), (10, 26), size=32)
    for seed in range(10):
        leaning = leaning_shape(shape, patch, rng_of(seed))
        assert not (leaning & ~shape).any() and leaning.sum() > 0.5 * shape.sum()
        assert leaning[:, :, 22:].sum() == 0 and leaning[16, 16, 14]


def test_a_shape_in_one_tissue_stays_whole() -> None:
    patch = rng_of(0).normal(0, 10, (32, 32, 32)).astype(np.float32)
    patch[0] = 5000  # a contrast elsewhere
    shape = block((8, 24), (8, 24), (8, 24), size=32)
    assert np.array_equal(leaning_shape(shape, patch, rng_of(1)), shape)


def test_a_merged_region_is_the_thing_at_its_seed() -> None:
    thing = block((9, 22), (10, 21), (8, 20), size=32)
    patch = rng_of(0).normal(0, 5, thing.shape).astype(np.float32) + 300 * thing.astype(np.float32)
    overlaps = []
    for seed in range(20):
        region = merged_region(patch, np.array([15, 15, 14]), rng_of(seed))
        if region is not None:
            assert region[15, 15, 14]
            overlaps.append(2 * (region & thing).sum() / (region.sum() + thing.sum()))
    assert len(overlaps) > 10 and np.median(overlaps) > 0.9


def test_there_is_no_merged_region_in_a_patch_of_one_value() -> None:
    assert merged_region(np.full((32,) * 3, 7, np.float32), np.array([16, 16, 16]), rng_of(0)) is None


@unhurried
@given(seeds)
def test_an_inserted_lesion_changes_its_place_and_nothing_far_from_it(seed: int) -> None:
    rng = rng_of(seed)
    patch = (100 + 20 * smooth_noise(32, 6, rng) + rng.normal(0, 5, (32,) * 3)).astype(np.float32)
    shape = grown_shape(32, np.array([16.0, 16.0, 16.0]), float(rng.uniform(3, 7)), rng)
    before = patch.copy()
    with mock.patch.object(synthetic, "_FADING", 0.0):
        changed = insert_lesion(patch, shape, rng)
    assert changed.dtype == np.float32 and np.isfinite(changed).all() and np.array_equal(patch, before)
    near = ndimage.binary_dilation(shape, np.ones((3, 3, 3)), iterations=5)
    assert np.array_equal(changed[~near], patch[~near])
    difference = np.abs(changed - patch)
    assert (
        difference[shape].mean() > 5 * difference[near & ~ndimage.binary_dilation(shape, iterations=2)].mean()
    )


def test_an_inserted_lesion_with_a_core_has_a_middle_unlike_its_rim() -> None:
    def contrast(seed: int, cored: float) -> float:
        rng = rng_of(seed)
        shape = grown_shape(48, np.array([24.0, 24.0, 24.0]), 12.0, rng)
        patch = (100 + rng.normal(0, 5, (48,) * 3)).astype(np.float32)
        with mock.patch.multiple(synthetic, _CORED=cored, _FADING=0.0):
            changed = insert_lesion(patch, shape, rng)
        depth = -distance_from_edge(shape)
        middle, rim = changed[depth > 0.9 * depth.max()], changed[(depth > 1) & (depth < 2)]
        return abs(float(middle.mean()) - float(rim.mean()))

    plain, cored = (np.median([contrast(seed, share) for seed in range(12)]) for share in (0.0, 1.0))
    assert cored > 3 * plain


@unhurried
@given(seeds)
def test_the_distance_from_an_edge_is_measured_from_between_the_voxels(seed: int) -> None:
    rng = rng_of(seed)
    lesion = grown_shape(32, rng.uniform(4, 28, 3), float(rng.uniform(3, 14)), rng)
    distance = distance_from_edge(lesion)
    inside, outside = ndimage.distance_transform_edt(lesion), ndimage.distance_transform_edt(~lesion)
    assert distance.dtype == np.float32 and ((distance < 0) == lesion).all()
    assert np.allclose(distance[~lesion], outside[~lesion] - 0.5, atol=1e-4)
    # Inside it is measured by way of the outermost voxels of the lesion: right to within a voxel.
    assert np.abs(distance[lesion] - (0.5 - inside[lesion])).max() < 1
    assert np.allclose(distance[inside == 1], -0.5)


@unhurried
@given(seeds, st.integers(0, 2), st.integers(2, 4))
def test_thick_slices_keep_what_is_seen_and_are_linear_in_between(seed: int, axis: int, step: int) -> None:
    patch = rng_of(seed).normal(size=(20, 20, 20))
    thick = samples_module._between_slices(patch, axis, step)
    seen = np.take(patch, np.arange(step // 2, 20, step), axis)
    expected = ndimage.zoom(seen, [20 / n for n in seen.shape], order=1)
    assert thick.shape == patch.shape and np.allclose(thick, expected, atol=1e-5)


@unhurried
@given(seeds)
def test_a_lesion_that_fades_has_half_its_contrast_at_its_edge(seed: int) -> None:
    rng = rng_of(seed)
    shape = grown_shape(48, np.array([24.0, 24.0, 24.0]), float(rng.uniform(5, 11)), rng)
    patch = (100 + rng.normal(0, 5, (48,) * 3)).astype(np.float32)
    with mock.patch.object(synthetic, "_FADING", 1.0):
        share = synthetic._faded(distance_from_edge(shape), rng)
        changed = insert_lesion(patch, shape, rng)
    assert ((share > 0.5) == shape).all() and share.min() >= 0 and share.max() <= 1
    inside, outside = ndimage.distance_transform_edt(shape), ndimage.distance_transform_edt(~shape)
    assert (share[inside == 1].mean() + share[outside == 1].mean()) / 2 == pytest.approx(0.5, abs=1e-3)
    beyond = outside - 0.5 > 2 * max(0.5, 0.5 * float(inside.max()))
    assert (share[beyond] == 0).all() and np.array_equal(changed[beyond], patch[beyond])
    # Farther out there is less of it.
    assert share[outside == 2].mean() < share[outside == 1].mean() < share[inside == 1].mean()


@unhurried
@example(2743033, 5, (22, 6, 6))  # one piece only beyond the patch
@given(seeds, st.integers(1, 14), st.tuples(*[st.integers(6, 25)] * 3))
def test_a_coherent_region_is_one_piece_of_like_brightness_round_its_seed(
    seed: int, cells: int, place: tuple[int, int, int]
) -> None:
    rng = rng_of(seed)
    patch = (100 * smooth_noise(32, cells, rng)).astype(np.float32)
    region = coherent_region(patch, np.array(place), rng)
    if region is None:
        return
    assert region[place] and ndimage.label(region, np.ones((3, 3, 3)))[1] == 1
    assert 40 <= region.sum() <= 0.25 * region.size
    assert patch[region].std() < patch.std()


def test_a_coherent_region_that_leaves_the_patch_reaches_its_border() -> None:
    patch = np.zeros((32, 32, 32), np.float32)
    patch[:, 10:22, 10:22] = 100  # a vessel that crosses the patch
    found = [coherent_region(patch, np.array([16, 16, 16]), rng_of(seed)) for seed in range(30)]
    regions = [region for region in found if region is not None]
    assert len(regions) > 5
    assert all(region[0].any() and region[-1].any() for region in regions)


@pytest.mark.parametrize(("side", "found"), [(3, False), (9, True), (30, False)])
def test_a_region_is_neither_a_speck_nor_most_of_the_patch(side: int, found: bool) -> None:
    start = 16 - side // 2
    bright = block(*[(start, start + side)] * 3, size=32)
    patch = np.where(bright, 1000, 0).astype(np.float32)
    regions = [coherent_region(patch, np.array([16, 16, 16]), rng_of(seed)) for seed in range(30)]
    assert any(region is not None for region in regions) is found


def test_there_is_no_region_in_a_patch_of_one_value() -> None:
    assert coherent_region(np.full((32,) * 3, 7, np.float32), np.array([16, 16, 16]), rng_of(0)) is None


# The answers to a series of clicks


@unhurried
@given(arrays(bool, (8, 8, 8)))
def test_a_given_mask_becomes_logits_of_its_share_in_each_cell(mask: np.ndarray) -> None:
    logits = mask_to_logits(mask, 4).numpy()
    share = mask.reshape(4, 2, 4, 2, 4, 2).mean(axis=(1, 3, 5))
    assert logits == pytest.approx(12 * share - 6, abs=1e-4)


@unhurried
@given(seeds)
def test_a_mask_to_start_from_is_wrong_but_near_the_lesion(seed: int) -> None:
    truth = block((0, 6), (8, 16), (20, 32), size=32)[None]  # it leaves the patch on two sides
    (start,) = _starting_masks(truth, [rng_of(seed)])
    if start is None:
        return
    assert start.any() and (start != truth[0]).any()
    near = ndimage.binary_dilation(truth[0], np.ones((3, 3, 3)), iterations=4)
    assert not (start & ~near).any()


def test_a_sixth_of_the_series_start_from_a_mask() -> None:
    truth = np.repeat(block((8, 20), (8, 20), (8, 20))[None], 300, axis=0)
    starts = _starting_masks(truth, [rng_of(n) for n in range(300)])
    assert 25 <= sum(start is not None for start in starts) <= 70


class Knows:
    """Stands for a network that gives a fixed answer, and notes what it was asked."""

    detail_branch = None

    def __init__(self, logits: torch.Tensor, all_clicks: bool) -> None:
        self.config = replace(TINY, patch_size=32, token_size=8, all_clicks=all_clicks)
        self.logits = logits
        self.asked: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def look(self, patch: torch.Tensor) -> PatchFeatures:
        return PatchFeatures(patch)

    def segment(self, features: Any, coords: Any, labels: Any, mask_logits: Any) -> Segmentation:
        self.asked.append((coords, labels, mask_logits))
        small = torch.nn.functional.avg_pool3d(self.logits, 2)
        return Segmentation(self.logits, small, true_iou(self.logits, self.logits > 0), small)


@pytest.mark.parametrize("all_clicks", [True, False])
def test_a_finished_answer_gets_no_further_clicks(all_clicks: bool) -> None:
    mask = block((8, 20), (8, 20), (8, 20), size=32)
    network = Knows(logits_of(mask), all_clicks)
    losses, dices = click_losses(network, logits_of(mask), target_of(mask), 3, rng_of(1))  # type: ignore[arg-type]
    assert len(losses) == len(dices) == len(network.asked) == 3
    assert max(float(loss) for loss in losses) < 1e-3 and dices == pytest.approx([1, 1, 1])
    assert [labels.tolist() for _, labels, _ in network.asked] == (
        [[[1]], [[1, -1]], [[1, -1, -1]]] if all_clicks else [[[1]], [[-1]], [[-1]]]
    )
    first = network.asked[0][0][0, 0].int().tolist()
    assert mask[tuple(first)]


def test_each_click_corrects_the_answer_before_it() -> None:
    target, answer = block((8, 20), (8, 20), (8, 20), size=32), block((8, 24), (8, 20), (8, 20), size=32)
    network = Knows(logits_of(answer, 3.0), all_clicks=False)
    click_losses(network, logits_of(target), target_of(target), 4, rng_of(2))  # type: ignore[arg-type]
    (_, label, prompt), *later = network.asked
    assert label.tolist() == [[1]] and not prompt.any() and later
    for coords, labels, prompt in later:
        assert labels.tolist() == [[0]] and coords[0, 0, 0] >= 20
        assert torch.equal(prompt, torch.nn.functional.avg_pool3d(logits_of(answer, 3.0), 2))


def test_the_last_and_the_first_click_are_learnt_from_before_others() -> None:
    mask = block((8, 20), (8, 20), (8, 20), size=32)
    network = Knows(logits_of(~mask), all_clicks=False)
    for seed in range(12):
        asked = len(network.asked)
        losses, dices = click_losses(network, logits_of(mask), target_of(mask), 5, rng_of(seed), 2)  # type: ignore[arg-type]
        made = len(network.asked) - asked
        assert len(losses) == min(2, made) and len(dices) == made


def test_up_to_the_most_clicks_are_made_mostly_all() -> None:
    mask = block((8, 20), (8, 20), (8, 20), size=32)
    network = Knows(logits_of(~mask), all_clicks=False)
    made = [
        len(click_losses(network, logits_of(mask), target_of(mask), 3, rng_of(seed))[0])  # type: ignore[arg-type]
        for seed in range(24)
    ]
    assert set(made) == {1, 2, 3} and made.count(3) > 12


# The configuration


def test_a_click_that_is_not_obeyed_costs_more_than_a_mistake_elsewhere() -> None:
    target = target_of(block((8, 20), (8, 20), (8, 20), size=32)).float()
    near = torch.zeros_like(target)
    near[0, 0, 12:15, 12:15, 12:15] = 1.0
    obeyed, elsewhere = 8 * target - 4, 8 * target - 4
    ignored = obeyed.clone()
    ignored[0, 0, 12:15, 12:15, 12:15] = -4.0
    elsewhere[0, 0, 0:3, 0:3, 0:3] = 4.0
    losses = [float(click_disobedience(logits, target, near)) for logits in (obeyed, elsewhere, ignored)]
    assert losses[0] == losses[1] < 0.05 < 3 < losses[2]


def test_weights_of_a_smaller_network_start_a_larger_one(folder: Path, tmp_path: Path) -> None:
    small = build_model("", replace(CONFIGURATIONS["msam-compact"], quality_width=0))
    path = tmp_path / "small.safetensors"
    save_weights(path, small.config, small.state_dict())
    config = TrainingConfig(data=folder, output=tmp_path, start=str(path), architecture="msam-compact")
    network = Trainer(config).network
    assert network.config == CONFIGURATIONS["msam-compact"]
    for name, value in small.state_dict().items():
        kept = value.half().to(value.dtype) if value.is_floating_point() else value  # files hold float16
        assert torch.equal(network.state_dict()[name].cpu(), kept), name
    with pytest.raises(TrainingError, match="parts that msam-vit-b has not"):
        Trainer(config.model_copy(update={"architecture": "msam-vit-b"}))


def test_fine_tuning_adds_an_update_and_an_adapter_and_leaves_the_encoder_alone(
    folder: Path, tmp_path: Path
) -> None:
    plain = build_model("", replace(TINY, lora_rank=0, mask_enhanced_adapter=False, encoder_depth=2))
    path = tmp_path / "plain.safetensors"
    save_weights(path, plain.config, plain.state_dict())
    config = TrainingConfig(data=folder, output=tmp_path, start=str(path), lora_rank=3)
    network = Trainer(config).network
    assert network.config == replace(plain.config, lora_rank=3, mask_enhanced_adapter=True)
    for name, value in plain.state_dict().items():
        assert torch.equal(network.state_dict()[name], value.half().float())
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning == {name for name, _ in network.adaptation_parameters()}
    assert any(".lora." in name for name in learning)
    assert any(name.startswith("mask_enhanced_adapter.") for name in learning)

    adapted = tmp_path / "adapted.safetensors"
    save_weights(adapted, network.config, network.state_dict())
    again = Trainer(config.model_copy(update={"start": str(adapted), "lora_rank": 5})).network
    assert again.config == network.config  # it goes on with the update that it has


def test_a_share_of_the_steps_ends_after_the_first_click() -> None:
    mask = np.zeros((32, 32, 32), bool)
    mask[10:20, 10:20, 10:20] = True
    target = torch.from_numpy(mask)[None, None]
    counts = []
    for seed in range(40):
        network = Knows(logits_of(~mask), all_clicks=True)
        _, dices = click_losses(network, target.float(), target, 4, rng_of(seed), first_clicks=0.5)
        counts.append(len(dices))
    assert 12 <= sum(count == 1 for count in counts) <= 32 and max(counts) == 4


def test_a_configuration_is_read_with_paths_relative_to_it(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: /elsewhere\noutput: ../runs/one\nminutes: 5\nmix: {region: 0}\nsource_weights: {sts: 2}\n"
    )
    config = TrainingConfig.read(path)
    assert (config.data, config.output) == (Path("/elsewhere"), tmp_path / "../runs/one")
    assert (config.minutes, config.architecture, config.mix) == (5, None, SampleMix(region=0))
    assert config.source_weights == {"sts": 2}


@pytest.mark.parametrize("name", ["default", "fine_tuning", "gpu"])
def test_the_example_configurations_are_some(name: str) -> None:
    config = TrainingConfig.read(Path(__file__).parents[1] / "configs" / f"{name}.yaml")
    assert config.architecture in {None, *CONFIGURATIONS} and config.start == "default"


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "configs").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_recipe_of_the_repository_can_be_read(path: Path) -> None:
    kinds = {"corrector": CorrectorConfig, "look fusion": FusionConfig, None: TrainingConfig}
    config = kinds[recipe_of(path)].read(path)
    assert config.data.name == ("packed" if path.stem.startswith("gpu") else "data")
    assert config.output.name == path.stem


def test_a_place_to_store_scans_is_relative_to_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data: .\noutput: out\nstore: ../scans\n")
    assert TrainingConfig.read(path).store == tmp_path / "../scans"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read"),
        ("data: .\noutput: out\ncolour: blue\n", "colour"),
        ("data: .\noutput: out\nmix: {lesions: 1}\n", "lesions"),
        ("data: .\n", "output"),
        ("data: .\noutput: out\nminutes: 0\n", "minutes"),
        (
            "data: .\noutput: out\narchitecture: msam-gigantic\n",
            r"no architecture 'msam-gigantic'.*msam-compact",
        ),
        ("data: .\noutput: out\nlora_rank: 4\n", "name them as 'start'"),
        ("data: .\noutput: out\nlora_rank: 4\nstart: x\narchitecture: msam-compact\n", "architecture out"),
        ("data: [\n", r"config\.yaml is not a training configuration"),
        ("", r"config\.yaml is not a training configuration"),
        (b"data: \xff\xfe\n", r"config\.yaml"),
        ("data: .\noutput: out\nmix: {lesion: 0, inserted: 0, region: 0}\n", "mix"),
        ("data: .\noutput: out\npatch_spacings: [3, 1]\n", "patch_spacings"),
        ("data: .\noutput: out\nsource_weights: {sts: -1}\n", "source_weights"),
    ],
)
def test_a_bad_configuration_is_said_to_be(
    tmp_path: Path, content: str | bytes | None, complaint: str
) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TrainingError, match=complaint):
        TrainingConfig.read(path)


# The trainer


class Clock:
    """Time that passes a second a step, however long a step takes."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    step = Trainer._step

    def timed_step(trainer: Trainer, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        result = step(trainer, batch)
        made.now += 1
        return result

    monkeypatch.setattr(run_module, "time", made)
    monkeypatch.setattr(Trainer, "_step", timed_step)
    return made


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small architectures to train, on the CPU, with as many threads as before."""
    plain = replace(TINY, lora_rank=0, encoder_depth=2, all_clicks=True)
    monkeypatch.setitem(CONFIGURATIONS, "tiny", plain)
    monkeypatch.setitem(CONFIGURATIONS, "tiny with detail", replace(plain, detail_width=8))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def training_folder(folder: Path, tmp_path: Path) -> Path:
    """The data folder with enough patients that some are left to train with."""
    rows = (folder / "cases.tsv").read_text().splitlines()[1:]
    copies = [row.replace("patient", f"patient {n}") for n in range(2) for row in rows]
    lines = [row.replace("\t", f" {n}\t", 1) for n, row in enumerate(copies)]
    table = "\n".join(
        "\t".join([*cells[:4], *(str(folder / cell) for cell in cells[4:])])
        for cells in (line.split("\t") for line in lines)
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cases.tsv").write_text(HEADER + table + "\n")
    return tmp_path / "data"


def config_of(data: Path, output: Path, architecture: str = "tiny", **values: Any) -> TrainingConfig:
    options: dict[str, Any] = {"workers": 0, "clicks": 2, "learning_rate": 1e-2, "average": 0.9} | values
    return TrainingConfig(data=data, output=output, architecture=architecture, **options)


def quiet(line: str) -> None:
    """Log nothing."""


@pytest.mark.parametrize(("architecture", "steps"), [("tiny", 40), ("tiny with detail", 24)])
def test_the_loss_of_a_repeated_lesion_goes_down(tmp_path: Path, architecture: str, steps: int) -> None:
    target = block((9, 23), (8, 21), (10, 24), size=32)
    patch = rng_of(0).normal(0, 0.3, target.shape) + target
    batch = {"patch": torch.from_numpy(patch.astype(np.float32))[None, None], "target": target_of(target)}
    trainer = Trainer(config_of(tmp_path, tmp_path, architecture, learning_rate=2e-2), quiet)
    trainer.network.train()
    results = [trainer._step(batch) for _ in range(steps)]
    assert trainer.progress.step == steps
    losses = [result["loss"] for result in results]
    assert np.mean(losses[-4:]) < 0.65 * np.mean(losses[:4])
    # The average follows the weights, behind them.
    weights = trainer.network.state_dict()["image_encoder.patch_embed.proj.weight"]
    average = trainer.average["image_encoder.patch_embed.proj.weight"]
    fresh = Trainer(config_of(tmp_path, tmp_path, architecture), quiet)
    start = fresh.network.state_dict()["image_encoder.patch_embed.proj.weight"]
    assert 0 < (average - start).norm() < (weights - start).norm()


def test_the_learning_rate_warms_up_and_falls_with_the_budget_that_is_spent(tmp_path: Path) -> None:
    trainer = Trainer(config_of(tmp_path, tmp_path, "tiny with detail", minutes=1), quiet)

    def rates(step: int, seconds: float) -> set[float]:
        trainer.progress = run_module.Progress(step, seconds)
        trainer._set_learning_rate()
        return {round(group["lr"], 9) for group in trainer.optimizer.param_groups}

    assert rates(1000, 0) == {1e-2, 5e-3}  # the convolutions and the transformers
    assert rates(74, 0) == {5e-3, 2.5e-3}
    assert rates(1000, 60) == rates(1000, 90) == {2e-4, 1e-4}
    assert rates(1000, 30) == {5.1e-3, 2.55e-3}


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    trainer = Trainer(config_of(tmp_path, tmp_path), quiet)
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(float("nan"))
    batch = {"patch": torch.zeros(1, 1, 32, 32, 32), "target": target_of(block((8, 20), size=32))}
    with pytest.raises(TrainingError, match="step 0 is not finite"):
        trainer._step(batch)


@pytest.mark.parametrize(("asked", "has_instructions"), [(True, True), (True, False), (False, True)])
def test_training_is_in_bfloat16_where_it_is_asked_for_and_quick(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: bool, has_instructions: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_instructions)
    trainer = Trainer(config_of(tmp_path, tmp_path, mixed_precision=asked), quiet)
    trainer.device = torch.device("cpu")
    trainer.network.cpu()
    seen: list[bool] = []

    def loss(batch: object, rng: object) -> dict[str, torch.Tensor]:
        seen.append(torch.is_autocast_enabled("cpu"))
        return {"loss": next(trainer.network.parameters()).sum()}

    monkeypatch.setattr(trainer, "_loss", loss)
    trainer._step({"patch": torch.zeros(1, 1, 32, 32, 32)})
    assert seen == [asked and has_instructions]


def state_of(output: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(output / "checkpoint.pt", weights_only=True)
    return state


def leaves(state: Any) -> list[Any]:
    if isinstance(state, dict):
        return [leaf for key in sorted(state, key=str) for leaf in leaves(state[key])]
    return [leaf for value in state for leaf in leaves(value)] if isinstance(state, list) else [state]


def assert_same_state(a: dict[str, Any], b: dict[str, Any]) -> None:
    for x, y in zip(leaves(a), leaves(b), strict=True):
        assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y


STEPS = 7
BUDGET = {"minutes": (STEPS - 0.5) / 60, "checkpoint_minutes": 1.5 / 60}  # a checkpoint every two steps


def stopped_before(step: int, error: type[BaseException]) -> Callable[..., dict[str, float]]:
    timed_step = Trainer._step

    def stop(trainer: Trainer, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        if trainer.progress.step == step:
            raise error
        return timed_step(trainer, batch)

    return stop


class WorkerThreads(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Samples that tell how many threads the process that makes them uses."""

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
        return {"patch": torch.full((1, 4, 4, 4), float(threads)), "target": torch.zeros(1, 4, 4, 4)}


@pytest.mark.parametrize(("again", "sizes"), [(0, [2, 2, 2, 2]), (2, [2, 2, 4, 4])])
def test_batches_are_made_by_one_thread_a_process_and_shown_again_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: int, sizes: list[int]
) -> None:
    seen: list[torch.Tensor] = []

    def loss(trainer: Trainer, batch: dict[str, torch.Tensor], rng: object) -> dict[str, torch.Tensor]:
        seen.append(batch["patch"])
        return {"loss": next(trainer.network.parameters()).sum()}

    monkeypatch.setattr(Trainer, "_samples", lambda trainer: WorkerThreads())
    monkeypatch.setattr(Trainer, "_loss", loss)
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(3)
    try:
        Trainer(config_of(tmp_path, tmp_path, again=again, workers=1, batch_size=2, steps=4), quiet).run()
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    assert [len(patch) for patch in seen] == sizes and all((patch == 1).all() for patch in seen)


@pytest.mark.parametrize("again", [0, 1])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    training_folder: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, again: int
) -> None:
    Trainer(config_of(training_folder, tmp_path / "whole", again=again, **BUDGET), quiet).run()
    whole = state_of(tmp_path / "whole")
    assert whole["progress"] == {"step": STEPS, "seconds": STEPS}

    config = config_of(training_folder, tmp_path / "parts", again=again, **BUDGET)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "_step", stopped_before(5, KeyboardInterrupt))
        Trainer(config, quiet).run()
    assert state_of(tmp_path / "parts")["progress"]["step"] == 4
    torch.manual_seed(99)  # another process has other random numbers
    lines: list[str] = []
    Trainer(config, lines.append).run()
    assert lines[0] == "resumed at step 4, 0.1 minutes"
    assert_same_state(state_of(tmp_path / "parts"), whole)
    names = [tmp_path / run / "weights.safetensors" for run in ("whole", "parts")]
    assert names[0].read_bytes() == names[1].read_bytes()
    left = {path.name for path in (tmp_path / "parts").iterdir()} - {"tensorboard"}
    assert left == {"cases", "checkpoint.pt", "log.csv", "weights.safetensors"}


def test_a_run_leaves_averaged_weights_and_a_log(training_folder: Path, tmp_path: Path, clock: Clock) -> None:
    config = config_of(training_folder, tmp_path / "run", minutes=2.5 / 60)
    lines: list[str] = []
    Trainer(config, lines.append).run()
    network = read_network(tmp_path / "run" / "weights.safetensors")
    assert network.config == CONFIGURATIONS["tiny"]
    average = state_of(tmp_path / "run")["average"]
    for name, value in network.state_dict().items():
        assert torch.equal(value, average[name].half().float())
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == ["step", "minutes", "loss", "dice_first", "dice_last"]
    assert (row["step"], row["minutes"]) == ("3", "0.05") and 0 < float(row["loss"]) < 2
    assert lines[0].startswith("4 cases, 7 lesions, ") and lines[-1].startswith("step 3  minutes 0.05  loss ")


def test_a_run_whose_budget_is_spent_is_left_as_it_is(
    training_folder: Path, tmp_path: Path, clock: Clock
) -> None:
    config = config_of(training_folder, tmp_path / "run", minutes=1.5 / 60)
    Trainer(config, quiet).run()
    before = state_of(tmp_path / "run")
    Trainer(config, quiet).run()
    assert_same_state(state_of(tmp_path / "run"), before)


def test_the_seed_decides_the_first_weights(tmp_path: Path) -> None:
    first, same_seed, other = (
        Trainer(config_of(tmp_path, tmp_path, seed=seed), quiet).network.state_dict() for seed in (1, 1, 2)
    )
    assert_same_state(first, same_seed)
    assert not torch.equal(*(s["image_encoder.patch_embed.proj.weight"] for s in (first, other)))


@pytest.mark.parametrize("damage", ["cut", "other network", "no checkpoint"])
def test_a_checkpoint_that_does_not_fit_is_refused_and_kept(
    training_folder: Path, tmp_path: Path, damage: str
) -> None:
    trainer = Trainer(config_of(training_folder, tmp_path), quiet)
    trainer.save()
    path = tmp_path / "checkpoint.pt"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    if damage == "no checkpoint":
        torch.save({"network": {}}, path)
    before = path.read_bytes()
    architecture = "tiny with detail" if damage == "other network" else "tiny"
    with pytest.raises(TrainingError, match="move it away") as caught:
        Trainer(config_of(training_folder, tmp_path, architecture), quiet).run()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_bytes() == before


# Real cases


def test_the_real_cases_split_and_give_samples(data_folder: Path) -> None:
    cases = read_cases(data_folder)
    assert len(cases) > 400 and {case.modality for case in cases} == {"CT", "MR"}
    training, validation = split_by_patient(cases)
    assert not patients(training) & patients(validation)
    for source in ("sts", "lidc", "ms"):
        assert len(patients(validation, source)) == math.ceil(len(patients(cases, source)) / 5)
        assert patients(training, source)
    nodule = LoadedCase(next(case for case in training if case.source == "lidc"))
    assert nodule.lesions and nodule.lesions[0].volume >= 60
    samples = PatchSamples([nodule], {}, 64, (0.35, 6.0), seed=0, length=10)
    for index in range(3):
        sample = samples[index]
        assert torch.isfinite(sample["patch"]).all() and 6 <= sample["target"].sum() < 64**3 / 2


def test_a_run_can_start_from_given_weights(training_folder: Path, tmp_path: Path, clock: Clock) -> None:
    Trainer(config_of(training_folder, tmp_path / "first", minutes=1.5 / 60), quiet).run()
    weights = tmp_path / "first" / "weights.safetensors"
    config = config_of(training_folder, tmp_path / "second").model_copy(
        update={"start": str(weights), "seed": 5}
    )
    expected = read_network(weights).state_dict()
    assert_same_state(Trainer(config, quiet).network.state_dict(), expected)


# The log of a run


def logged(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_log_goes_on_after_a_kill_without_the_rows_that_come_again(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    for step in (50, 100, 150):
        log.write({"step": step, "loss": 1 / step})
    again = TrainingLog(tmp_path, step=120)  # the checkpoint is older than the last row
    again.write({"step": 150, "loss": 0.5})
    again.close()
    rows = logged(tmp_path / "log.csv")
    assert [int(row["step"]) for row in rows] == [50, 100, 150] and float(rows[-1]["loss"]) == 0.5


def test_tensorboard_shows_the_same_curve(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = TrainingLog(tmp_path)
    for step in (50, 100):
        log.write({"step": step, "loss": step / 1000, "dice_last": 0.5})
    log.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "dice_last"}
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [
        (50, pytest.approx(0.05)),
        (100, pytest.approx(0.1)),
    ]


def test_without_tensorboard_there_is_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    log = TrainingLog(tmp_path)
    log.write({"step": 50, "loss": 0.1})
    log.close()
    assert len(logged(tmp_path / "log.csv")) == 1 and not (tmp_path / "tensorboard").exists()


def test_a_terminal_shows_how_far_a_run_is(
    training_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = config_of(training_folder, tmp_path / "run", steps=2)
    Trainer(config, quiet).run()
    assert "step" not in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    Trainer(config.model_copy(update={"output": tmp_path / "other"}), quiet).run()
    assert "/2 [" in capsys.readouterr().err


# Several processes


def test_two_processes_learn_what_one_with_twice_the_batch_learns(
    training_folder: Path, tmp_path: Path
) -> None:
    plain = replace(TINY, lora_rank=0, encoder_depth=2, all_clicks=True)
    start = tmp_path / "start.safetensors"
    torch.manual_seed(0)
    save_weights(start, plain, build_model("", plain).state_dict())

    def config(name: str, batch_size: int) -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(
            f"data: {training_folder}\noutput: {tmp_path / name}\nstart: {start}\nminutes: 60\nsteps: 4\n"
            f"batch_size: {batch_size}\nclicks: 3\nworkers: 0\nthreads: 1\nmixed_precision: false\n"
        )
        return path

    command = [sys.executable, "-m", "MSAMLogic.cli", "train"]
    runs = {
        "one": [*command, str(config("one", 2))],
        "two": [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "MSAMLogic.cli", "train", str(config("two", 1))),
        ],
    }
    for run in runs.values():
        done = subprocess.run(run, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (state_of(tmp_path / name) for name in runs)
    assert one["progress"]["step"] == two["progress"]["step"] == 4
    for name, value in one["network"].items():
        torch.testing.assert_close(two["network"][name], value, rtol=1e-4, atol=1e-5)
    losses = [float(logged(tmp_path / name / "log.csv")[-1]["loss"]) for name in runs]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_a_run_ends_after_its_steps(training_folder: Path, tmp_path: Path) -> None:
    config = config_of(training_folder, tmp_path / "run", steps=3)
    Trainer(config, quiet).run()
    assert state_of(tmp_path / "run")["progress"]["step"] == 3
