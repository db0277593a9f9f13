"""Clicks on a whole batch are those on one patch after another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.largest_error import largest_part
from MSAMLogic.training.batch_clicks import deepest_voxels, simulate_clicks
from MSAMLogic.training.batch_parts import largest_parts
from MSAMLogic.training.clicks import deepest_voxel, simulate_click

Masks = NDArray[np.bool_]
N = 20


def blobs(seed: int, count: int, share: float) -> Masks:
    """Return masks of several smooth parts each, of which no two are of one size or depth by design."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.normal(size=(N, N, N)), 1.3) for _ in range(count)]
    return np.array([field > np.quantile(field, 1 - share) for field in fields])


def readers(seed: int, count: int) -> list[np.random.Generator]:
    return [np.random.default_rng((seed, number)) for number in range(count)]


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), share=st.floats(0.05, 0.6))
def test_every_patch_is_clicked_as_it_is_alone(seed: int, share: float) -> None:
    target, answer = blobs(seed, 5, share), blobs(seed + 1, 5, share)
    answer[0] = False  # nothing yet
    answer[1] = target[1]  # nothing wrong
    answer[2] = target[2] & (np.arange(N) < N // 2)
    together = simulate_clicks(torch.from_numpy(target), torch.from_numpy(answer), readers(seed, 5))
    alone = [
        simulate_click(lesion, mask, reader)
        for lesion, mask, reader in zip(target, answer, readers(seed, 5), strict=True)
    ]
    assert together[1] is None and alone[1] is None
    for index, (made, expected) in enumerate(zip(together, alone, strict=True)):
        if made is None or expected is None:
            assert made is expected
            continue
        # Of equally large parts, or equally deep voxels, either may be meant.
        if is_ambiguous(target[index] ^ answer[index]):
            continue
        assert made[1] == expected[1] and made[0].tolist() == expected[0].tolist()


def test_hands_slip_in_a_batch_as_they_do_alone() -> None:
    """Few clicks slip, and only many readers of one patch show it; what is hit is meant all the same."""
    count = 300
    target, answer = blobs(4, 1, 0.2)[0], np.zeros((N, N, N), bool)
    together = simulate_clicks(
        torch.from_numpy(np.stack([target] * count)),
        torch.from_numpy(np.stack([answer] * count)),
        readers(9, count),
    )
    alone = [simulate_click(target, answer, reader) for reader in readers(9, count)]
    missed = 0
    for made, expected in zip(together, alone, strict=True):
        assert made is not None and expected is not None
        assert made[0].tolist() == expected[0].tolist() and made[1] == expected[1] == 1
        missed += not target[tuple(made[0])]
    assert missed > 0


def is_ambiguous(error: Masks) -> bool:
    labels, _ = ndimage.label(error, np.ones((3, 3, 3)))
    sizes = np.sort(np.bincount(labels.ravel())[1:])
    return len(sizes) > 1 and bool(sizes[-1] == sizes[-2])


@pytest.mark.parametrize("share", [0.02, 0.3, 0.97])
def test_the_largest_part_is_the_one_that_scipy_finds(share: float) -> None:
    masks = blobs(3, 6, share)
    found = largest_parts(torch.from_numpy(masks)).numpy()
    for mask, part in zip(masks, found, strict=True):
        assert part.sum() == largest_part(mask).sum() > 0 and not (part & ~mask).any()
        assert ndimage.label(part, np.ones((3, 3, 3)))[1] == 1


def test_a_part_that_winds_through_the_patch_is_one() -> None:
    snake = np.zeros((1, N, N, N), bool)
    snake[0, 0, ::2] = True  # rows ...
    snake[0, 0, 1::4, -1] = True  # ... joined at one end, then at the other
    snake[0, 0, 3::4, 0] = True
    assert largest_parts(torch.from_numpy(snake)).numpy().sum() == snake.sum()


def test_parts_of_thin_noise_wind_through_the_patch_and_are_found_whole() -> None:
    """About a tenth of all voxels, at random, just hang together: parts as long and thin as can be."""
    rng = np.random.default_rng(6)
    masks = rng.random((12, 32, 32, 32)) < rng.uniform(0.08, 0.12, (12, 1, 1, 1))
    for mask, part in zip(masks, largest_parts(torch.from_numpy(masks)).numpy(), strict=True):
        labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
        assert part.sum() == np.bincount(labels.ravel())[1:].max()
        assert len(np.unique(labels[part])) == 1


def test_an_empty_mask_has_no_part() -> None:
    assert not largest_parts(torch.zeros(2, N, N, N, dtype=torch.bool)).any()


def test_the_deepest_voxel_is_found_and_the_edge_of_the_patch_counts() -> None:
    masks = np.concatenate([blobs(seed, 7, share) for seed, share in ((8, 0.4), (9, 0.02), (10, 0.8))])
    masks[3] = True  # thin and thick ones stand side by side
    found = deepest_voxels(torch.from_numpy(masks))
    for mask, voxel in zip(masks, found, strict=True):
        assert voxel.tolist() == deepest_voxel(mask).tolist()


def test_a_plate_is_no_deeper_than_it_is_thick() -> None:
    """Along its rows a plate looks deep, and what is near lies across them."""
    plate = np.zeros((3, N, N, N), bool)
    for axis in range(3):
        within = [slice(2, -2)] * 3
        within[axis] = slice(6, 9)
        plate[axis][tuple(within)] = True
    for axis, voxel in enumerate(deepest_voxels(torch.from_numpy(plate))):
        assert voxel[axis] == 7


def test_parts_that_touch_at_a_corner_are_one_and_rows_do_not_wrap_round() -> None:
    mask = np.zeros((2, N, N, N), bool)
    mask[0, 4, 4, 4] = mask[0, 5, 5, 5] = mask[0, 5, 3, 6] = True
    mask[1, 2, 3, N - 1] = mask[1, 2, 4, 0] = mask[1, 2, N - 1, 5] = mask[1, 3, 0, 5] = True
    assert largest_parts(torch.from_numpy(mask)).flatten(1).sum(dim=1).tolist() == [2, 1]
