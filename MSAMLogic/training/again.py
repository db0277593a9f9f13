"""Batches shown once more some steps later, turned: for where samples are made slower than learnt from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

Batch = dict[str, Tensor]
_CUBE_AXES = (2, 3, 4)


def with_earlier(
    batches: Iterable[Batch], first: int, start: int, later: int, seed: int, device: torch.device
) -> Iterator[Batch]:
    """Join each batch with the one of ``later`` steps before, turned.

    What a step shows depends on its number, not on where a run was stopped and resumed.

    Args:
        batches: one a step, from step ``first`` on.
        first: number of the first batch.
        start: number of the first step that is wanted; no more than ``later`` steps after ``first``, unless
            that is 0.
        later: how many steps later a batch is shown again.
        seed: of the run.
        device: what turns and keeps them.

    Yields:
        What each step shows, twice the batch from step ``later`` on.
    """
    kept: deque[Batch] = deque()
    for step, batch in enumerate(batches, start=first):
        here = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        kept.append(here)
        earlier = kept.popleft() if len(kept) > later else None
        if step < start:
            continue
        if earlier is None:
            yield here
            continue
        rng = np.random.default_rng((seed, 9, step))
        again = turned(earlier, rng)
        yield {name: torch.cat((value, again[name])) for name, value in here.items()}


def turned(batch: Batch, rng: np.random.Generator) -> Batch:
    """Return a batch of cubes (B, C, n, n, n), all with the same axes exchanged and reversed."""
    order = [_CUBE_AXES[axis] for axis in rng.permutation(3)]
    reversed_axes = [axis for axis in _CUBE_AXES if rng.random() < 0.5]
    return {name: value.permute(0, 1, *order).flip(reversed_axes) for name, value in batch.items()}
