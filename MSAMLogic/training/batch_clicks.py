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

from MSAMLogic.model.flooding import largest_along
from MSAMLogic.training.clicks import habit_of, slipped

Click = tuple[NDArray[np.intp], int]
_ROUNDS = 4  # of growing labels between two looks at whether they still change
_AT_ONCE = 8  # patches whose distances are found together: each takes n⁴ numbers of memory


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


def largest_parts(error: Tensor) -> Tensor:
    """Return the largest 26-connected part of each mask, (B, n, n, n) bool; an empty one stays empty."""
    flat = error.flatten(1)
    cells = flat.shape[1]
    number = torch.arange(1, cells + 1, device=error.device, dtype=torch.int32)
    labels = torch.where(flat, number, 0)  # every voxel its own part; 0 is none
    while True:
        before = labels
        for _ in range(_ROUNDS):
            spread = labels.view(error.shape)
            for axis in (1, 2, 3):
                spread = largest_along(spread, axis)
            labels = torch.where(flat, spread.flatten(1), 0)
            # The label of the voxel that gave the label: parts come together in few rounds.
            labels = torch.where(flat, labels.gather(1, (labels - 1).clamp(min=0).long()), 0)
        if torch.equal(labels, before):
            break
    # Sorted and counted: voxels that add to one number, one by one, keep a GPU waiting.
    first = torch.arange(len(labels), device=error.device)[:, None] * (cells + 1)
    names, sizes = torch.unique((labels + first)[flat], return_counts=True)
    names, sizes = names.cpu().numpy(), sizes.cpu().numpy()
    largest = np.zeros(len(labels), np.int64)
    names = names[np.argsort(sizes, kind="stable")]
    largest[names // (cells + 1)] = names % (cells + 1)  # the last of each mask stays: its largest
    chosen = torch.from_numpy(largest).to(error.device)[:, None]
    return ((labels == chosen) & flat).view(error.shape)


def deepest_voxels(part: Tensor) -> list[NDArray[np.intp]]:
    """Return for each mask (B, n, n, n) the voxel farthest from its edge; the patch's edge counts."""
    shape, n = part.shape, part.shape[-1]
    # Half precision counts to 2048, and a GPU waits for memory here.
    halved = part.is_cuda and ((n + 2) // 2) ** 2 <= 2048
    positions = torch.arange(n + 2, device=part.device, dtype=torch.float32)
    kind = torch.float16 if halved else torch.float32
    apart = ((positions[:, None] - positions[None, :]) ** 2).to(kind)
    # Squared distances, one axis after another (Saito and Toriwaki 1994); the patch's edge bounds them.
    depth = torch.nn.functional.pad(part.to(kind), (1,) * 6) * float(n + 2) ** 2
    for axis in (1, 2, 3):
        few = torch.split(depth.movedim(axis, -1), _AT_ONCE)
        depth = torch.cat([(images.unsqueeze(-2) + apart).amin(dim=-1) for images in few]).movedim(-1, axis)
    inner = depth[:, 1:-1, 1:-1, 1:-1].flatten(1)
    return _unravelled(inner.argmax(dim=1), shape)


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
