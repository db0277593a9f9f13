"""Batches that are shown once more: when, how they are turned, and that a resumed run sees the same."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from MSAMLogic.training.again import Batch, turned, with_earlier

N = 6
CPU = torch.device("cpu")


def batch(number: int) -> Batch:
    patch = torch.arange(2 * N**3, dtype=torch.float32).view(2, 1, N, N, N) + 1000 * number
    return {"patch": patch, "target": patch % 7 > 3}


def shown(first: int, start: int, count: int, later: int = 3) -> list[Batch]:
    batches = (batch(number) for number in range(first, 100))
    return list(islice(with_earlier(batches, first, start, later, 5, CPU), count))


def test_a_batch_is_shown_again_so_many_steps_later_and_the_first_steps_show_theirs_alone() -> None:
    steps = shown(0, 0, 6)
    for number, step in enumerate(steps):
        assert torch.equal(step["patch"][:2], batch(number)["patch"])
        if number < 3:
            assert len(step["patch"]) == 2
            continue
        assert len(step["patch"]) == len(step["target"]) == 4
        again, earlier = step["patch"][2:], batch(number - 3)["patch"]
        assert sorted(again.flatten().tolist()) == sorted(earlier.flatten().tolist())


@pytest.mark.parametrize("start", [1, 3, 8])
def test_a_run_that_goes_on_sees_what_it_would_have_seen(start: int) -> None:
    whole = shown(0, 0, 12)
    resumed = shown(max(0, start - 3), start, 12 - start)
    for expected, step in zip(whole[start:], resumed, strict=True):
        assert all(torch.equal(expected[name], step[name]) for name in expected)


def test_a_patch_and_its_target_turn_alike_and_each_lesion_by_itself_stays_whole() -> None:
    given = batch(0)
    turns = [turned(given, np.random.default_rng(seed)) for seed in range(30)]
    for made in turns:
        assert torch.equal(made["target"], made["patch"] % 7 > 3)
        assert (made["patch"][1] - made["patch"][0] == N**3).all()
    different = {tuple(made["patch"][0].flatten().tolist()) for made in turns}
    assert len(different) > 15  # of 48 ways
