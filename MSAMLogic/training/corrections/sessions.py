"""Sessions to learn corrections from: lesions of scans and made-up ones, clicked as a reader clicks.

A corrector meets masks that it made itself, those that the network made, and those that a reader was given.
So while sessions are recorded the mask goes on in different ways: as the network says in all of the cube, or
near the click, or where the click lies and hardly beyond, or as the corrector of the network itself says,
where that has learned already. A click changes the mask one way only in any of them (:class:`MaskCorrector`).
Some sessions go on from a first mask that is far from right (:mod:`MSAMLogic.training.wrong_masks`), for the
network's own are good where it has learned most, and clicks far from the edge, after which a mask grows or
shrinks by much, would be rare.

How deep a click lies in an error says only roughly how large the error is: a click beyond a thin tail is far
from the mask, and the tail is thin. So every click is recorded in cubes of several spacings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from torch.utils.data import Dataset

from MSAMLogic.correcting.correction import Correction, distance_from, made_to_obey, varied_cube
from MSAMLogic.correcting.mask_corrector import MaskCorrector
from MSAMLogic.errors import ImageError
from MSAMLogic.geometry import ImageGrid, PatchGrid
from MSAMLogic.intensity import Modality
from MSAMLogic.largest_error import largest_error
from MSAMLogic.looking.looks import Look
from MSAMLogic.mask_in_cube import mask_share
from MSAMLogic.predictor import FloatArray, Predictor, Relay
from MSAMLogic.session import Click, InteractiveSession
from MSAMLogic.training.corrections.record import as_record
from MSAMLogic.training.recorded_scans import Mask, ScanShares, any_scan
from MSAMLogic.training.samples import PatchSamples
from MSAMLogic.training.wrong_masks import wrong_mask
from MSAMLogic.voxels import VoxelSet

Manner = Callable[[Correction], FloatArray]

_SLOPPY = 0.3  # share of the sessions whose reader clicks beside the middle of an error
_CUBES = 2  # of every correcting click
_VARIED = (0.5, 1.6)  # how many times as large as usual the cells of a recorded cube are


class RecordedSessions(Dataset[list[NDArray[np.void]]]):
    """Sessions by number: each is the list of what its correcting clicks met, see :mod:`record`.

    Args:
        predictor: the network that answers.
        samples: where lesions come from; its cases are the scans.
        seed: of the whole sequence.
        count: how many sessions there are.
        clicks: most clicks a session.
        shares: of the kinds of scan that are clicked.
        own: share of the sessions in which the network's own corrector corrects.
        wrong: share of the sessions whose first mask is far from right.
    """

    def __init__(
        self,
        predictor: Predictor,
        samples: PatchSamples,
        seed: int,
        count: int,
        clicks: int,
        shares: ScanShares,
        own: float,
        wrong: float = 0.0,
    ) -> None:
        self.predictor, self.samples = predictor, samples
        self.seed, self.count, self.clicks = seed, count, clicks
        self.shares, self.own, self.wrong = shares, own, wrong

    def __len__(self) -> int:
        """Return the number of sessions."""
        return self.count

    def __getitem__(self, number: int) -> list[NDArray[np.void]]:
        """Return the records of session ``number``; none when there was nothing to correct."""
        rng = np.random.default_rng((self.seed, 3, number))
        image, modality, truth = any_scan(self.samples, number, self.shares, rng)
        manners: list[Manner] = [_as_answered, _as_answered_nearby, _where_clicked]
        manner = self.predictor.correct if rng.random() < self.own else manners[rng.integers(len(manners))]
        first = None
        if self.wrong and rng.random() < self.wrong:
            first = wrong_mask(truth, image.GetSpacing()[::-1], rng)
        try:
            return record_session(self.predictor, image, modality, truth, self.clicks, manner, rng, first)
        except ImageError:  # nothing but one value round the click: no reader would click there
            return []


def record_session(
    predictor: Predictor,
    image: sitk.Image,
    modality: Modality,
    truth: Mask,
    clicks: int,
    manner: Manner,
    rng: np.random.Generator,
    first: Mask | None = None,
) -> list[NDArray[np.void]]:
    """Click at the largest error again and again, and return what each correcting click met, in two cubes.

    Args:
        predictor: the network that answers.
        image: the scan.
        modality: of the scan.
        truth: (k, j, i) the lesion on the scan's grid.
        clicks: most clicks.
        manner: what the mask becomes in the cube round a click.
        rng: source of chance.
        first: (k, j, i) what takes the place of the mask after the first click, if anything does.

    Raises:
        ImageError: when the scan is of one value.
    """
    session = _WatchedSession(predictor, manner, rng)
    session.set_image(image, modality)
    grid = ImageGrid.of(image)
    lesion = VoxelSet.of(truth, grid.whole)
    spacing = image.GetSpacing()[::-1]
    sloppy = rng.random() < _SLOPPY
    answer = np.zeros_like(truth)
    records: list[NDArray[np.void]] = []
    for number in range(clicks):
        error = largest_error(truth, answer, spacing)
        if error is None:
            break
        voxel, positive = error
        if sloppy:
            moved = np.rint(voxel + rng.normal(0, 0.7, 3)).astype(int)
            moved = np.clip(moved, 0, np.array(truth.shape) - 1)
            if truth[tuple(moved)] == positive and answer[tuple(moved)] != positive:
                voxel = tuple(int(v) for v in moved)
        session.seen.clear()
        session.click(grid.point(np.array(voxel[::-1])), positive)
        records += [as_record(known, mask_share(lesion, grid, known.cube)) for known in session.seen]
        if first is not None and number == 0:
            session.pretend(VoxelSet.of(first, grid.whole))
        answer = sitk.GetArrayFromImage(session.mask) != 0
    return records


class _WatchedSession(InteractiveSession):
    """A session that notes what its clicks meet."""

    def __init__(self, predictor: Predictor, manner: Manner, rng: np.random.Generator) -> None:
        super().__init__(_Mannered(predictor, manner))
        self._rng = rng
        self.seen: list[Correction] = []

    def pretend(self, mask: VoxelSet) -> None:
        """Go on as if the one lesion so far had that mask."""
        (lesion,) = self._state.lesions
        self._state = replace(self._state, lesions=(replace(lesion, voxels=mask),))

    def _corrector_of(self, image: sitk.Image) -> MaskCorrector:
        return _WatchedCorrector(self._predictor, image, self._rng, self.seen)


class _WatchedCorrector(MaskCorrector):
    """A corrector that notes what it is asked, in cubes of varied spacing."""

    def __init__(
        self, predictor: Predictor, image: sitk.Image, rng: np.random.Generator, seen: list[Correction]
    ) -> None:
        super().__init__(predictor, image)
        self._rng, self._seen = rng, seen

    def redrawn(
        self, mask: VoxelSet, clicks: Sequence[Click], looks: Sequence[Look], cube: PatchGrid, depth: float
    ) -> VoxelSet:
        cubes = [self._varied(cube) for _ in range(_CUBES)]
        self._seen += [self.known(mask, clicks, looks, each, depth) for each in cubes]
        return super().redrawn(mask, clicks, looks, cubes[0], depth)

    def _varied(self, cube: PatchGrid) -> PatchGrid:
        low, high = np.log(_VARIED)
        return varied_cube(cube, self.grid, float(np.exp(self._rng.uniform(low, high))))


class _Mannered(Relay):
    """A predictor that corrects in a manner that is not its own."""

    def __init__(self, predictor: Predictor, manner: Manner) -> None:
        super().__init__(predictor, replace(predictor.capabilities, corrects=True))
        self._manner = manner

    def correct(self, correction: Correction) -> FloatArray:
        return self._manner(correction)


def _as_answered(correction: Correction) -> FloatArray:
    """Take the network's answer over."""
    return correction.answer


def _as_answered_nearby(correction: Correction) -> FloatArray:
    """The same up to four times as far as the error is deep; the click itself is obeyed."""
    distance = distance_from(correction.coords[-1], correction.image.shape[0])
    changed = np.where(distance < 4 * correction.depth, correction.answer, 2 * correction.before - 1)
    return made_to_obey(changed, correction, 1.0)


def _where_clicked(correction: Correction) -> FloatArray:
    """Change what lies closer to the click than the mask's edge, and little more."""
    return made_to_obey(2 * correction.before - 1, correction, 1.3)
