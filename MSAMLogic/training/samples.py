"""Training samples: a normalised patch and its target, made from a seed and an index alone.

Sample ``i`` of seed ``s`` is the same whenever and wherever it is made, so a resumed run sees the same
data in the same order, and several workers need not talk to each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from MSAMLogic.errors import TrainingError
from MSAMLogic.geometry import PatchGrid, Point, extract_patch
from MSAMLogic.intensity import Modality, normalise
from MSAMLogic.training.cases import Lesion, LoadedCase
from MSAMLogic.training.clicks import Mask
from MSAMLogic.training.synthetic import coherent_region, grown_shape, insert_lesion, smooth_noise

Kind = Literal["lesion", "inserted", "region"]
# Marks voxels outside the image until they are filled; an average with a single such sample still shows.
_OUTSIDE = -1e6


@dataclass(frozen=True)
class SampleMix:
    """How often each kind of target is drawn; the shares need not add up to 1.

    Attributes:
        lesion: lesions that a reader drew.
        inserted: lesions blended into a scan.
        region: coherent regions of a scan.

    Raises:
        ValueError: when a share is negative or all are zero.
    """

    lesion: float = 0.62
    inserted: float = 0.2
    region: float = 0.18

    def __post_init__(self) -> None:
        """Check the shares."""
        shares = (self.lesion, self.inserted, self.region)
        if min(shares) < 0 or not sum(shares) > 0:
            raise ValueError("the shares of the mix must not be negative, nor all zero")


class PatchSamples(Dataset[dict[str, Tensor]]):
    """Endless samples, addressed by index.

    Args:
        cases: cases in memory.
        source_weights: how often each source is drawn; sources that are not named weigh 1.
        patch_size: voxels a side.
        spacings: smallest and largest patch spacing in millimetres.
        seed: of the whole sequence.
        length: nominal number of samples.
        mix: shares of the kinds of target.

    Raises:
        TrainingError: when no case has a lesion.
    """

    def __init__(
        self,
        cases: list[LoadedCase],
        source_weights: dict[str, float],
        patch_size: int,
        spacings: tuple[float, float],
        seed: int,
        length: int,
        mix: SampleMix | None = None,
    ) -> None:
        self.by_source: dict[str, list[LoadedCase]] = {}
        for case in cases:
            if case.lesions:
                self.by_source.setdefault(case.case.source, []).append(case)
        if not self.by_source:
            raise TrainingError("No case has a lesion that is large enough to train on; check the masks.")
        weights = np.array([source_weights.get(source, 1.0) for source in self.by_source])
        self.source_shares = weights / weights.sum()
        self.patch_size = patch_size
        self.spacings = spacings
        self.seed = seed
        self.length = length
        mix = mix or SampleMix()
        shares = np.array([mix.lesion, mix.inserted, mix.region])
        self.kind_shares = shares / shares.sum()

    def __len__(self) -> int:
        """Return the nominal number of samples."""
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return sample ``index``: ``patch`` (1, n, n, n) float32 and ``target`` (1, n, n, n) bool."""
        rng = np.random.default_rng((self.seed, index))
        while True:
            kind: Kind = ("lesion", "inserted", "region")[rng.choice(3, p=self.kind_shares)]
            patch, target = self._draw(kind, rng)
            if target is not None and target.sum() >= 6:
                return {
                    "patch": torch.from_numpy(patch[None].copy()),
                    "target": torch.from_numpy(target[None].copy()),
                }

    def _draw(self, kind: Kind, rng: np.random.Generator) -> tuple[NDArray[np.float32], Mask | None]:
        sources = list(self.by_source)
        source = sources[rng.choice(len(sources), p=self.source_shares)]
        cases = self.by_source[source]
        case = cases[rng.integers(len(cases))]
        lesion = case.lesions[rng.integers(len(case.lesions))]
        n = self.patch_size
        if kind == "lesion":
            grid = self._grid_round(lesion, rng)
        else:
            spacing = float(np.exp(rng.uniform(np.log(0.5), np.log(3.0))))
            body = case.body
            seed = body[rng.integers(len(body))] if len(body) else np.array(case.grid.size) // 2
            grid = PatchGrid(
                self._jittered(case.grid.point(seed), 0.15 * n * spacing, rng), spacing, n, _turn(rng)
            )
        patch = extract_patch(case.image, grid, outside=_OUTSIDE, antialias=True)
        patch = _fill_outside(patch, rng)
        centre = np.clip(n / 2 + rng.normal(0, n / 10, 3), 6, n - 7)
        target: Mask | None
        if kind == "lesion":
            target = extract_patch(case.components, grid, nearest=True) == lesion.label
        elif kind == "inserted":
            radius = float(np.exp(rng.uniform(np.log(2.0), np.log(0.42 * n))))
            target = grown_shape(n, centre, radius, rng)
            patch = insert_lesion(patch, target, rng)
        else:
            target = coherent_region(patch, centre.astype(int), rng)
        if target is not None:
            patch = _augment(normalise(patch, case.case.modality), case.case.modality, rng)
        return patch, target

    def _grid_round(self, lesion: Lesion, rng: np.random.Generator) -> PatchGrid:
        """Return a patch that shows the lesion small, filling it, or cut off at its border."""
        n = self.patch_size
        fill = float(np.exp(rng.uniform(np.log(0.1), np.log(1.3))))
        if rng.random() < 0.5:  # the size that a zoomed look aims at
            fill = rng.uniform(0.3, 0.75)
        spacing = float(np.clip(lesion.extent / (fill * n), *self.spacings))
        if rng.random() < 0.15:  # the first look
            spacing = 1.5
        off_centre = 0.3 * max(lesion.extent, 0.3 * n * spacing)
        return PatchGrid(self._jittered(lesion.centre, off_centre, rng), spacing, n, _turn(rng))

    @staticmethod
    def _jittered(point: Point, reach: float, rng: np.random.Generator) -> Point:
        x, y, z = np.asarray(point) + rng.uniform(-reach, reach, 3)
        return (float(x), float(y), float(z))


