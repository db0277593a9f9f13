"""What a click makes of the lesions of a session: a new one, one refined, or one that goes on farther."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from MSAMLogic.correcting.mask_corrector import MaskCorrector
from MSAMLogic.errors import ClickError
from MSAMLogic.geometry import PatchGrid
from MSAMLogic.looking.look_again import better_look, first_looks, further_looks
from MSAMLogic.looking.looks import (
    Look,
    covered,
    first_grid,
    fused_mask,
    is_connected,
    joint_grid,
    transfer_prompt,
)
from MSAMLogic.looking.mask_fusion import MaskFusion
from MSAMLogic.looking.patch_answers import PatchAnswers
from MSAMLogic.meant_lesion import meant_lesion, other_lesion
from MSAMLogic.session_state import INSIDE, Click, Lesion, SessionState
from MSAMLogic.voxels import EMPTY, VoxelSet


class NetworkOnImage(NamedTuple):
    """What a network can do on one image.

    Attributes:
        answers: its answers, patch by patch.
        corrector: what changes a mask where it is clicked; None for a network that does not.
        fusion: what makes one mask of the first looks; None for a network that does not.
    """

    answers: PatchAnswers
    corrector: MaskCorrector | None
    fusion: MaskFusion | None


class ClickedState:
    """A state of a session that is clicked.

    Args:
        network: what answers, on the session's image.
        state: before the click; it stays as it is.
    """

    def __init__(self, network: NetworkOnImage, state: SessionState) -> None:
        self._answers, self._corrector, self._fusion = network
        self._grid = network.answers.grid
        self._state = state

    def after(self, click: Click) -> SessionState:
        """Return the state that a click leads to.

        Raises:
            ImageError: when the image is empty where the click is.
            ClickError: when the click is negative where there is nothing to take away, or the network takes
                no such clicks.
        """
        state = self._state
        if not (click.positive or self._answers.capabilities.background_clicks):
            raise ClickError(
                "This model takes clicks for the lesion only; undo the last click, or choose another model."
            )
        if not click.positive and state.region.empty:
            raise ClickError(
                "The first click of a lesion must be positive: there is no mask yet that a background "
                "click could correct. Click the lesion first."
            )
        lesion, known = self._led_to(click)
        others = tuple(
            self._refined(other, click) if self._is_taken_from(other, click) else other
            for other in state.lesions
            if other is not known
        )
        return replace(state, clicks=(*state.clicks, click), lesions=(*others, lesion))

    def _led_to(self, click: Click) -> tuple[Lesion, Lesion | None]:
        """Return the lesion that a click leads to, and the one whose place it takes, if any."""
        known = meant_lesion(self._state, self._grid, click)
        if known is None:
            return self._found(click), None
        is_shown = known.shows(click.point)
        if not is_shown and self._is_leftover(known, click):
            return self._continued(known, (*known.clicks, click), list(known.looks)), known
        found = cache(lambda: self._found(click))
        other = self._other(known.voxels, click, found)
        if other is not None:
            return other, None
        lesion = self._refined(known, click) if is_shown else self._extended(known, click)
        return (found(), None) if lesion is None else (lesion, known)

    def _other(self, known: VoxelSet, click: Click, found: Callable[[], Lesion]) -> Lesion | None:
        """Return the lesion of its own that a click beside a known mask is for, or None."""
        if not self._answers.capabilities.corrects:
            return None  # the network's answer itself says how far a click reaches
        return other_lesion(known, self._grid, click, found)

    def _is_taken_from(self, lesion: Lesion, click: Click) -> bool:
        """Whether a click takes something away from a lesion, as it must from all that hold it."""
        is_held = not click.positive and self._grid.nearest(click.point) in lesion.voxels
        return is_held and lesion.shows(click.point)

    def _is_leftover(self, lesion: Lesion, click: Click) -> bool:
        """Whether a click takes away what a lesion kept when it moved to a patch that does not show it."""
        is_seen = self._grid.nearest(click.point) in lesion.voxels
        return self._answers.capabilities.corrects and not click.positive and is_seen

    def _found(self, click: Click) -> Lesion:
        """Return the lesion of a click that is the first one there."""
        taken = self._given_part(first_grid(click.point, self._grid, self._answers.capabilities), click)
        if not click.positive and taken.empty:
            # Nothing is here to take away; the click counts once a lesion click brings a patch here.
            return Lesion((click,), (), EMPTY, EMPTY)
        other = self._other(taken, click, lambda: self._drawn(click, EMPTY, is_beside=True))
        return self._drawn(click, taken) if other is None else other

    def _drawn(self, click: Click, taken: VoxelSet, is_beside: bool = False) -> Lesion:
        """Return the lesion that looks round a click show.

        Args:
            click: the first one there.
            taken: what the lesion starts from of the given mask.
            is_beside: whether nothing of the given mask belongs to it, however near it lies.
        """
        capabilities = self._answers.capabilities
        waiting = tuple(c for lesion in self._state.lesions if not lesion.looks for c in lesion.clicks)
        grid = self._answers.first_grid(click.point)
        clicks = (*(c for c in waiting if grid.margin(c.point) > INSIDE), click)
        if taken.empty:
            prompt = np.zeros((capabilities.prompt_size,) * 3, np.float32)
        else:
            prompt = self._answers.prompt_of(taken, grid)
        if taken.empty and grid.spacing == first_grid(click.point, self._grid, capabilities).spacing:
            first, look = first_looks(self._answers, clicks)
        else:
            first, look = [], self._answers.answer(grid, clicks, prompt)
        if len(first) < 2:
            look = better_look(self._answers, look, clicks, has_given_mask=not taken.empty)
        # The answer may have come from another patch than the first; only what it covers is taken over.
        hidden = EMPTY if is_beside else self._given_part(look.grid, click)
        before = hidden
        for other in self._state.lesions:  # what they made of the given mask is seen, not what it was
            before = before.minus(other.hidden)
        looks = further_looks(self._answers, [look], clicks, self._state.given)
        lesion = self._lesion(clicks, looks, hidden, before)
        if self._fusion is None or len(first) < 2 or len(clicks) > 1 or lesion.voxels.empty:
            return lesion
        return replace(lesion, voxels=self._fusion.fused(lesion.voxels, look, first, click.point))

    def _refined(self, lesion: Lesion, click: Click) -> Lesion:
        """Return a lesion with one more click in one of its patches."""
        clicks = (*lesion.clicks, click)
        best = max(range(len(lesion.looks)), key=lambda n: lesion.looks[n].grid.margin(click.point))
        looked = lesion.looks[best]
        if self._answers.capabilities.corrects and not lesion.voxels.empty:
            # Its own last answer is not what is seen.
            prompt = self._answers.prompt_of(lesion.voxels, looked.grid)
        else:
            prompt = looked.prompt.astype(np.float32)
        answer = self._answers.answer(looked.grid, clicks, prompt)
        look = better_look(self._answers, answer, clicks, has_given_mask=not lesion.hidden.empty)
        looks = [look]
        if look.grid == looked.grid:  # else the lesion moved to a patch that suits it better
            looks += [*lesion.looks[:best], *lesion.looks[best + 1 :]]
        return self._continued(lesion, clicks, looks)

    def _extended(self, lesion: Lesion, click: Click) -> Lesion | None:
        """Return a lesion that goes on as far as a click outside its patches, or None if it does not."""
        grid = joint_grid(lesion.looks, click.point, self._answers.capabilities)
        if grid is None or not click.positive:
            return None
        clicks = (*lesion.clicks, click)
        prompt = transfer_prompt(lesion.looks, grid, self._answers.capabilities.prompt_size)
        look = self._answers.answer(grid, clicks, prompt)
        if not is_connected(look, [c.point for c in clicks if c.positive]):
            return None
        return self._continued(lesion, clicks, [look])

    def _continued(self, lesion: Lesion, clicks: tuple[Click, ...], looks: list[Look]) -> Lesion:
        """Return a lesion after its newest click, of whose looks the first is round that click or nearest."""
        taken = self._given_part(looks[0].grid, clicks[-1])
        before = lesion.voxels.union(taken.minus(lesion.hidden))
        looks = further_looks(self._answers, looks, clicks, self._state.given)
        return self._lesion(clicks, looks, lesion.hidden.union(taken), before)

    def _lesion(
        self,
        clicks: tuple[Click, ...],
        looks: Sequence[Look],
        hidden: VoxelSet,
        before: VoxelSet,
    ) -> Lesion:
        """Return the lesion that the looks show; ``before`` is the mask that the newest click corrects."""
        corrector, voxels = self._corrector, None
        if corrector is not None and not before.empty:
            voxels = corrector.corrected(before, clicks, looks)
            if voxels is None:  # the click confirms what is there
                voxels = before if len(clicks) > 1 else None
            elif corrector.loses_lesion(voxels, clicks):
                voxels = None  # the lesion itself is gone: all of the mask was wrong, not a part of it
        if voxels is None:
            voxels = VoxelSet.of(*fused_mask(looks, self._grid, self._grid.whole))
            hidden = self._covered_part(hidden, looks)
        return Lesion(clicks, tuple(looks), voxels, hidden)

    def _covered_part(self, hidden: VoxelSet, looks: Sequence[Look]) -> VoxelSet:
        """Return what looks answer for of a given mask that was taken over; beyond them it stays given."""
        if hidden.empty:
            return hidden
        seen = np.zeros(tuple(reversed(hidden.region.size)), bool)
        for look in looks:
            seen |= covered(look.grid, self._grid, hidden.region)
        return VoxelSet.of(hidden.read(hidden.region) & seen, hidden.region)

    def _given_part(self, grid: PatchGrid, click: Click) -> VoxelSet:
        """Return the connected part of the given mask, within a patch, that a click is meant for."""
        given = self._state.given
        region = self._grid.region_of(grid).intersection(given.region)
        if region.empty:
            return EMPTY
        labels, count = ndimage.label(given.read(region), np.ones((3, 3, 3)))
        if not count:
            return EMPTY
        cell = np.asarray(self._grid.nearest(click.point)) - np.asarray(region.start)
        size = np.asarray(region.size)
        label = 0
        if np.all(cell >= 0) and np.all(cell < size):
            label = int(labels[tuple(reversed(cell))])
        if not label:
            # A click just beside the mask corrects its edge.
            offsets = np.argwhere(labels)[:, ::-1]
            distance = np.linalg.norm((offsets - cell) * np.asarray(self._grid.spacing), axis=1)
            nearest = int(distance.argmin())
            if distance[nearest] > 0.25 * grid.extent:
                return EMPTY
            label = int(labels[tuple(reversed(offsets[nearest]))])
        return VoxelSet.of((labels == label) & covered(grid, self._grid, region), region)
