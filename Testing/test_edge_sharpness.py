"""How sharp an edge of the image a mask's edge follows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MSAMLogic.looking.edge_sharpness import edge_sharpness

N = 32
DISTANCE = np.linalg.norm(np.stack(np.indices((N, N, N))) - (N - 1) / 2, axis=0)


def ball(radius: float) -> np.ndarray:
    return np.clip(radius - DISTANCE + 0.5, 0.0, 1.0).astype(np.float32)


def scan(radius: float = 9.0, contrast: float = 100.0, noise: float = 10.0) -> np.ndarray:
    return contrast * ball(radius) + np.random.default_rng(0).normal(0, noise, DISTANCE.shape)


@pytest.mark.parametrize("contrast", [100.0, -100.0])
@pytest.mark.parametrize("other", [4.0, 6.5, 11.5, 14.0])
def test_a_mask_on_the_border_is_sharper_than_one_within_or_beyond(contrast: float, other: float) -> None:
    image = scan(contrast=contrast)
    assert edge_sharpness(image, ball(9.0)) > 2
    assert edge_sharpness(image, ball(other)) < 0.5 * edge_sharpness(image, ball(9.0))


def test_half_a_border_counts_for_half() -> None:
    image = scan(noise=2.0)
    half = ball(9.0)
    half[N // 2 :] = ball(14.0)[N // 2 :]
    assert edge_sharpness(image, half) < 0.7 * edge_sharpness(image, ball(9.0))


def test_an_edge_that_changes_sides_is_none() -> None:
    """The mask is as bright as what lies on its left, darker than what lies on its right, by as much."""
    image = np.linspace(-100, 100, N)[:, None, None] * np.ones((N, N, N))
    assert edge_sharpness(image, ball(9.0)) < 0.05


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 100.0), st.floats(-1000.0, 1000.0), st.booleans())
def test_units_and_sign_of_the_brightness_do_not_matter(scale: float, offset: float, inverted: bool) -> None:
    image = scan()
    other = image * (-scale if inverted else scale) + offset
    assert edge_sharpness(other, ball(9.0)) == pytest.approx(edge_sharpness(image, ball(9.0)), rel=1e-3)


def test_the_border_of_the_scan_is_no_edge() -> None:
    image = np.full((N, N, N), 1000.0) + np.random.default_rng(0).normal(0, 10, (N, N, N))
    image[:, :, : N // 2] = np.nan
    mask = (~np.isnan(image)).astype(np.float32)
    assert edge_sharpness(image, mask) < 0.5


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "image, share",
    [
        (np.full((N, N, N), np.nan), ball(9.0)),
        (np.full((N, N, N), 7.0), ball(9.0)),
        (scan(), np.zeros((N, N, N))),
        (scan(), np.ones((N, N, N))),
        (np.where(np.arange(N) < 2, scan(), np.nan), ball(9.0)),
    ],
    ids=["no scan", "no contrast", "no mask", "all mask", "a rim of the scan"],
)
def test_without_an_edge_there_is_no_sharpness(image: np.ndarray, share: np.ndarray) -> None:
    assert edge_sharpness(image, share) == 0.0
