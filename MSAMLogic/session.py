"""The interactive session: one image, clicks for and against the lesion, a mask, and one history.

Two verbs, as in Segment Anything: set the image, click. The encoder runs once a patch; a further click
in the patch runs the prompt encoder, the adapter and the decoder. Nothing that a click does depends on
the size of the image.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk

from MSAMLogic.clicking import ClickedState, NetworkOnImage
from MSAMLogic.correcting.mask_corrector import MaskCorrector
from MSAMLogic.errors import ClickError, HistoryError, ImageError, ModelError
from MSAMLogic.geometry import ImageGrid, Point, Region
from MSAMLogic.image_check import check_image
from MSAMLogic.intensity import Modality, guess_modality
from MSAMLogic.looking.look_again import open_faces
from MSAMLogic.looking.mask_fusion import MaskFusion
from MSAMLogic.looking.patch_answers import PatchAnswers
from MSAMLogic.predictor import as_predictor
from MSAMLogic.session_state import Click, SessionState
from MSAMLogic.voxels import VoxelSet, changed_region

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
        self._network: NetworkOnImage | None = None
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
        answers = PatchAnswers(self._predictor, image, modality or guess_modality(image))
        fuses = bool(self._predictor.capabilities.fused_looks)
        fusion = MaskFusion(self._predictor, image) if fuses else None
        self._network, self._grid = NetworkOnImage(answers, self._corrector_of(image), fusion), answers.grid
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
        network = self._require_image()
        click = Click(self._check_point(point), bool(positive))
        return self._go_to(ClickedState(network, self._state).after(click), click.point)

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
        network = self._require_image()
        wanted = tuple(Click(self._check_point(click.point), bool(click.positive)) for click in clicks)
        state = self._nearest_state(wanted)
        for click in wanted[len(state.clicks) :]:
            state = ClickedState(network, state).after(click)
        return self._go_to(state, wanted[-1].point if wanted else self._last_point(self._state))

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
        if self._network is None:
            return False
        answers, state = self._network.answers, self._state
        return any(open_faces(answers, x.looks, x.clicks, state.given) for x in state.lesions)

    def _corrector_of(self, image: sitk.Image) -> MaskCorrector | None:
        corrects = self._predictor.capabilities.corrects
        return MaskCorrector(self._predictor, image) if corrects else None

    # History and results

    def _nearest_state(self, clicks: tuple[Click, ...]) -> SessionState:
        """Return the known state with the same starting mask from which the fewest ``clicks`` are missing."""
        start = SessionState(given=self._state.given)
        known = [state for state in (*self._past, self._state) if state.given is start.given]
        return max(
            (state for state in known if state.clicks == clicks[: len(state.clicks)]),
            key=lambda state: len(state.clicks),
            default=start,
        )

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

    def _require_image(self) -> NetworkOnImage:
        if self._network is None:
            raise ImageError("No image is set; call set_image first.")
        return self._network

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
