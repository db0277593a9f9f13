"""Clicks as people make them, simulated on a patch."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.largest_error import largest_part

Mask = NDArray[np.bool_]
Habit = Literal["anywhere", "slip", "careful"]

_ANYWHERE = 0.2  # share of clicks on any wrong voxel
_SLIP = 0.03  # share of clicks that miss by a few voxels


def deepest_voxel(region: Mask) -> NDArray[np.intp]:
    """Return the voxel (dim 0, dim 1, dim 2) of ``region`` farthest from its edge; the patch edge counts."""
    box = ndimage.find_objects(region.astype(np.uint8))[0]
    cropped = np.pad(region[box], 1)
    depth = ndimage.distance_transform_edt(cropped)
    corner = np.array([axis.start for axis in box])
    return np.asarray(np.unravel_index(int(depth.argmax()), depth.shape) + corner - 1)


def random_voxel(region: Mask, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return a voxel of ``region``, each as likely."""
    flat = np.flatnonzero(region)
    return np.array(np.unravel_index(int(rng.choice(flat)), region.shape))


def random_click(
    target: Mask, answer: Mask | None, rng: np.random.Generator
) -> tuple[NDArray[np.intp], int] | None:
    """Return any voxel of the mistakes and its label, as the releases of SAM-Med3D and M-SAM click.

    Args:
        target: the lesion on the patch.
        answer: the present mask; None before the first answer.
        rng: source of chance.

    Returns:
        Voxel and label, or None when nothing is wrong.
    """
    error = target if answer is None else target ^ answer
    if not error.any():
        return None
    voxel = random_voxel(error, rng)
    return voxel, int(target[tuple(voxel)])


def simulate_click(
    target: Mask, answer: Mask | None, rng: np.random.Generator
) -> tuple[NDArray[np.intp], int] | None:
    """Return where a reader would click next, and the label (1 lesion, 0 background).

    Mostly the middle of the largest mistake, a little off; sometimes any wrong voxel; now and then a
    slip of the hand, a few voxels away and meant all the same. The first click is for the lesion.

    Args:
        target: the lesion on the patch.
        answer: the present mask; None before the first answer.
        rng: source of chance.

    Returns:
        Voxel and label, or None when nothing is wrong.
    """
    error = target if answer is None else target ^ answer
    if not error.any():
        return None
    habit = habit_of(rng)
    if habit == "anywhere":
        return random_click(target, answer, rng)
    component = largest_part(error)
    voxel = deepest_voxel(component)
    label = int(target[tuple(voxel)])
    moved = slipped(voxel, habit == "slip", target.shape, rng)
    if habit == "slip" or component[tuple(moved)]:
        voxel = moved
    return voxel, label


def habit_of(rng: np.random.Generator) -> Habit:
    """Return how the next click is made: on any wrong voxel, missing by a few voxels, or as it should be."""
    habit = rng.random()
    return "anywhere" if habit < _ANYWHERE else "slip" if habit > 1 - _SLIP else "careful"


def slipped(
    voxel: NDArray[np.intp], slips: bool, shape: tuple[int, ...], rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return a voxel near the one that is meant, on a patch of that shape."""
    moved = voxel + np.rint(rng.normal(0, 2.0 if slips else 0.8, 3)).astype(int)
    return np.asarray(np.clip(moved, 0, np.array(shape) - 1), np.intp)
