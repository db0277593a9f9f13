"""The clicks of :mod:`MSAMLogic.training.clicks` on all patches of a batch at once, on their own device.

On a GPU a batch is answered sooner than one core finds where its patches are clicked next. What is found is
the same, but for which of several equally deep voxels, or equally large parts, it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from MSAMLogic.training.batch_parts import largest_parts
from MSAMLogic.training.clicks import habit_of, slipped

Click = tuple[NDArray[np.intp], int]
_AT_ONCE = 8  # patches whose distances are found together: each takes up to n⁴ numbers of memory


def simulate_clicks(
    target: Tensor, answer: Tensor, readers: Sequence[np.random.Generator]
) -> list[Click | None]:
    """Return for every patch what :func:`MSAMLogic.training.clicks.simulate_click` returns for one.

    Args:
        target: (B, n, n, n) bool, the lesion on each patch.
        answer: (B, n, n, n) bool, the present masks, empty before the first answer.
        readers: the source of chance of each patch.

    Returns:
        For each patch voxel (dim 0, dim 1, dim 2) and label, or None when nothing is wrong.
    """
    error = target ^ answer
    wrong = error.flatten(1).sum(dim=1).tolist()
    part = largest_parts(error)
    deepest = deepest_voxels(part)
    # One draw after another from each reader, in the order in which a single patch draws.
    habits = [habit_of(reader) if count else None for reader, count in zip(readers, wrong, strict=True)]
    chosen = [
        int(reader.integers(count)) if habit == "anywhere" else 0
        for reader, count, habit in zip(readers, wrong, habits, strict=True)
    ]
    anywhere = _numbered_voxels(error, torch.tensor(chosen, device=error.device))
    voxels = [
        anywhere[index] if habit == "anywhere" else deepest[index] for index, habit in enumerate(habits)
    ]
    moved = [
        voxel if habit in (None, "anywhere") else slipped(voxel, habit == "slip", error.shape[1:], reader)
        for voxel, habit, reader in zip(voxels, habits, readers, strict=True)
    ]
    within = _values_at(part, moved)
    clicked = [
        there if habit == "slip" or inside else voxel
        for voxel, there, habit, inside in zip(voxels, moved, habits, within, strict=True)
    ]
    # What a slip of the hand hits is meant all the same, so the label is that of the voxel meant.
    labels = _values_at(target, voxels)
    return [
        (voxel, int(label)) if habit is not None else None
        for voxel, label, habit in zip(clicked, labels, habits, strict=True)
    ]


def deepest_voxels(part: Tensor) -> list[NDArray[np.intp]]:
    """Return for each mask (B, n, n, n) the voxel farthest from its edge; the patch's edge counts.

    Squared distances are found along one axis after another (Saito and Toriwaki 1994).
    """
    n = part.shape[-1]
    along_rows = _distance_along_rows(part)
    # No voxel is deeper than along its row, and what lies farther away than that cannot be nearest.
    reaches = along_rows.flatten(1).amax(dim=1)
    # Half precision counts to 2048, and a GPU waits for memory here.
    kind = torch.float16 if part.is_cuda and 2 * ((n + 1) // 2) ** 2 <= 2048 else torch.float32
    squared = (along_rows**2).to(kind)
    order = reaches.argsort()
    deepest = torch.empty(len(part), dtype=torch.int64, device=part.device)
    limits = reaches[order].tolist()
    for first in range(0, len(part), _AT_ONCE):
        chosen = order[first : first + _AT_ONCE]
        reach = max(limits[first : first + _AT_ONCE])
        depth = squared[chosen]
        for axis in (1, 2):
            depth = _nearest_along(depth, axis, reach)
        deepest[chosen] = depth.flatten(1).argmax(dim=1)
    return _unravelled(deepest, part.shape)


def _distance_along_rows(part: Tensor) -> Tensor:
    """Return how far each voxel (B, n, n, n) is from the nearest one of its row, or the end, outside."""
    n = part.shape[-1]
    position = torch.arange(1, n + 1, device=part.device, dtype=torch.int32)
    before = torch.where(part, 0, position).cummax(dim=-1).values
    after = torch.where(part, n + 1, position).flip(-1).cummin(dim=-1).values.flip(-1)
    return torch.minimum(position - before, after - position)


def _nearest_along(squared: Tensor, axis: int, reach: int) -> Tensor:
    """Return the least of each voxel's squared distances by way of its neighbours along an axis.

    Args:
        squared: (B, n, n, n), distances within planes or rows across the axis; none beyond the patch.
        axis: along which to look.
        reach: how many neighbours on either side.
    """
    away = torch.arange(-reach, reach + 1, device=squared.device).to(squared.dtype)
    margin = [0] * 6
    margin[2 * (3 - axis)] = margin[2 * (3 - axis) + 1] = reach
    neighbours = torch.nn.functional.pad(squared, margin).unfold(axis, 2 * reach + 1, 1)
    return (neighbours + away**2).amin(dim=-1)


def _numbered_voxels(error: Tensor, numbers: Tensor) -> list[NDArray[np.intp]]:
    """Return of each mask (B, n, n, n) the voxel with a number (B,), counted from 0 in memory's order."""
    counted = error.flatten(1).cumsum(dim=1)
    found = torch.searchsorted(counted, numbers[:, None] + 1)[:, 0]
    return _unravelled(found.clamp(max=counted.shape[1] - 1), error.shape)


def _unravelled(flat: Tensor, shape: torch.Size) -> list[NDArray[np.intp]]:
    voxels = np.stack(np.unravel_index(flat.cpu().numpy(), tuple(shape[1:])), axis=1)
    return [np.asarray(voxel, np.intp) for voxel in voxels]


def _values_at(masks: Tensor, voxels: Sequence[NDArray[np.intp]]) -> list[bool]:
    """Return the value of each mask (B, n, n, n) at a voxel of its own."""
    places = torch.from_numpy(np.stack(voxels)).to(masks.device)
    values: list[bool] = masks[torch.arange(len(masks), device=masks.device), *places.unbind(dim=1)].tolist()
    return values
