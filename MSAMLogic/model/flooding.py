"""Region growing at every threshold at once: what can be reached from clicks through what looks alike."""

from __future__ import annotations

import torch
from torch import Tensor

_STEPS_BETWEEN_LOOKS = 4  # how often it is asked whether anything flows still


def flooded(affinity: Tensor, seeds: Tensor, steps: int) -> Tensor:
    """Return the affinity that reaches each cell from the seeds: the weakest link of its best path.

    This is grey-scale reconstruction by dilation (Vincent 1993): region growing at every threshold at
    once. A look-alike that is not connected with a click stays dark.

    Args:
        affinity: (B, C, r, r, r) in [0, 1].
        seeds: (B, C, r, r, r), the cells to start from, in [0, 1].
        steps: how many cells a path may be long.
    """
    result = torch.zeros_like(affinity)
    # Each channel floods by itself, and where nothing was clicked nothing flows.
    started = seeds.flatten(2).amax(dim=2) > 0
    within = affinity[started]
    reached, spare = torch.minimum(within, seeds[started]), torch.empty_like(within)
    before = torch.empty_like(within)
    # Views are made once and not at every step, where that would take as long as the maxima themselves.
    there = [_LargestAlong(reached, axis, spare) for axis in (1, 2, 3)]
    back = [_LargestAlong(spare, axis, reached) for axis in (1, 2, 3)]
    for step in range(steps):
        # It only grows, so what is the same after some steps was the same after each of them.
        if step % _STEPS_BETWEEN_LOOKS == 0:
            before.copy_(reached)
        for grow_there, grow_back in zip(there, back, strict=True):
            grow = grow_there if grow_there.values is reached else grow_back
            grow()
            torch.minimum(within, spare, out=spare)
            reached, spare = spare, reached
        if (step + 1) % _STEPS_BETWEEN_LOOKS == 0 and torch.equal(reached, before):
            break
    result[started] = reached
    return result


class _LargestAlong:
    """Fills a tensor with the largest of each cell and its two neighbours along an axis, again and again.

    Shifted maxima run ten times faster than pooling here.

    Args:
        values: any numbers.
        axis: along which to look.
        out: of the same shape and other memory, to be filled.
    """

    def __init__(self, values: Tensor, axis: int, out: Tensor) -> None:
        n = values.shape[axis]
        self.values = values
        self._lower, self._upper = values.narrow(axis, 0, n - 1), values.narrow(axis, 1, n - 1)
        self._inner, self._outer = out.narrow(axis, 0, n - 1), out.narrow(axis, 1, n - 1)
        self._last, self._last_out = values.narrow(axis, n - 1, 1), out.narrow(axis, n - 1, 1)

    def __call__(self) -> None:
        self._last_out.copy_(self._last)
        torch.maximum(self._lower, self._upper, out=self._inner)
        torch.maximum(self._outer, self._lower, out=self._outer)