def _turn(rng: np.random.Generator) -> tuple[float, ...]:
    """Return patch axes: RAS, some flipped or exchanged, half of the time turned by up to 20 degrees."""
    axes = np.diag([-1.0, -1.0, 1.0]) * rng.choice([-1, 1], 3)
    if rng.random() < 0.3:
        axes = axes[:, rng.permutation(3)]
    if rng.random() < 0.5:
        vector = rng.standard_normal(3)
        angle = np.deg2rad(rng.uniform(-20, 20))
        x, y, z = vector / np.linalg.norm(vector)
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        axes = (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross) @ axes
    return tuple(float(v) for v in axes.ravel())


def _fill_outside(patch: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Replace what lies outside the image: by 0, as the session does, or by made-up tissue.

    The crops of the data end close to the lesion; without made-up surroundings a network learns that a
    lesion is what lies in the middle of emptiness.
    """
    outside = patch < 0.05 * _OUTSIDE
    if not outside.any():
        return patch
    filled = patch.copy()
    inside = patch[~outside]
    if rng.random() < 0.5 or inside.size < 50:
        filled[outside] = 0.0
        return filled
    low, high = np.percentile(inside, (10, 60))
    level = rng.uniform(low, high)
    noise = smooth_noise(patch.shape[0], int(rng.integers(4, 20)), rng)
    made_up = (
        level + 0.3 * float(inside.std()) * noise + rng.normal(0, 0.1 * float(inside.std()), patch.shape)
    )
    filled[outside] = made_up[outside].astype(np.float32)
    return filled


def _augment(patch: NDArray[np.float32], modality: Modality, rng: np.random.Generator) -> NDArray[np.float32]:
    """Vary contrast, noise, sharpness and slice thickness of a normalised patch."""
    out: NDArray[np.floating] = patch
    if rng.random() < 0.25:
        out = ndimage.gaussian_filter(out, rng.uniform(0.3, 1.2))
    if rng.random() < 0.25:  # thick slices along one axis
        axis, factor = int(rng.integers(3)), int(rng.integers(2, 5))
        n = out.shape[axis]
        coarse = np.take(out, np.arange(factor // 2, n, factor), axis)
        out = ndimage.zoom(coarse, [n / coarse.shape[a] if a == axis else 1 for a in range(3)], order=1)
    if rng.random() < 0.3:
        out = out * (1 + rng.uniform(0.05, 0.25) * smooth_noise(out.shape[0], 2, rng))
    if rng.random() < 0.4:
        low, high = np.percentile(out, (1, 99))
        unit = np.clip((out - low) / (high - low + 1e-6), 0, 1.5)
        out = unit ** float(np.exp(rng.uniform(-0.5, 0.5))) * (high - low) + low
    if modality == "CT" and rng.random() < 0.3:  # a reader's window
        out = np.clip(out, np.percentile(out, rng.uniform(0, 20)), np.percentile(out, rng.uniform(95, 100)))
    if rng.random() < 0.12:
        out = -out
    if rng.random() < 0.5:
        out = out * rng.uniform(0.8, 1.25) + rng.normal(0, 0.2)
    if rng.random() < 0.3:
        out = out + rng.normal(0, rng.uniform(0.02, 0.25), out.shape)
    return np.asarray(out, dtype=np.float32)
