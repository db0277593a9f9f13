"""Scans seen otherwise before clicks on them are recorded."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from images import AXIAL, LEFT_HANDED, balls, oblique

from MSAMLogic.training.recorded_scans import drawn_scan
from MSAMLogic.training.samples import PatchSamples
from MSAMLogic.training.scan_variation import varied_scan

Modality = Literal["CT", "MR"]


def scan(direction: tuple[float, ...] = AXIAL, spacing: float = 1.0) -> tuple[sitk.Image, np.ndarray]:
    """Return a scan with a bright ball off its middle, and the ball."""
    image = balls((40, 44, 48), (spacing,) * 3, direction, (0.0, 0.0, 0.0), dtype=np.int16)
    values = sitk.GetArrayFromImage(image) * 3
    i, j, k = np.meshgrid(np.arange(40), np.arange(44), np.arange(48), indexing="ij")
    ball = ((i - 14) ** 2 + (j - 25) ** 2 + (k - 20) ** 2 < 64).transpose(2, 1, 0)
    values[ball] = 800
    made = sitk.GetImageFromArray(values)
    made.CopyInformation(image)
    return made, ball


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    modality=st.sampled_from(["CT", "MR"]),
    direction=st.sampled_from([AXIAL, LEFT_HANDED, oblique()]),
    spacing=st.sampled_from([0.25, 0.7, 1.0, 4.0]),
)
def test_the_lesion_stays_where_the_scan_shows_it(
    seed: int, modality: Modality, direction: tuple[float, ...], spacing: float
) -> None:
    image, ball = scan(direction, spacing)
    varied, lesion = varied_scan(image, modality, ball, np.random.default_rng(seed))
    values = sitk.GetArrayFromImage(varied)
    assert values.shape == lesion.shape and lesion.any() and np.isfinite(values).all()
    inside, outside = float(np.median(values[lesion])), float(np.median(values[~lesion]))
    assert abs(inside - outside) > 300  # inverted or not
    # Voxel by voxel: of those that are nearer to the ball's brightness nearly all are the lesion's.
    nearer = np.abs(values - inside) < np.abs(values - outside)
    overlap = 2 * np.count_nonzero(nearer & lesion) / (np.count_nonzero(nearer) + np.count_nonzero(lesion))
    assert overlap > 0.8


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), spacing=st.floats(0.2, 6.0))
def test_voxels_keep_a_size_that_scanners_have(seed: int, spacing: float) -> None:
    image, ball = scan(spacing=spacing)
    varied, _ = varied_scan(image, "MR", ball, np.random.default_rng(seed))
    finest, thickest = min(varied.GetSpacing()), max(varied.GetSpacing())
    assert min(spacing, 0.3) - 1e-6 <= finest <= max(spacing, 3.0) + 1e-6
    assert thickest <= max(8.0, finest + 1e-6)
    directions = np.asarray(varied.GetDirection()).reshape(3, 3)
    assert directions.T @ directions == pytest.approx(np.eye(3), abs=1e-6)


def test_scans_are_stretched_turned_and_seen_through_thicker_slices() -> None:
    image, ball = scan()
    seen = [varied_scan(image, "MR", ball, np.random.default_rng(seed)) for seed in range(40)]
    sides = [min(varied.GetSpacing()) for varied, _ in seen]
    assert min(sides) < 0.7 and max(sides) > 1.4 and 5 < sides.count(1.0) < 25
    assert {len(lesion) for _, lesion in seen} == {48, 24, 16}
    for varied, lesion in seen:  # fewer slices are as much thicker
        across, _, along = varied.GetSpacing()
        assert along / across == pytest.approx(48 / len(lesion))
    assert len({varied.GetDirection() for varied, _ in seen}) > 3
    mirrored = [float(np.argwhere(lesion)[:, 2].mean()) > 20 for _, lesion in seen]
    assert 8 < sum(mirrored) < 32
    middles = [np.median(sitk.GetArrayFromImage(varied)[~lesion]) for varied, lesion in seen]
    insides = [np.median(sitk.GetArrayFromImage(varied)[lesion]) for varied, lesion in seen]
    assert 0 < sum(a < b for a, b in zip(insides, middles, strict=True)) < 12  # contrast inverted


def test_hounsfield_units_stay_what_they_are() -> None:
    image, ball = scan()
    for seed in range(12):
        varied, lesion = varied_scan(image, "CT", ball, np.random.default_rng(seed))
        assert np.median(sitk.GetArrayFromImage(varied)[lesion]) == pytest.approx(800, abs=60)


def test_the_scan_itself_stays_as_it_is_and_chance_comes_from_the_seed() -> None:
    image, ball = scan()
    before, whole = sitk.GetArrayFromImage(image), ball.copy()
    one, again, other = (varied_scan(image, "MR", ball, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (sitk.GetArrayFromImage(image) == before).all() and (ball == whole).all()
    assert (sitk.GetArrayFromImage(one[0]) == sitk.GetArrayFromImage(again[0])).all()
    assert one[0].GetSpacing() == again[0].GetSpacing() and (one[1] == again[1]).all()
    assert sitk.GetArrayFromImage(one[0]).tobytes() != sitk.GetArrayFromImage(other[0]).tobytes()


def test_a_lesion_thinner_than_thick_slices_is_not_lost() -> None:
    image, _ = scan()
    flat = np.zeros((48, 44, 40), bool)
    flat[20, 20:26, 10:16] = True
    for seed in range(30):
        _, lesion = varied_scan(image, "MR", flat, np.random.default_rng(seed))
        assert lesion.any()


def test_a_share_of_the_drawn_scans_is_varied(two_scans: PatchSamples) -> None:
    def differ(varied: float) -> int:
        count = 0
        for seed in range(20):
            plain, _, truth = drawn_scan(two_scans, np.random.default_rng(seed))
            seen, _, lesion = drawn_scan(two_scans, np.random.default_rng(seed), varied)
            same_values = sitk.GetArrayFromImage(seen).tobytes() == sitk.GetArrayFromImage(plain).tobytes()
            count += not (same_values and (truth.shape == lesion.shape and (truth == lesion).all()))
        return count

    assert differ(0.0) == 0 and differ(1.0) == 20 and 3 < differ(0.5) < 17
