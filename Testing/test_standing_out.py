"""How much a mask stands out from what surrounds it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MSAMLogic.looking.standing_out import standing_out

N = 32
DISTANCE = np.linalg.norm(np.stack(np.indices((N, N, N))) - (N - 1) / 2, axis=0)
NOISE = np.random.default_rng(0).normal(0, 10, DISTANCE.shape)


def ball(radius: float) -> np.ndarray:
    return np.clip(radius - DISTANCE + 0.5, 0.0, 1.0).astype(np.float32)


@pytest.mark.parametrize("contrast", [30.0, -30.0])
def test_it_is_the_contrast_in_units_of_the_noise(contrast: float) -> None:
    assert standing_out(contrast * ball(9.0) + NOISE, ball(9.0)) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("drawn", [4.0, 14.5])
def test_a_part_of_a_lesion_and_much_more_than_it_stand_out_less(drawn: float) -> None:
    image = 100 * ball(9.0) + NOISE
    assert standing_out(image, ball(drawn)) < 0.1 * standing_out(image, ball(9.0))


def test_a_core_that_hardly_differs_stands_out_less_than_the_lesion() -> None:
    image = 60 * ball(9.0) - 6 * ball(4.0) + NOISE
    assert standing_out(image, ball(4.0)) < 0.25 * standing_out(image, ball(9.0))


def test_what_lies_farther_away_does_not_count() -> None:
    image = 30 * ball(9.0) + NOISE
    other = image + np.where(DISTANCE > 14, 1000.0, 0.0)
    assert standing_out(other, ball(9.0)) == standing_out(image, ball(9.0))


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 100.0), st.floats(-1000.0, 1000.0), st.booleans())
def test_units_and_sign_of_the_brightness_do_not_matter(scale: float, offset: float, inverted: bool) -> None:
    image = 30 * ball(9.0) + NOISE
    other = image * (-scale if inverted else scale) + offset
    assert standing_out(other, ball(9.0)) == pytest.approx(standing_out(image, ball(9.0)), rel=1e-3)


@pytest.mark.filterwarnings("error")
def test_what_nobody_saw_does_not_count() -> None:
    image = 30 * ball(9.0) + NOISE
    image[:, :, : N // 2] = np.nan
    assert standing_out(image, ball(9.0)) == pytest.approx(3.0, rel=0.1)
    assert standing_out(np.full((N, N, N), np.nan), ball(9.0)) == 0.0


@pytest.mark.filterwarnings("error")
def test_a_mask_without_surroundings_does_not_stand_out() -> None:
    assert standing_out(NOISE, np.ones((N, N, N))) == 0.0
    assert standing_out(NOISE, np.zeros((N, N, N))) == 0.0


def test_a_few_cells_are_compared_by_themselves() -> None:
    few = (DISTANCE < 1).astype(np.float32)
    assert standing_out(NOISE + 1000 * few, few) > 50


def test_without_noise_any_contrast_is_clear() -> None:
    assert standing_out(ball(9.0) > 0.5, ball(9.0)) == float("inf")
    assert standing_out(np.ones((N, N, N)), ball(9.0)) == 0.0
