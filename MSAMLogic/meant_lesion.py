"""Which lesion a click is meant for, where a session has several, or where the lesion is another one.

A patch shows more than one lesion: metastases, and the plaques of multiple sclerosis, lie beside each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from MSAMLogic.correcting.correction import click_depth
from MSAMLogic.geometry import ImageGrid
from MSAMLogic.session_state import Click, Lesion, SessionState
from MSAMLogic.voxels import VoxelSet

# A click so many times as far from a mask as the mask's radius may be for another lesion; it is where what is
# found there is a sphere of less than this share of that distance.
_FAR, _SMALL = 0.75, 0.45


def meant_lesion(state: SessionState, image: ImageGrid, click: Click) -> Lesion | None:
    """Return the lesion of a state that a click refines, or goes on from; None when there is none yet.

    Of lesions whose patches show the click the one whose mask holds it, or else lies nearest to it; where no
    patch shows it the lesion to whose patches it is nearest.

    Args:
        state: before the click.
        image: the image's grid.
        click: anywhere in the image.
    """
    looked_at = [lesion for lesion in state.lesions if lesion.looks]
    shown = [lesion for lesion in looked_at if lesion.shows(click.point)]

    def margin(lesion: Lesion) -> float:
        return max(look.grid.margin(click.point) for look in lesion.looks)

    if len(shown) < 2:
        return max(looked_at, key=margin, default=None)
    return min(shown, key=lambda lesion: (_distance(lesion.voxels, image, click), -margin(lesion)))


def other_lesion(
    known: VoxelSet, image: ImageGrid, click: Click, found: Callable[[], Lesion]
) -> Lesion | None:
    """Return the lesion of its own that a click beside a known mask is for, or None.

    How far a missed part reaches is taken from the click's distance to the mask, so a small lesion far beside
    a mask would be drawn as large as that distance. What is seen there, looked at anew, tells both apart.

    Args:
        known: the mask; the click is in a patch that shows it.
        image: the image's grid.
        click: the click.
        found: looks round the click as if it were the first one; called only where the click is far from the
            mask.
    """
    if not click.positive or known.empty:
        return None
    distance = _distance(known, image, click)
    if distance <= _FAR * _radius(known, image):
        return None
    other = found()
    is_small = _radius(other.voxels, image) < _SMALL * distance
    is_there = image.nearest(click.point) in other.voxels
    return other if is_small and is_there and known.intersection(other.voxels).empty else None


def _distance(mask: VoxelSet, image: ImageGrid, click: Click) -> float:
    """Return the millimetres from a click to a mask, 0 in it."""
    return math.inf if mask.empty else click_depth(mask, image, click.point, True)


def _radius(mask: VoxelSet, image: ImageGrid) -> float:
    """Return the radius in millimetres of a sphere as large as a mask."""
    volume = mask.count * float(np.prod(image.spacing))
    return math.cbrt(3 * volume / (4 * math.pi))
