"""First clicks to learn from: lesions of scans and made-up ones, each looked at as a session does first."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from torch.utils.data import Dataset

from MSAMLogic.bounding_box import bounding_box
from MSAMLogic.errors import ImageError
from MSAMLogic.geometry import ImageGrid
from MSAMLogic.intensity import Modality
from MSAMLogic.largest_error import deepest_voxel
from MSAMLogic.looking.look_again import first_looks
from MSAMLogic.looking.look_fusion import first_looks_in, fusion_cube
from MSAMLogic.looking.patch_answers import PatchAnswers
from MSAMLogic.mask_in_cube import mask_share
from MSAMLogic.predictor import Predictor
from MSAMLogic.session_state import Click
from MSAMLogic.training.fusions.record import as_record
from MSAMLogic.training.recorded_scans import Mask, ScanShares, any_scan
from MSAMLogic.training.samples import PatchSamples
from MSAMLogic.training.turning import random_rotation
from MSAMLogic.voxels import VoxelSet

_SLOPPY = 0.4  # share of the readers who click beside the middle of the lesion
_DEEP = 0.5  # share of the greatest depth that such a click has at least
_ASKEW = 0.5  # share of the scans on which the patient lies a little askew
_CUBES = 2  # of every first click
_VARIED = (0.6, 1.7)  # how many times as large as usual the cells of a recorded cube are
_OTHER = 0.3  # share of the cubes for which another look is believed than the one that suits best


class FirstClicks(Dataset[list[NDArray[np.void]]]):
    """First clicks by number: each is the list of what its looks show in some cubes, see :mod:`record`.

    Args:
        predictor: the network that looks.
        samples: where lesions come from; its cases are the scans.
        seed: of the whole sequence.
        count: how many clicks there are.
        shares: of the kinds of scan that are clicked.
    """

    def __init__(
        self, predictor: Predictor, samples: PatchSamples, seed: int, count: int, shares: ScanShares
    ) -> None:
        self.predictor, self.samples = predictor, samples
        self.seed, self.count, self.shares = seed, count, shares

    def __len__(self) -> int:
        """Return the number of clicks."""
        return self.count

    def __getitem__(self, number: int) -> list[NDArray[np.void]]:
        """Return the records of click ``number``; none when there is nothing to see round it."""
        rng = np.random.default_rng((self.seed, 6, number))
        image, modality, truth = any_scan(self.samples, number, self.shares, rng)
        if rng.random() < _ASKEW:
            turn = random_rotation(15, rng) @ np.asarray(image.GetDirection()).reshape(3, 3)
            image.SetDirection([float(v) for v in turn.ravel()])
        try:
            return record_first_click(self.predictor, image, modality, truth, rng)
        except ImageError:  # nothing but one value round the click: no reader would click there
            return []


def record_first_click(
    predictor: Predictor, image: sitk.Image, modality: Modality, truth: Mask, rng: np.random.Generator
) -> list[NDArray[np.void]]:
    """Click a lesion's middle, or beside it, and return what the first looks show in some cubes.

    Args:
        predictor: the network that looks.
        image: the scan.
        modality: of the scan.
        truth: (k, j, i) the lesion on the scan's grid.
        rng: source of chance.

    Raises:
        ImageError: when the scan is of one value.
    """
    grid = ImageGrid.of(image)
    answers = PatchAnswers(predictor, image, modality)
    lesion = VoxelSet.of(truth, grid.whole)
    voxel = _clicked(truth, image.GetSpacing()[::-1], rng)
    click = Click(grid.point(voxel[::-1].astype(float)))
    answers.first_grid(click.point)
    looks, chosen = first_looks(answers, [click])
    first_spacings = predictor.capabilities.first_looks
    records = []
    for _ in range(_CUBES):
        shown = looks[rng.integers(len(looks))] if rng.random() < _OTHER else chosen
        cube = fusion_cube(shown, click.point, grid, float(np.exp(rng.uniform(*np.log(_VARIED)))))
        known = first_looks_in(cube, image, shown, looks, first_spacings, click.point)
        records.append(as_record(known, mask_share(lesion, grid, cube)))
    return records


def _clicked(truth: Mask, spacing: tuple[float, ...], rng: np.random.Generator) -> NDArray[np.intp]:
    """Return the voxel (k, j, i) that is clicked: the deepest, or a deep one."""
    if rng.random() >= _SLOPPY:
        return deepest_voxel(truth, spacing)
    box = bounding_box(truth)
    assert box is not None  # every lesion has a voxel
    depth = ndimage.distance_transform_edt(np.pad(truth[box], 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    deep = np.argwhere(depth > _DEEP * depth.max()) + [axis.start for axis in box]
    return np.asarray(deep[rng.integers(len(deep))], np.intp)
