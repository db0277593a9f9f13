"""The largest connected part of each mask of a batch, on the device that the masks are on.

scipy labels one mask after the other, on one processor; on a GPU all parts of a batch come together in a few
rounds.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def largest_parts(masks: Tensor) -> Tensor:
    """Return the largest 26-connected part of each mask, (B, n, n, n) bool; an empty one stays empty."""
    part = torch.zeros_like(masks)
    padded = torch.nn.functional.pad(masks, (0, 1) * 3)  # what is beyond a row's end is no neighbour
    voxels = padded.flatten().nonzero()[:, 0]
    if not len(voxels):
        return part
    patch = voxels // padded[0].numel()
    root = _roots(len(voxels), *_touching(voxels, padded))
    # Sorted and counted: voxels that add to one number, one by one, keep a GPU waiting.
    roots, sizes = torch.unique(root, return_counts=True)
    order = np.argsort(sizes.cpu().numpy(), kind="stable")
    largest = np.zeros(len(masks), np.int64)
    # The last root of each patch stays: that of its largest part.
    largest[patch[roots].cpu().numpy()[order]] = roots.cpu().numpy()[order]
    part[masks] = root == torch.from_numpy(largest).to(masks.device)[patch]
    return part


def _roots(count: int, here: Tensor, there: Tensor) -> Tensor:
    """Return to which part each of so many voxels belongs, by the number of one of the part's voxels.

    Parts are trees, each voxel pointing to one of its part; wherever voxels of two parts touch, the higher
    root goes under the lower one. Every part that touches a lower one is joined in each round, so few rounds
    are enough (Shiloach and Vishkin 1982).

    Args:
        count: how many voxels there are.
        here: (E,) one voxel of each pair that touches.
        there: (E,) the other.
    """
    root = torch.arange(count, device=here.device)
    while len(here):
        first, second = root[here], root[there]
        apart = first != second
        here, there, first, second = here[apart], there[apart], first[apart], second[apart]
        root.scatter_reduce_(0, torch.maximum(first, second), torch.minimum(first, second), "amin")
        # Every voxel points to its root before the next round, so only roots ever go under others.
        while not torch.equal(shorter := root[root], root):
            root = shorter
    return root


def _touching(voxels: Tensor, padded: Tensor) -> tuple[Tensor, Tensor]:
    """Return all pairs of 26-connected voxels, (E,) and (E,), by their number in a list.

    Args:
        voxels: (N,) where the voxels lie in memory.
        padded: (B, n + 1, n + 1, n + 1) the masks, with nothing at the end of each axis.
    """
    side = padded.shape[-1]
    steps = [z * side**2 + y * side + x for z in (0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    number = torch.full((padded.numel() + max(steps),), -1, dtype=torch.int64, device=voxels.device)
    number[voxels] = torch.arange(len(voxels), device=voxels.device)
    pairs = []
    for step in (step for step in steps if step > 0):  # each pair once
        other = number[voxels + step]
        here = (other >= 0).nonzero()[:, 0]
        pairs.append(torch.stack((here, other[here])))
    here, there = torch.cat(pairs, dim=1)
    return here, there
