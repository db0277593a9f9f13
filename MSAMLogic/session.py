"""The interactive session: one image, clicks for and against the lesion, a mask, and one history.

Two verbs, as in Segment Anything: set the image, click. The encoder runs once a patch; a further click
in the patch runs the prompt encoder, the adapter and the decoder. Nothing that a click does depends on
the size of the image.
"""

from __future__ import annotations

import copy
import logging
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.correction import Correction, click_depth, corrected, correction_cube, mask_share
from MSAMLogic.errors import ClickError, HistoryError, ImageError, ModelError
from MSAMLogic.geometry import ImageGrid, PatchGrid, Point, Region, extract_patch
from MSAMLogic.intensity import Modality, guess_modality, normalise
from MSAMLogic.looks import (
    Look,
    as_large,
    better_grid,
    covered,
    first_grid,
    first_grids,
    fused_mask,
    is_connected,
    joint_grid,
    joint_logits,
    lesion_extent,
    mask_prompt,
    next_grids,
    sharpest_look,
    steadiest_look,
    transfer_prompt,
)
from MSAMLogic.predictor import FloatArray, as_predictor
from MSAMLogic.voxels import EMPTY, NOWHERE, BoolArray, VoxelSet, changed_region

logger = logging.getLogger(__name__)

# How far inside a patch a click must lie to be a correction there; nearer to the border there is too
# little context, and the click gets a patch of its own.
_INSIDE = 0.05
_MOST_LOOKS = 3  # changes of spacing that one click may cause
_MOST_REPLAYED = 4  # clicks that are made again at another spacing; each costs a decode
_MOST_FURTHER_PATCHES = 6  # patches that one click may add beside the first
_KEPT_EMBEDDINGS = 8


@dataclass(frozen=True)
class Click:
    """A click of the reader.

    Attributes:
        point: LPS millimetres.
        positive: whether it is for the lesion.
    """

    point: Point
    positive: bool = True


@dataclass(frozen=True, eq=False)
class _Lesion:
    """A lesion and its patches.

    Attributes:
        clicks: the clicks that belong to it.
        looks: its patches, the first the one that was clicked.
        voxels: its mask.
        hidden: voxels of the given mask that it took over; its own mask says what they are now.
    """

    clicks: tuple[Click, ...]
    looks: tuple[Look, ...]
    voxels: VoxelSet
    hidden: VoxelSet


