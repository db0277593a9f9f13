"""Normalisation as the networks were trained with, and the guess of CT or MR."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from MSAMLogic.intensity import guess_modality, normalise

unhurried = settings(max_examples=60, deadline=None)


def patches(low: float, high: float) -> st.SearchStrategy[np.ndarray]:
    values = st.integers(int(low), int(high)).map(float)
    return arrays(np.float32, (3, 4, 5), elements=values)


def image(values: np.ndarray, **metadata: str) -> sitk.Image:
    made = sitk.GetImageFromArray(values.astype(np.int16))
    for key, value in metadata.items():
        made.SetMetaData(key.replace("_", "|"), value)
    return made


@unhurried
@given(patches(-300, 300))
def test_voxels_above_zero_get_mean_0_and_deviation_1(patch: np.ndarray) -> None:
    foreground = patch > 0
    if len(np.unique(patch[foreground])) < 2:
        return
    normal = normalise(patch, "MR")
    assert normal.dtype == np.float32 and normal.shape == patch.shape
    assert normal[foreground].mean() == pytest.approx(0, abs=1e-4)
    assert normal[foreground].std() == pytest.approx(1, abs=1e-4)
    assert (np.sign(np.diff(normal.ravel())) == np.sign(np.diff(patch.ravel()))).all()


def test_the_air_round_a_body_does_not_move_its_values() -> None:
    patch = np.zeros((8, 8, 8), np.float32)
    patch[2:6] = np.random.default_rng(0).integers(1, 200, (4, 8, 8))
    assert normalise(patch, "MR")[2:6] == pytest.approx(normalise(patch[2:6], "MR"), abs=1e-5)


@unhurried
@given(patches(-3000, 3000))
def test_ct_is_clamped_to_a_thousand_hounsfield_units(patch: np.ndarray) -> None:
    clamped = np.clip(patch, -1000, 1000)
    assert np.array_equal(normalise(patch, "CT"), normalise(clamped, "CT"))
    assert np.array_equal(normalise(clamped, "CT"), normalise(clamped, "MR"))


def test_mr_has_no_scale_and_is_not_clamped() -> None:
    patch = np.arange(1, 4001, dtype=np.float32).reshape(20, 20, 10)
    assert normalise(patch, "MR").max() == pytest.approx(normalise(patch / 100, "MR").max(), abs=1e-4)
    assert len(np.unique(normalise(patch, "MR"))) == 4000


@unhurried
@given(patches(-1000, 0))
def test_a_patch_without_voxels_above_zero_is_normalised_over_all(patch: np.ndarray) -> None:
    if patch.min() == patch.max():
        return
    normal = normalise(patch, "CT")
    assert normal.mean() == pytest.approx(0, abs=1e-4) and normal.std() == pytest.approx(1, abs=1e-4)


def test_a_single_voxel_above_zero_is_no_foreground() -> None:
    patch = np.full((4, 4, 4), -800, np.float32)
    patch[0] = -700
    patch[1, 1, 1] = 40
    assert normalise(patch, "CT").std() == pytest.approx(1, abs=1e-4)


def test_a_handful_of_voxels_above_zero_is_no_foreground_and_a_lesion_is() -> None:
    patch = np.random.default_rng(0).integers(-900, -700, (16, 16, 16)).astype(np.float32)
    patch[0, 0, :3] = 10, 20, 30
    assert normalise(patch, "CT").std() == pytest.approx(1, abs=1e-4)
    patch[:3, :3, :3] = np.arange(1, 28).reshape(3, 3, 3)
    assert normalise(patch, "CT")[:3, :3, :3].std() == pytest.approx(1, abs=1e-4)


@unhurried
@given(st.floats(-2000, 2000, width=32), st.sampled_from(["CT", "MR"]))
def test_a_constant_patch_becomes_zeros(value: float, modality: str) -> None:
    patch = np.full((9, 9, 9), value, np.float32)
    assert not normalise(patch, modality).any()  # type: ignore[arg-type]


@unhurried
@given(st.floats(0.0625, 900, width=32))
@example(1.9)  # its mean in float32 is another number
def test_a_patch_of_two_values_keeps_its_contrast(value: float) -> None:
    patch = np.zeros((9, 9, 9), np.float32)
    patch[:4] = value
    normal = normalise(patch, "MR")
    assert normal.std() == pytest.approx(1, abs=1e-4)
    assert normal[0, 0, 0] > normal[-1, 0, 0]


@pytest.mark.parametrize("size", [(5, 6, 7), (40, 200, 130)])
def test_air_tells_a_ct(size: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(-100, 1500, size)
    assert guess_modality(image(values)) == "MR"
    values[size[0] // 2 :, : size[1] // 3, : size[2] // 3] = -1000
    assert guess_modality(image(values)) == "CT"


@pytest.mark.parametrize("key", ["0008_0060", "modality", "Modality"])
def test_the_modality_that_the_image_carries_decides(key: str) -> None:
    air, bright = np.full((4, 4, 4), -1000), np.full((4, 4, 4), 100)
    assert guess_modality(image(bright, **{key: "ct "})) == "CT"
    assert guess_modality(image(air, **{key: "MR"})) == "MR"
    assert guess_modality(image(air, **{key: "PT"})) == "MR"
