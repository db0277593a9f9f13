"""When one look at a lesion is not enough: looks at another spacing, and beside the first."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.geometry import PatchGrid
from MSAMLogic.looking.looks import (
    Look,
    as_large,
    better_grid,
    first_grids,
    lesion_extent,
    next_grids,
    sharpest_look,
    show_little,
    steadiest_look,
    transfer_prompt,
)
from MSAMLogic.looking.patch_answers import PatchAnswers
from MSAMLogic.session_state import INSIDE, Click
from MSAMLogic.voxels import VoxelSet

logger = logging.getLogger(__name__)

_MOST_LOOKS = 3  # changes of spacing that one click may cause
_MOST_REPLAYED = 4  # clicks that are made again at another spacing; each costs a decode
_MOST_FURTHER_PATCHES = 6  # patches that one click may add beside the first


def first_looks(answers: PatchAnswers, clicks: Sequence[Click]) -> tuple[list[Look], Look]:
    """Return the looks round the newest of some clicks, the finest first, and the one that suits best.

    The coarsest are not made where two looks agree, one of them coarser than a lesion is looked at first
    otherwise, that the lesion is little. (Finer ones that agreed would not do: on MS lesions the look fusion
    drew worse without the coarser ones.)

    Args:
        answers: of the network on the image.
        clicks: within the patches, the newest last.
    """
    nothing = np.zeros((answers.capabilities.prompt_size,) * 3, np.float32)
    grids = first_grids(clicks[-1].point, answers.grid, answers.capabilities)
    looks: list[Look] = []
    for grid in grids:
        looks.append(answers.answer(grid, clicks, nothing))
        if grid.spacing > answers.capabilities.first_spacing and len(looks) > 1 and show_little(*looks[-2:]):
            break
    return looks, sharpest_look(steadiest_look(looks, answers.grid), looks)


def better_look(answers: PatchAnswers, look: Look, clicks: Sequence[Click], has_given_mask: bool) -> Look:
    """Look again, coarser or finer, as the answer of a look demands, while that makes it better.

    Args:
        answers: of the network on the image.
        look: the look so far.
        clicks: of the lesion.
        has_given_mask: whether the lesion started from a mask, which is then brought along; else the clicks
            are made again.
    """
    capabilities = answers.capabilities
    seen = {look.grid.spacing}
    points = [click.point for click in clicks]
    for _ in range(_MOST_LOOKS - 1):
        extent = lesion_extent(look, _clicked_voxel(look, clicks))
        if extent is None:
            break
        better = better_grid(look.grid, extent, points, answers.grid, capabilities)
        if better is None or better.spacing in seen:
            break
        seen.add(better.spacing)
        if has_given_mask or len(clicks) > _MOST_REPLAYED:
            prompt = transfer_prompt([look], better, capabilities.prompt_size)
            again = answers.answer(better, clicks, prompt)
        else:
            again = answers.replayed(better, clicks)
        if capabilities.first_looks and again.iou < look.iou:
            break
        is_finer = better.spacing < look.grid.spacing
        look = as_large(again, extent.volume) if is_finer and capabilities.first_looks else again
    return look


def further_looks(
    answers: PatchAnswers, looks: Sequence[Look], clicks: Sequence[Click], given: VoxelSet
) -> list[Look]:
    """Return looks at a lesion and those beside them in which it goes on.

    Args:
        answers: of the network on the image.
        looks: what was looked at so far.
        clicks: of the lesion.
        given: the mask that the session started from; it goes on by itself.
    """
    looks, added = list(looks), 0
    waiting = open_faces(answers, looks, clicks, given)
    while waiting and added < _MOST_FURTHER_PATCHES:
        grid = waiting.pop(0)
        prompt = transfer_prompt(looks, grid, answers.capabilities.prompt_size)
        near = [click for click in clicks if grid.margin(click.point) > INSIDE]
        # The patch lies round a point of the mask: without a click of the reader's, that is the click.
        looks = [*looks, answers.answer(grid, near or [Click(grid.centre)], prompt)]
        added += 1
        waiting = open_faces(answers, looks, clicks, given)
    if waiting:
        logger.warning("The lesion goes on beyond the patches that were looked at; click there to go on.")
    return looks


def open_faces(
    answers: PatchAnswers, looks: Sequence[Look], clicks: Sequence[Click], given: VoxelSet
) -> list[PatchGrid]:
    """Return the patches still to be looked at: where a mask is cut and nothing is known beyond."""
    missing: list[PatchGrid] = []
    for look in looks:
        extent = lesion_extent(look, _clicked_voxel(look, clicks))
        if extent is None or not any(extent.cut):
            continue
        for grid in next_grids(look, extent):
            known = [other.grid for other in looks] + missing
            if not answers.grid.contains(grid.centre) or any(k.margin(grid.centre) > 0.25 for k in known):
                continue
            if answers.grid.nearest(grid.centre) not in given:
                missing.append(grid)
    return missing


def _clicked_voxel(look: Look, clicks: Sequence[Click]) -> NDArray[np.float64] | None:
    """Return the patch voxel (3,) of the newest lesion click within a look, or None when there is none."""
    inside = [click.point for click in clicks if click.positive and look.grid.margin(click.point) > 0]
    return look.grid.voxels(np.asarray(inside[-1])) if inside else None
