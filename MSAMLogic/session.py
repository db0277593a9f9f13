"""The interactive session: one image, clicks for and against the lesion, a mask, and one history.

Two verbs, as in Segment Anything: set the image, click. The encoder runs once a patch; a further click
in the patch runs the prompt encoder, the adapter and the decoder. Nothing that a click does depends on
the size of the image.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MSAMLogic.correcting.mask_corrector import MaskCorrector
from MSAMLogic.errors import ClickError, HistoryError, ImageError, ModelError
from MSAMLogic.geometry import ImageGrid, PatchGrid, Point, Region
from MSAMLogic.image_check import check_image
from MSAMLogic.intensity import Modality, guess_modality
from MSAMLogic.looking.look_again import better_look, first_looks, further_looks, open_faces
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
from MSAMLogic.predictor import as_predictor
from MSAMLogic.session_state import INSIDE, Click, Lesion, SessionState
from MSAMLogic.voxels import EMPTY, VoxelSet, changed_region

__all__ = ["Click", "InteractiveSession"]


class InteractiveSession:
    """Segment lesions of one image by clicks.

    Points are LPS millimetres, as in ITK and DICOM. Every change returns the sub-region that changed: a
    uint8 image (1 lesion, 0 not) on the image's own grid whose origin and size say where it belongs. A
    call that raises leaves the session as it was.

    Args:
        model: what :func:`MSAMLogic.load_model` returns, a network of :mod:`MSAMLogic.model`, or any
            other :class:`MSAMLogic.predictor.Predictor`.

    Raises:
        ModelError: when ``model`` is none of these, or takes no clicks.
    """

    def __init__(self, model: Any) -> None:
        self._predictor = as_predictor(model)
        if not self._predictor.capabilities.takes_clicks:
            raise ModelError(
                "This model takes no clicks: it names what it finds. Let it propose lesions and refine them "
                "with a model that takes clicks."
            )
        self._answers: PatchAnswers | None = None
        self._corrector: MaskCorrector | None = None
        self._fusion: MaskFusion | None = None
        self._grid = ImageGrid((0, 0, 0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
        self._state = SessionState()
        self._past: list[SessionState] = []
        self._future: list[SessionState] = []

    def set_image(self, image: sitk.Image, modality: Modality | None = None) -> None:
        """Start anew with another image.

        Args:
            image: a scalar volume of three dimensions, in any orientation. It is not copied; do not
                change its voxels while the session uses it.
            modality: "CT" clamps to ±1000 HU; by default the image's metadata or its values tell.

        Raises:
            ImageError: when the image cannot be used; the session keeps its present one.
        """
        check_image(image)
        self._answers = PatchAnswers(self._predictor, image, modality or guess_modality(image))
        self._corrector = self._corrector_of(image)
        fused = self._predictor.capabilities.fused_looks
        self._fusion = MaskFusion(self._predictor, image) if fused else None
        self._grid = self._answers.grid
        self._state, self._past, self._future = SessionState(), [], []

    def click(self, point: Sequence[float], positive: bool = True) -> sitk.Image:
        """Add a click and return the changed sub-region.

        Args:
            point: (x, y, z) in LPS millimetres.
            positive: for the lesion, or against it.

        Raises:
            ImageError: when no image is set, or the image is empty where the click is.
            ClickError: when the click lies outside the image, or is negative where there is nothing to
                take away or the model takes no such clicks.
        """
        self._require_image()
        click = Click(self._check_point(point), bool(positive))
        return self._go_to(self._after(click), click.point)

    def set_clicks(self, clicks: Sequence[Click]) -> sitk.Image:
        """Replace all clicks, for example when one was moved or deleted, and return the changed sub-region.

        The mask is what these clicks, made one after the other, would have led to; the mask of
        :meth:`set_mask` stays the one to start from. It is one step of the history.

        Args:
            clicks: the clicks, oldest first; none is the starting mask.

        Raises:
            ImageError: when no image is set, or the image is empty where a click is.
            ClickError: when a click lies outside the image, or is negative where there is nothing to
                take away.
        """
        self._require_image()
        wanted = tuple(Click(self._check_point(click.point), bool(click.positive)) for click in clicks)
        before = self._state
        try:
            self._state = self._nearest_state(wanted)
            for click in wanted[len(self._state.clicks) :]:
                self._state = self._after(click)
            reached = self._state
        finally:
            self._state = before
        return self._go_to(reached, wanted[-1].point if wanted else self._last_point(before))

    def copy(self) -> InteractiveSession:
        """Return a session in the same state that goes its own way; image and embeddings are shared.

        What is tried in the copy and not wanted is dropped with it, without a trace in the history.
        """
        other = copy.copy(self)
        other._past, other._future = list(self._past), list(self._future)
        return other

    def set_mask(self, mask: sitk.Image) -> sitk.Image:
        """Start from an existing mask; clicks then correct it. Returns the changed sub-region.

        Clicks so far are dropped, :meth:`undo` brings them back.

        Args:
            mask: lesion where it is not 0. A mask on another grid is brought to the image's by geometry
                (nearest neighbour).

        Raises:
            ImageError: when no image is set, or the mask is no 3D scalar image or lies elsewhere.
        """
        self._require_image()
        if mask.GetDimension() != 3 or mask.GetNumberOfComponentsPerPixel() != 1:
            raise ImageError("The mask must be a single 3D volume with one value a voxel.")
        binary = mask != 0
        region = self._grid.whole
        if not self._grid.matches(ImageGrid.of(mask)):
            # Only where the mask is: a small mask of a large image costs what the mask costs.
            region = self._grid.region_of_image(mask).intersection(region)
            placed = None
            if not region.empty:
                reference = self._grid.reference(region)
                placed = sitk.Resample(binary, reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
            if sitk.GetArrayViewFromImage(binary).any() and (
                placed is None or not sitk.GetArrayViewFromImage(placed).any()
            ):
                raise ImageError("The mask lies outside the image; choose the mask of this image.")
            if placed is None:
                return self._go_to(SessionState(), None)
            binary = placed
        given = VoxelSet.of(sitk.GetArrayViewFromImage(binary).astype(bool), region)
        return self._go_to(SessionState(given=given), None)

    def undo(self) -> sitk.Image:
        """Take the last change back and return the changed sub-region.

        Raises:
            HistoryError: when there is nothing to undo.
        """
        if not self._past:
            raise HistoryError("There is nothing to undo.")
        before = self._state
        self._future.append(before)
        self._state = self._past.pop()
        return self._changed(before, self._last_point(before))

    def redo(self) -> sitk.Image:
        """Make the last undone change again and return the changed sub-region.

        Raises:
            HistoryError: when nothing was undone, or something else was done since.
        """
        if not self._future:
            raise HistoryError("There is nothing to redo.")
        before = self._state
        self._past.append(before)
        self._state = self._future.pop()
        return self._changed(before, self._last_point(self._state))

    def reset(self) -> sitk.Image:
        """Drop all clicks and the mask and return the changed sub-region; :meth:`undo` brings them back.

        Raises:
            ImageError: when no image is set.
        """
        self._require_image()
        return self._go_to(SessionState(), self._last_point(self._state))

    def forget_history(self) -> None:
        """Make the present state the one before which there is nothing to undo."""
        self._past, self._future = [], []

    @property
    def background_clicks(self) -> bool:
        """Whether clicks may be against the lesion; it depends on the model."""
        return self._predictor.capabilities.background_clicks

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks so far, oldest first."""
        return self._state.clicks

    @property
    def can_undo(self) -> bool:
        """Whether :meth:`undo` has something to take back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether :meth:`redo` has something to make again."""
        return bool(self._future)

    @property
    def mask(self) -> sitk.Image:
        """The whole mask as a uint8 image on the image's grid, made on demand.

        Raises:
            ImageError: when no image is set.
        """
        self._require_image()
        whole = self._grid.reference(self._grid.whole)
        region = self._state.region
        if region.empty:
            return whole
        box = self._region_image(self._state, region)
        return sitk.Paste(whole, box, box.GetSize(), (0, 0, 0), region.start)

    @property
    def mask_region(self) -> sitk.Image:
        """The mask within its bounding box, as a uint8 image; one voxel of 0 when there is no mask.

        Its cost depends on the lesion, that of :attr:`mask` on the image.

        Raises:
            ImageError: when no image is set.
        """
        self._require_image()
        return self._region_image(self._state, _or_one_voxel(self._state.region))

    @property
    def starting_mask(self) -> sitk.Image:
        """What :meth:`set_mask` gave, within its bounding box; one voxel of 0 when nothing.

        Raises:
            ImageError: when no image is set.
        """
        self._require_image()
        given = self._state.given
        region = _or_one_voxel(given.region)
        return self._grid.image(given.read(region).astype(np.uint8), region)

    @property
    def is_cut_off(self) -> bool:
        """Whether some lesion goes on beyond all the patches that were looked at; click there to go on."""
        if self._answers is None:
            return False
        state = self._state
        return any(open_faces(self._answers, x.looks, x.clicks, state.given) for x in state.lesions)

    def _corrector_of(self, image: sitk.Image) -> MaskCorrector | None:
        corrects = self._predictor.capabilities.corrects
        return MaskCorrector(self._predictor, image) if corrects else None

    # One click

    def _after(self, click: Click) -> SessionState:
        """Return the state that a click leads to from the present one."""
        answers, state = self._require_image(), self._state
        if not (click.positive or self._predictor.capabilities.background_clicks):
            raise ClickError(
                "This model takes clicks for the lesion only; undo the last click, or choose another model."
            )
        if not click.positive and state.region.empty:
            raise ClickError(
                "The first click of a lesion must be positive: there is no mask yet that a background "
                "click could correct. Click the lesion first."
            )
        known = state.lesion_at(click.point)
        if known is not None and known.shows(click.point):
            lesion: Lesion | None = self._refined(answers, known, click)
        elif known is not None and self._is_leftover(known, click):
            lesion = self._continued(answers, known, (*known.clicks, click), list(known.looks))
        else:
            lesion = self._extended(answers, known, click) if known is not None else None
            known = known if lesion is not None else None
        others = tuple(other for other in state.lesions if other is not known)
        lesions = (*others, lesion if lesion is not None else self._found(answers, click))
        return replace(state, clicks=(*state.clicks, click), lesions=lesions)

    def _is_leftover(self, lesion: Lesion, click: Click) -> bool:
        """Whether a click takes away what a lesion kept when it moved to a patch that does not show it."""
        is_seen = self._grid.nearest(click.point) in lesion.voxels
        return self._predictor.capabilities.corrects and not click.positive and is_seen

    def _nearest_state(self, clicks: tuple[Click, ...]) -> SessionState:
        """Return the known state with the same starting mask from which the fewest ``clicks`` are missing."""
        start = SessionState(given=self._state.given)
        known = [state for state in (*self._past, self._state) if state.given is start.given]
        return max(
            (state for state in known if state.clicks == clicks[: len(state.clicks)]),
            key=lambda state: len(state.clicks),
            default=start,
        )

    def _found(self, answers: PatchAnswers, click: Click) -> Lesion:
        """Return the lesion of a click outside all patches."""
        capabilities = self._predictor.capabilities
        taken = self._given_part(first_grid(click.point, self._grid, capabilities), click)
        if not click.positive and taken.empty:
            # Nothing is here to take away; the click counts once a lesion click brings a patch here.
            return Lesion((click,), (), EMPTY, EMPTY)
        waiting = tuple(c for lesion in self._state.lesions if not lesion.looks for c in lesion.clicks)
        grid = answers.first_grid(click.point)
        clicks = (*(c for c in waiting if grid.margin(c.point) > INSIDE), click)
        if taken.empty:
            prompt = np.zeros((capabilities.prompt_size,) * 3, np.float32)
        else:
            prompt = answers.prompt_of(taken, grid)
        if taken.empty and grid.spacing == first_grid(click.point, self._grid, capabilities).spacing:
            first, look = first_looks(answers, clicks)
        else:
            first, look = [], answers.answer(grid, clicks, prompt)
        if len(first) < 2:
            look = better_look(answers, look, clicks, has_given_mask=not taken.empty)
        # The answer may have come from another patch than the first; only what it covers is taken over.
        hidden = self._given_part(look.grid, click)
        before = hidden
        for other in self._state.lesions:  # what they made of the given mask is seen, not what it was
            before = before.minus(other.hidden)
        looks = further_looks(answers, [look], clicks, self._state.given)
        lesion = self._lesion(clicks, looks, hidden, before)
        if self._fusion is None or len(first) < 2 or len(clicks) > 1 or lesion.voxels.empty:
            return lesion
        return replace(lesion, voxels=self._fusion.fused(lesion.voxels, look, first, click.point))

    def _refined(self, answers: PatchAnswers, lesion: Lesion, click: Click) -> Lesion:
        """Return a lesion with one more click in one of its patches."""
        clicks = (*lesion.clicks, click)
        best = max(range(len(lesion.looks)), key=lambda n: lesion.looks[n].grid.margin(click.point))
        looked = lesion.looks[best]
        if self._predictor.capabilities.corrects and not lesion.voxels.empty:
            prompt = answers.prompt_of(lesion.voxels, looked.grid)  # its own last answer is not what is seen
        else:
            prompt = looked.prompt.astype(np.float32)
        answer = answers.answer(looked.grid, clicks, prompt)
        look = better_look(answers, answer, clicks, has_given_mask=not lesion.hidden.empty)
        looks = [look]
        if look.grid == looked.grid:  # else the lesion moved to a patch that suits it better
            looks += [*lesion.looks[:best], *lesion.looks[best + 1 :]]
        return self._continued(answers, lesion, clicks, looks)

    def _extended(self, answers: PatchAnswers, lesion: Lesion, click: Click) -> Lesion | None:
        """Return a lesion that goes on as far as a click outside its patches, or None if it does not."""
        grid = joint_grid(lesion.looks, click.point, self._predictor.capabilities)
        if grid is None or not click.positive:
            return None
        clicks = (*lesion.clicks, click)
        prompt = transfer_prompt(lesion.looks, grid, self._predictor.capabilities.prompt_size)
        look = answers.answer(grid, clicks, prompt)
        if not is_connected(look, [c.point for c in clicks if c.positive]):
            return None
        return self._continued(answers, lesion, clicks, [look])

    def _continued(
        self, answers: PatchAnswers, lesion: Lesion, clicks: tuple[Click, ...], looks: list[Look]
    ) -> Lesion:
        """Return a lesion after its newest click, of whose looks the first is round that click or nearest."""
        taken = self._given_part(looks[0].grid, clicks[-1])
        before = lesion.voxels.union(taken.minus(lesion.hidden))
        looks = further_looks(answers, looks, clicks, self._state.given)
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

    # History and results

    def _go_to(self, state: SessionState, point: Point | None) -> sitk.Image:
        before = self._state
        self._past.append(before)
        self._future.clear()
        self._state = state
        return self._changed(before, point)

    def _changed(self, before: SessionState, point: Point | None) -> sitk.Image:
        """Return the mask where it differs from ``before``; one voxel where nothing does."""
        region = before.extent_of_change(self._state)
        if not region.empty:
            region = changed_region(before.read(region), self._state.read(region), region)
        if region.empty:
            i, j, k = (0, 0, 0) if point is None else self._grid.nearest(point)
            region = Region((i, j, k), (i + 1, j + 1, k + 1))
        return self._region_image(self._state, region)

    def _region_image(self, state: SessionState, region: Region) -> sitk.Image:
        return self._grid.image(state.read(region).astype(np.uint8), region)

    @staticmethod
    def _last_point(state: SessionState) -> Point | None:
        return state.clicks[-1].point if state.clicks else None

    def _require_image(self) -> PatchAnswers:
        if self._answers is None:
            raise ImageError("No image is set; call set_image first.")
        return self._answers

    def _check_point(self, point: Sequence[float]) -> Point:
        try:
            x, y, z = (float(v) for v in point)
        except (TypeError, ValueError) as error:
            raise ClickError(
                f"A click needs three numbers (x, y, z) in LPS millimetres, not {point!r}."
            ) from error
        if not all(map(math.isfinite, (x, y, z))):
            raise ClickError("A click needs three finite numbers (x, y, z) in LPS millimetres.")
        if not self._grid.contains((x, y, z)):
            raise ClickError(
                f"The click at LPS ({x:.1f}, {y:.1f}, {z:.1f}) mm lies outside the image. Coordinates from "
                "Slicer are RAS: change the sign of the first two."
            )
        return (x, y, z)


def _or_one_voxel(region: Region) -> Region:
    return Region((0, 0, 0), (1, 1, 1)) if region.empty else region
