"""How the papers measure: one protocol each, from a loaded case to the masks that are scored.

Random points come from a seed and the case's name, so a run can be repeated exactly.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MSAMLogic.bounding_box import Mask
from MSAMLogic.geometry import Point
from MSAMLogic.predictor import TorchPredictor
from MSAMLogic.semantic import classify_image
from MSAMLogic.session import InteractiveSession
from MSAMLogic.training.clicks import random_click, random_voxel
from MSAMLogic.training.experiments.boxes import BoxGrid
from MSAMLogic.training.experiments.network import patch_shape
from MSAMLogic.training.experiments.patches import normalised_patch
from MSAMLogic.training.experiments.volumes import LoadedVolume


class Answer(NamedTuple):
    """A mask to be scored.

    Attributes:
        target: number of the target, from 1.
        points: how many were given; 0 for a system that takes none.
        truth: the target.
        mask: the answer, of the same shape.
        spacing: millimetres along the axes of both.
        seconds: that the system took for it, from the first point on.
    """

    target: int
    points: int
    truth: Mask
    mask: Mask
    spacing: tuple[float, ...]
    seconds: float


def in_patch(
    predictor: TorchPredictor, volume: LoadedVolume, points: Sequence[int], smallest: int
) -> Iterator[Answer]:
    """Click in one patch round each target and score there, as M-SAM's release does.

    Each click is any voxel of the mistakes, the first any voxel of the target.

    Args:
        predictor: of the M-SAM family.
        volume: the case.
        points: numbers of clicks after which to score.
        smallest: targets with fewer voxels in the patch are left out, as in training.
    """
    for target in volume.present:
        grid = _box(predictor, volume.middle(target))
        truth = grid.extract(volume.label_image, nearest=True) == target
        if not truth.any() or np.count_nonzero(truth) < smallest:
            continue
        rng = _chance(volume, target)
        capabilities = predictor.capabilities
        prompt = np.zeros((capabilities.prompt_size,) * 3, np.float32)
        patch = normalised_patch(volume, grid, capabilities.intensity, capabilities.outside)
        began = time.perf_counter()
        features = predictor.encode(patch)
        seconds = time.perf_counter() - began
        mask: Mask | None = None
        clicks: list[tuple[NDArray[np.intp], int]] = []
        for number in range(1, max(points) + 1):
            click = random_click(truth, mask, rng)
            if click is not None:  # nothing is wrong: the answer stays
                clicks = [*clicks, click] if capabilities.all_clicks else [click]
                began = time.perf_counter()
                logits, prompt, _ = predictor.decode(
                    features,
                    np.array([voxel for voxel, _ in clicks], np.float32),
                    np.array([label for _, label in clicks]),
                    prompt,
                )
                mask = grid.extract(grid.image(logits)) > 0
                seconds += time.perf_counter() - began
            if number in points and mask is not None:
                yield Answer(target, number, truth, mask, grid.spacing, seconds)


def in_session(predictor: TorchPredictor, volume: LoadedVolume, points: Sequence[int]) -> Iterator[Answer]:
    """Click into the interactive session and score the whole volume, as SAM-Med3D's paper does (4.3).

    Args:
        predictor: any that takes clicks.
        volume: the case.
        points: numbers of clicks after which to score.
    """
    spacing = volume.image.GetSpacing()[::-1]
    for target in volume.present:
        truth = volume.labels == target
        rng = _chance(volume, target)
        session = InteractiveSession(predictor)
        session.set_image(volume.image)
        mask: Mask | None = None
        seconds = 0.0
        for number in range(1, max(points) + 1):
            click = random_click(truth, mask, rng)
            if click is not None:
                point = volume.grid.point(click[0][::-1].astype(float))
                began = time.perf_counter()
                session.click(point, positive=bool(click[1]))
                seconds += time.perf_counter() - began
                mask = sitk.GetArrayFromImage(session.mask) > 0
            if number in points and mask is not None:
                yield Answer(target, number, truth, mask, spacing, seconds)


def at_points(predictor: TorchPredictor, volume: LoadedVolume, points: Sequence[int]) -> Iterator[Answer]:
    """Give all points at once, in a patch round them, and score the whole volume, as 3DSAM-adapter does.

    Args:
        predictor: one that takes points for the lesion.
        volume: the case.
        points: how many points, one answer each; they are any voxels of the target.
    """
    capabilities = predictor.capabilities
    spacing = volume.image.GetSpacing()[::-1]
    for target in volume.present:
        truth = volume.labels == target
        for count in points:
            rng = _chance(volume, target)
            chosen = np.array([random_voxel(truth, rng)[::-1] for _ in range(count)], float)
            worlds = np.array([volume.grid.point(voxel) for voxel in chosen])
            x, y, z = (worlds.min(axis=0) + worlds.max(axis=0)) / 2
            grid = _box(predictor, (float(x), float(y), float(z)))
            patch = normalised_patch(volume, grid, capabilities.intensity, capabilities.outside)
            began = time.perf_counter()
            logits, _, _ = predictor.decode(
                predictor.encode(patch),
                grid.voxels(worlds).astype(np.float32),
                np.ones(count, np.int64),
                np.zeros((capabilities.prompt_size,) * 3, np.float32),
            )
            outside = float(min(logits.min(), -1.0))
            answer = sitk.Resample(
                grid.image(logits), volume.image, sitk.Transform(), sitk.sitkLinear, outside, sitk.sitkFloat32
            )
            seconds = time.perf_counter() - began
            yield Answer(target, count, truth, sitk.GetArrayFromImage(answer) > 0, spacing, seconds)


def semantic(predictor: TorchPredictor, volume: LoadedVolume) -> Iterator[Answer]:
    """Let the network name every voxel of the whole volume, and score each class.

    Args:
        predictor: one that names what it finds.
        volume: the case.
    """
    began = time.perf_counter()
    found = classify_image(predictor, volume.image, volume.volume.modality)
    labels = sitk.GetArrayFromImage(found.labels)
    seconds = time.perf_counter() - began
    for target in volume.present:
        truth, mask = volume.labels == target, labels == target
        yield Answer(target, 0, truth, mask, volume.image.GetSpacing()[::-1], seconds)


def _chance(volume: LoadedVolume, target: int) -> np.random.Generator:
    return np.random.default_rng((zlib.crc32(volume.volume.name.encode()), target))


def _box(predictor: TorchPredictor, centre: Point) -> BoxGrid:
    shape, spacing = patch_shape(predictor.network)
    return BoxGrid(centre, spacing, shape)
