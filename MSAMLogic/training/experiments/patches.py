"""The samples of an experiment: patches of its training cases, made from a seed and an index alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from MSAMLogic.capabilities import IntensityRange
from MSAMLogic.errors import TrainingError
from MSAMLogic.geometry import RAS_AXES, Index, Point
from MSAMLogic.intensity import normalise
from MSAMLogic.training.datasets import Volume
from MSAMLogic.training.experiments.boxes import BoxGrid
from MSAMLogic.training.experiments.config import PatchConfig, Turning
from MSAMLogic.training.experiments.volumes import LoadedVolume
from MSAMLogic.training.run import ENDLESS
from MSAMLogic.training.turning import random_rotation

_ATTEMPTS = 50
_KEPT_VOLUMES = 2  # in memory, for each process that prepares samples


class CasePatches(Dataset[dict[str, Tensor]]):
    """Patches of training cases, each case once an epoch in an order of the epoch's own.

    Args:
        volumes: the training cases.
        targets: label values of each target.
        config: which patches.
        shape: voxels of a patch along (R, A, S).
        spacing: millimetres between them.
        intensity: a fixed normalisation in place of M-SAM's.
        semantic: whether the target is all classes at once; otherwise one that is there, as 1.
        epoch_length: samples an epoch; what goes beyond the cases begins again with the first.
        seed: of everything that is drawn.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        targets: Mapping[str, tuple[int, ...]],
        config: PatchConfig,
        shape: Index,
        spacing: Point,
        intensity: IntensityRange | None,
        semantic: bool,
        epoch_length: int,
        seed: int,
    ) -> None:
        self.volumes, self.config = volumes, config
        self.shape, self.spacing, self.intensity = shape, spacing, intensity
        self.semantic, self.epoch_length, self.seed = semantic, epoch_length, seed
        self._loaded = lru_cache(_KEPT_VOLUMES)(lambda number: LoadedVolume(volumes[number], targets))

    def __len__(self) -> int:
        """Return the nominal number of samples."""
        return ENDLESS

    def case_of(self, index: int) -> int:
        """Return which case sample ``index`` shows, unless its patch has too little of the target."""
        epoch, place = divmod(index, self.epoch_length)
        order = np.random.default_rng((self.seed, 4, epoch)).permutation(len(self.volumes))
        return int(order[place % len(order)])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return sample ``index``: ``patch`` (1, ...) float32 and ``target`` (1, ...) int64 of its shape.

        Raises:
            TrainingError: when no case has enough of the target.
        """
        rng = np.random.default_rng((self.seed, 3, index))
        for attempt in range(_ATTEMPTS):
            number = self.case_of(index) if attempt == 0 else int(rng.integers(len(self.volumes)))
            volume = self._loaded(number)
            present = volume.present
            if not present and self.config.smallest:
                continue
            wanted = int(rng.choice(present)) if present else 0
            grid = self._grid(volume, wanted, rng)
            target = grid.extract(volume.label_image, nearest=True).astype(np.int64)
            if not self.semantic:
                target = (target == wanted).astype(np.int64) if wanted else np.zeros_like(target)
            if np.count_nonzero(target) < self.config.smallest:
                continue
            # 3DSAM-adapter's release pads before it normalises in training, and after it in testing.
            outside = 0.0 if self.intensity is None else self.intensity.low
            patch = normalised_patch(volume, grid, self.intensity, outside)
            if rng.random() < self.config.shift:
                patch += np.float32(rng.uniform(-self.config.shifts, self.config.shifts))
            return {"patch": torch.from_numpy(patch[None]), "target": torch.from_numpy(target[None])}
        raise TrainingError(
            f"Of {_ATTEMPTS} cases none has {self.config.smallest} voxels of the target in a patch; check "
            "the targets, or lower patches.smallest."
        )

    def _grid(self, volume: LoadedVolume, wanted: int, rng: np.random.Generator) -> BoxGrid:
        config = self.config
        if config.centre == "box" and wanted:
            centre = volume.middle(wanted)
        elif wanted and rng.random() < config.foreground:
            centre = volume.grid.point(rng.choice(volume.voxels(wanted)).astype(float))
        else:
            centre = volume.grid.point(rng.integers(0, volume.grid.size).astype(float))
        axes, zoom = _turned(config.turning, rng)
        x, y, z = (spacing * zoom for spacing in self.spacing)
        return BoxGrid(centre, (x, y, z), self.shape, axes)


def normalised_patch(
    volume: LoadedVolume, grid: BoxGrid, intensity: IntensityRange | None, outside: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the values of a case in a box, as the network takes them.

    Args:
        volume: the case.
        grid: the box.
        intensity: a fixed normalisation in place of M-SAM's.
        outside: scanner value of what lies outside the image.
    """
    return normalise(grid.extract(volume.image, outside), volume.volume.modality, intensity)


def _turned(turning: Turning, rng: np.random.Generator) -> tuple[tuple[float, ...], float]:
    """Return axes of a patch and the factor of its spacing."""
    flips, rotates, zooms = rng.random(3) < turning.flip, *(rng.random(2) < (turning.rotate, turning.zoom))
    axes = np.asarray(RAS_AXES).reshape(3, 3) * np.where(flips, -1, 1)
    if rotates:
        axes = random_rotation(turning.degrees, rng) @ axes
    zoom = float(rng.uniform(*turning.zooms)) if zooms else 1.0
    return tuple(float(v) for v in axes.ravel()), 1 / zoom
