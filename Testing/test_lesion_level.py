"""How likely a voxel must be lesion for a correction to make it lesion; needs no torch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MSAMLogic.correcting.lesion_level import expected_dice, lesion_level
from MSAMLogic.evaluation.metrics import dice


@given(st.integers(1, 200))
def test_the_more_clicks_the_better_the_mask_and_the_surer_a_correction_must_be(clicks: int) -> None:
    assert 0.5 < expected_dice(clicks) < expected_dice(clicks + 1) < 1
    assert lesion_level(clicks) < lesion_level(clicks + 1) < 0


def test_the_level_is_where_the_probability_is_half_the_dice() -> None:
    for clicks in (1, 2, 5, 10):
        assert 1 / (1 + np.exp(-lesion_level(clicks))) == pytest.approx(expected_dice(clicks) / 2)


@pytest.mark.parametrize("sharpness", [1.0, 2.0, 4.0])
def test_a_mask_has_the_largest_dice_with_what_is_more_likely_than_half_of_it(sharpness: float) -> None:
    """The theorem that the level rests on, on voxels whose probabilities are true."""
    rng = np.random.default_rng(0)
    likely = 1 / (1 + np.exp(-sharpness * (rng.normal(-1.0, 1.5, 200_000))))
    lesion = rng.random(likely.shape) < likely
    levels = np.linspace(0.05, 0.95, 91)
    scores = [dice(lesion, likely > level) for level in levels]
    assert levels[int(np.argmax(scores))] == pytest.approx(max(scores) / 2, abs=0.03)