@dataclass(frozen=True, eq=False)
class _State:
    """Everything that undo brings back. Never changed, only replaced."""

    clicks: tuple[Click, ...] = ()
    lesions: tuple[_Lesion, ...] = ()
    given: VoxelSet = EMPTY

    def read(self, region: Region) -> BoolArray:
        """Return the mask (k, j, i) of a box."""
        out = self.given.read(region)
        for lesion in self.lesions:
            out &= ~lesion.hidden.read(region)
        for lesion in self.lesions:
            out |= lesion.voxels.read(region)
        return out

    @property
    def region(self) -> Region:
        """A box round the mask."""
        region = self.given.region
        for lesion in self.lesions:
            region = region.union(lesion.voxels.region)
        return region

    def extent_of_change(self, other: _State) -> Region:
        """Return a box outside of which both states have the same mask."""
        region = NOWHERE if self.given is other.given else self.given.region.union(other.given.region)
        mine, others = set(map(id, self.lesions)), set(map(id, other.lesions))
        for lesion in (*self.lesions, *other.lesions):
            if not (id(lesion) in mine and id(lesion) in others):
                region = region.union(lesion.voxels.region).union(lesion.hidden.region)
        return region


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
        self._image: sitk.Image | None = None
        self._grid = ImageGrid((0, 0, 0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
        self._modality: Modality = "MR"
        self._state = _State()
        self._past: list[_State] = []
        self._future: list[_State] = []
        self._features: OrderedDict[PatchGrid, Any] = OrderedDict()

    def set_image(self, image: sitk.Image, modality: Modality | None = None) -> None:
        """Start anew with another image.

        Args:
            image: a scalar volume of three dimensions, in any orientation. It is not copied; do not
                change its voxels while the session uses it.
            modality: "CT" clamps to ±1000 HU; by default the image's metadata or its values tell.

        Raises:
            ImageError: when the image cannot be used; the session keeps its present one.
        """
        _check_image(image)
        chosen = modality or guess_modality(image)
        self._image, self._grid, self._modality = image, ImageGrid.of(image), chosen
        self._state, self._past, self._future = _State(), [], []
        self._features.clear()

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
                return self._go_to(_State(), None)
            binary = placed
        given = VoxelSet.of(sitk.GetArrayViewFromImage(binary).astype(bool), region)
        return self._go_to(_State(given=given), None)

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
        return self._go_to(_State(), self._last_point(self._state))

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
        return any(self._open_faces(lesion.looks, lesion.clicks) for lesion in self._state.lesions)

    # One click

    def _after(self, click: Click) -> _State:
        """Return the state that a click leads to from the present one."""
        image, state = self._require_image(), self._state
        if not (click.positive or self._predictor.capabilities.background_clicks):
            raise ClickError(
                "This model takes clicks for the lesion only; undo the last click, or choose another model."
            )
        if not click.positive and state.region.empty:
            raise ClickError(
                "The first click of a lesion must be positive: there is no mask yet that a background "
                "click could correct. Click the lesion first."
            )
        known = _lesion_at(state.lesions, click.point)
        if known is not None and _is_inside(known, click.point):
            lesion: _Lesion | None = self._refined(image, known, click)
        elif known is not None and self._is_leftover(known, click):
            lesion = self._continued(image, known, (*known.clicks, click), list(known.looks))
        else:
            lesion = self._extended(image, known, click) if known is not None else None
            known = known if lesion is not None else None
        others = tuple(other for other in state.lesions if other is not known)
        lesions = (*others, lesion if lesion is not None else self._found(image, click))
        return replace(state, clicks=(*state.clicks, click), lesions=lesions)

    def _is_leftover(self, lesion: _Lesion, click: Click) -> bool:
        """Whether a click takes away what a lesion kept when it moved to a patch that does not show it."""
        is_seen = self._grid.nearest(click.point) in lesion.voxels
        return self._predictor.capabilities.corrects and not click.positive and is_seen

    def _nearest_state(self, clicks: tuple[Click, ...]) -> _State:
        """Return the known state with the same starting mask from which the fewest ``clicks`` are missing."""
        start = _State(given=self._state.given)
        known = [state for state in (*self._past, self._state) if state.given is start.given]
        return max(
            (state for state in known if state.clicks == clicks[: len(state.clicks)]),
            key=lambda state: len(state.clicks),
            default=start,
        )

    def _found(self, image: sitk.Image, click: Click) -> _Lesion:
        """Return the lesion of a click outside all patches."""
        capabilities = self._predictor.capabilities
        taken = self._given_part(first_grid(click.point, self._grid, capabilities), click)
        if not click.positive and taken.empty:
            # Nothing is here to take away; the click counts once a lesion click brings a patch here.
            return _Lesion((click,), (), EMPTY, EMPTY)
        waiting = tuple(c for lesion in self._state.lesions if not lesion.looks for c in lesion.clicks)
        grid = self._first_grid_with_contrast(image, click.point)
        clicks = (*(c for c in waiting if grid.margin(c.point) > _INSIDE), click)
        if taken.empty:
            prompt = np.zeros((capabilities.prompt_size,) * 3, np.float32)
        else:
            prompt = self._prompt_of(taken, grid)
        if taken.empty and grid.spacing == first_grid(click.point, self._grid, capabilities).spacing:
            grids = first_grids(click.point, self._grid, capabilities)
        else:
            grids = [grid]
        looks = [self._answer(image, each, clicks, prompt) for each in grids]
        look = sharpest_look(steadiest_look(looks, self._grid), looks)
        if len(grids) == 1:
            look = self._better_look(image, look, clicks, has_given_mask=not taken.empty)
        # The answer may have come from another patch than the first; only what it covers is taken over.
        hidden = self._given_part(look.grid, click)
        before = hidden
        for other in self._state.lesions:  # what they made of the given mask is seen, not what it was
            before = before.minus(other.hidden)
        return self._lesion(image, clicks, self._further_looks(image, [look], clicks), hidden, before)

    def _refined(self, image: sitk.Image, lesion: _Lesion, click: Click) -> _Lesion:
        """Return a lesion with one more click in one of its patches."""
        clicks = (*lesion.clicks, click)
        best = max(range(len(lesion.looks)), key=lambda n: lesion.looks[n].grid.margin(click.point))
        looked = lesion.looks[best]
        if self._predictor.capabilities.corrects and not lesion.voxels.empty:
            prompt = self._prompt_of(lesion.voxels, looked.grid)  # its own last answer is not what is seen
        else:
            prompt = looked.prompt.astype(np.float32)
        answer = self._answer(image, looked.grid, clicks, prompt)
        look = self._better_look(image, answer, clicks, has_given_mask=not lesion.hidden.empty)
        looks = [look]
        if look.grid == looked.grid:  # else the lesion moved to a patch that suits it better
            looks += [*lesion.looks[:best], *lesion.looks[best + 1 :]]
        return self._continued(image, lesion, clicks, looks)

    def _extended(self, image: sitk.Image, lesion: _Lesion, click: Click) -> _Lesion | None:
        """Return a lesion that goes on as far as a click outside its patches, or None if it does not."""
        grid = joint_grid(lesion.looks, click.point, self._predictor.capabilities)
        if grid is None or not click.positive:
            return None
        clicks = (*lesion.clicks, click)
        prompt = transfer_prompt(lesion.looks, grid, self._predictor.capabilities.prompt_size)
        look = self._answer(image, grid, clicks, prompt)
        if not is_connected(look, [c.point for c in clicks if c.positive]):
            return None
        return self._continued(image, lesion, clicks, [look])

    def _continued(
        self, image: sitk.Image, lesion: _Lesion, clicks: tuple[Click, ...], looks: list[Look]
    ) -> _Lesion:
        """Return a lesion after its newest click, of whose looks the first is round that click or nearest."""
        taken = self._given_part(looks[0].grid, clicks[-1])
        before = lesion.voxels.union(taken.minus(lesion.hidden))
        looks = self._further_looks(image, looks, clicks)
        return self._lesion(image, clicks, looks, lesion.hidden.union(taken), before)

    def _better_look(
        self, image: sitk.Image, look: Look, clicks: Sequence[Click], has_given_mask: bool
    ) -> Look:
        """Look again, coarser or finer, as the answer of a look demands, while that makes it better."""
        capabilities = self._predictor.capabilities
        seen = {look.grid.spacing}
        points = [click.point for click in clicks]
        for _ in range(_MOST_LOOKS - 1):
            extent = lesion_extent(look, _clicked_voxel(look, clicks))
            if extent is None:
                break
            better = better_grid(look.grid, extent, points, self._grid, capabilities)
            if better is None or better.spacing in seen:
                break
            seen.add(better.spacing)
            if has_given_mask or len(clicks) > _MOST_REPLAYED:
                prompt = transfer_prompt([look], better, capabilities.prompt_size)
                again = self._answer(image, better, clicks, prompt)
            else:
                again = self._replayed(image, better, clicks)
            if capabilities.first_looks and again.iou < look.iou:
                break
            is_finer = better.spacing < look.grid.spacing
            look = as_large(again, extent.volume) if is_finer and capabilities.first_looks else again
        return look

    def _replayed(self, image: sitk.Image, grid: PatchGrid, clicks: Sequence[Click]) -> Look:
        """Return the answer in a patch to clicks made one after the other, as if it had been the first.

        The network learned from its own answers at one spacing; one brought from another spacing serves
        it less well.
        """
        size = self._predictor.capabilities.prompt_size
        look = self._answer(image, grid, clicks[:1], np.zeros((size,) * 3, np.float32))
        for count in range(2, len(clicks) + 1):
            look = self._answer(image, grid, clicks[:count], look.prompt.astype(np.float32))
        return look

    def _further_looks(self, image: sitk.Image, looks: list[Look], clicks: Sequence[Click]) -> list[Look]:
        """Return ``looks`` and those beside them in which the lesion goes on."""
        added = 0
        waiting = self._open_faces(looks, clicks)
        while waiting and added < _MOST_FURTHER_PATCHES:
            grid = waiting.pop(0)
            prompt = transfer_prompt(looks, grid, self._predictor.capabilities.prompt_size)
            near = [click for click in clicks if grid.margin(click.point) > _INSIDE]
            # The patch lies round a point of the mask: without a click of the reader's, that is the click.
            looks = [*looks, self._answer(image, grid, near or [Click(grid.centre)], prompt)]
            added += 1
            waiting = self._open_faces(looks, clicks)
        if waiting:
            logger.warning("The lesion goes on beyond the patches that were looked at; click there to go on.")
        return looks

    def _open_faces(self, looks: Sequence[Look], clicks: Sequence[Click]) -> list[PatchGrid]:
        """Return the patches still to be looked at: where a mask is cut and nothing is known beyond."""
        missing: list[PatchGrid] = []
        for look in looks:
            extent = lesion_extent(look, _clicked_voxel(look, clicks))
            if extent is None or not any(extent.cut):
                continue
            for grid in next_grids(look, extent):
                known = [other.grid for other in looks] + missing
                if not self._grid.contains(grid.centre) or any(k.margin(grid.centre) > 0.25 for k in known):
                    continue
                if self._grid.nearest(grid.centre) not in self._state.given:  # a given mask goes on by itself
                    missing.append(grid)
        return missing

    def _answer(
        self, image: sitk.Image, grid: PatchGrid, clicks: Sequence[Click], prompt: FloatArray
    ) -> Look:
        """Return the network's answer in a patch."""
        inside = [click for click in clicks if grid.margin(click.point) > 0] or list(clicks[-1:])
        if not self._predictor.capabilities.all_clicks:
            inside = inside[-1:]
        coords = grid.voxels(np.array([click.point for click in inside])).astype(np.float32)
        labels = np.array([int(click.positive) for click in inside], np.int64)
        return Look.of(grid, self._predictor.decode(self._encoded(image, grid), coords, labels, prompt))

    def _encoded(self, image: sitk.Image, grid: PatchGrid) -> Any:
        """Return the features of a patch: kept ones, or the encoder's."""
        if grid in self._features:
            self._features.move_to_end(grid)
            return self._features[grid]
        return self._encode(grid, self._patch(image, grid))

    def _encode(self, grid: PatchGrid, patch: FloatArray) -> Any:
        """Return the features of a patch and keep them."""
        features = self._predictor.encode(
            normalise(patch, self._modality, self._predictor.capabilities.intensity)
        )
        self._features[grid] = features
        while len(self._features) > _KEPT_EMBEDDINGS:
            self._features.popitem(last=False)
        return features

    def _patch(self, image: sitk.Image, grid: PatchGrid) -> FloatArray:
        capabilities = self._predictor.capabilities
        return extract_patch(image, grid, capabilities.outside, antialias=capabilities.antialias)

    def _prompt_of(self, mask: VoxelSet, grid: PatchGrid) -> FloatArray:
        """Return a mask as the mask prompt of a patch."""
        image = self._grid.image(mask.read(mask.region).astype(np.float32), mask.region)
        return mask_prompt(image, grid, self._predictor.capabilities.prompt_size)

    def _first_grid_with_contrast(self, image: sitk.Image, point: Point) -> PatchGrid:
        """Return the patch of a first look, coarser when there is nothing but one value in it."""
        capabilities = self._predictor.capabilities
        first = first_grid(point, self._grid, capabilities)
        if first in self._features:
            return first
        for spacing in capabilities.spacings:
            if spacing < first.spacing:
                continue
            grid = replace(first, spacing=spacing)
            patch = self._patch(image, grid)
            if np.ptp(patch):
                self._encode(grid, patch)  # the look that follows finds it
                return grid
        raise ImageError(
            "The image has one and the same value everywhere round the click; there is nothing to segment. "
            "Click inside the body, or choose another volume."
        )

    def _lesion(
        self,
        image: sitk.Image,
        clicks: tuple[Click, ...],
        looks: Sequence[Look],
        hidden: VoxelSet,
        before: VoxelSet,
    ) -> _Lesion:
        """Return the lesion that the looks show; ``before`` is the mask that the newest click corrects."""
        newest, voxels = clicks[-1], None
        if self._predictor.capabilities.corrects and not before.empty:
            depth = click_depth(before, self._grid, newest.point, newest.positive)
            if depth:
                voxels = self._corrected(image, clicks, looks, before, depth)
                wanted = [self._grid.nearest(click.point) for click in clicks if click.positive]
                if wanted and not any(index in voxels for index in wanted):
                    voxels = None  # the lesion itself is gone: all of the mask was wrong, not a part of it
            elif len(clicks) > 1:
                voxels = before  # the click confirms what is there; what was corrected stays
        if voxels is None:
            voxels = VoxelSet.of(*fused_mask(looks, self._grid, self._grid.whole))
            hidden = self._covered_part(hidden, looks)
        return _Lesion(clicks, tuple(looks), voxels, hidden)

    def _covered_part(self, hidden: VoxelSet, looks: Sequence[Look]) -> VoxelSet:
        """Return what looks answer for of a given mask that was taken over; beyond them it stays given."""
        if hidden.empty:
            return hidden
        seen = np.zeros(tuple(reversed(hidden.region.size)), bool)
        for look in looks:
            seen |= covered(look.grid, self._grid, hidden.region)
        return VoxelSet.of(hidden.read(hidden.region) & seen, hidden.region)

    def _corrected(
        self,
        image: sitk.Image,
        clicks: tuple[Click, ...],
        looks: Sequence[Look],
        before: VoxelSet,
        depth: float,
    ) -> VoxelSet:
        """Return a mask with the error corrected in which the newest click lies so many millimetres deep."""
        cube = correction_cube(depth, self._grid, clicks[-1].point, looks[0].grid.axes)
        correction = Correction(
            cube,
            extract_patch(image, cube, np.nan, antialias=True),
            mask_share(before, self._grid, cube),
            joint_logits(looks, cube),
            cube.voxels(np.array([click.point for click in clicks])).astype(np.float32),
            np.array([int(click.positive) for click in clicks], np.int64),
            depth / cube.spacing,
        )
        logits = self._predictor.correct(correction)
        return corrected(before, self._grid, cube, correction.before, logits)

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

    def _go_to(self, state: _State, point: Point | None) -> sitk.Image:
        before = self._state
        self._past.append(before)
        self._future.clear()
        self._state = state
        return self._changed(before, point)

    def _changed(self, before: _State, point: Point | None) -> sitk.Image:
        """Return the mask where it differs from ``before``; one voxel where nothing does."""
        region = before.extent_of_change(self._state)
        if not region.empty:
            region = changed_region(before.read(region), self._state.read(region), region)
        if region.empty:
            i, j, k = (0, 0, 0) if point is None else self._grid.nearest(point)
            region = Region((i, j, k), (i + 1, j + 1, k + 1))
        return self._region_image(self._state, region)

    def _region_image(self, state: _State, region: Region) -> sitk.Image:
        return self._grid.image(state.read(region).astype(np.uint8), region)

    @staticmethod
    def _last_point(state: _State) -> Point | None:
        return state.clicks[-1].point if state.clicks else None

    def _require_image(self) -> sitk.Image:
        if self._image is None:
            raise ImageError("No image is set; call set_image first.")
        return self._image

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


def _lesion_at(lesions: Sequence[_Lesion], point: Point) -> _Lesion | None:
    """Return the lesion in whose patches a point lies deepest, or to whose patches it is nearest."""
    looked_at = [lesion for lesion in lesions if lesion.looks]
    return max(looked_at, key=lambda x: max(look.grid.margin(point) for look in x.looks), default=None)


def _is_inside(lesion: _Lesion, point: Point) -> bool:
    return any(look.grid.margin(point) >= _INSIDE for look in lesion.looks)


def _clicked_voxel(look: Look, clicks: Sequence[Click]) -> NDArray[np.float64] | None:
    """Return the patch voxel (3,) of the newest lesion click within a look, or None when there is none."""
    inside = [click.point for click in clicks if click.positive and look.grid.margin(click.point) > 0]
    return look.grid.voxels(np.asarray(inside[-1])) if inside else None


def _check_image(image: sitk.Image) -> None:
    """Raise :class:`ImageError` for an image that cannot be segmented."""
    if not isinstance(image, sitk.Image):
        raise ImageError(f"A SimpleITK image is needed, not a {type(image).__name__}.")
    if image.GetDimension() != 3:
        raise ImageError(
            f"The image has {image.GetDimension()} dimensions; give a single 3D volume, for a series "
            "one time point."
        )
    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise ImageError("The image has several values a voxel (colour, vector); give one scalar channel.")
    if min(image.GetSize()) < 1:
        raise ImageError("The image has no voxels.")
    if not all(math.isfinite(s) and s > 0 for s in image.GetSpacing()):
        raise ImageError(
            f"The voxel spacing {image.GetSpacing()} mm is not positive; correct the image header."
        )
    if not np.isfinite([*image.GetOrigin(), *image.GetDirection()]).all():
        raise ImageError("Origin or direction of the image is not finite; correct the image header.")
    if abs(np.linalg.det(np.asarray(image.GetDirection()).reshape(3, 3))) < 1e-6:
        raise ImageError("The image's axes do not span space; correct the direction in the image header.")
    view = sitk.GetArrayViewFromImage(image)
    first = view.flat[0]
    constant = True
    for section in view:  # a slice at a time: no copy of the volume, and a varied image ends early
        if view.dtype.kind == "f" and not np.isfinite(section).all():
            raise ImageError(
                "The image has voxels that are no numbers (NaN or infinite); replace them, for example by 0."
            )
        if constant and (section != first).any():
            constant = False
            if view.dtype.kind != "f":
                return
    if constant:
        raise ImageError("All voxels of the image have the same value; there is nothing to segment.")
