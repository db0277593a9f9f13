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

from MSAMLogic.aligned_sampling import sampled
from MSAMLogic.errors import TrainingError
from MSAMLogic.geometry import PatchGrid, Point
from MSAMLogic.intensity import Modality, normalise
from MSAMLogic.training.clicks import Mask
from MSAMLogic.training.lesions import Lesion
from MSAMLogic.training.loaded_case import LoadedCase
from MSAMLogic.training.redrawing import redrawn
from MSAMLogic.training.shapes import (
    grown_shape,
    leaning_shape,
    lobulated_shape,
    smooth_noise,
    spiculated_shape,
)
from MSAMLogic.training.synthetic import coherent_region, insert_lesion, merged_region
from MSAMLogic.training.turning import random_rotation

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

    lesion: float = 0.5
    inserted: float = 0.28
    region: float = 0.22

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
        redrawn: share of the drawn and inserted lesions whose target is what another reader would draw.

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
        redrawn: float = 0.0,
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
        self.redrawn = redrawn
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
            if target is not None and 6 <= target.sum() < 0.9 * target.size:
                return {
                    "patch": torch.from_numpy(patch[None].copy()),
                    "target": torch.from_numpy(target[None].copy()),
                }

    def draw_lesion(self, rng: np.random.Generator) -> tuple[LoadedCase, Lesion]:
        """Return a case, its source drawn by the weights, and one of its lesions."""
        sources = list(self.by_source)
        cases = self.by_source[sources[rng.choice(len(sources), p=self.source_shares)]]
        case = cases[rng.integers(len(cases))]
        return case, case.lesions[rng.integers(len(case.lesions))]

    def _draw(self, kind: Kind, rng: np.random.Generator) -> tuple[NDArray[np.float32], Mask | None]:
        case, lesion = self.draw_lesion(rng)
        n = self.patch_size
        if kind == "lesion":
            grid = self._grid_at(lesion, rng)
        else:
            # No coarser than the image fills: made-up surroundings hold nothing to segment.
            shown = min(m * s for m, s in zip(case.grid.size, case.grid.spacing, strict=True))
            coarsest = float(np.clip(1.3 * shown / n, 0.5, 4.0))
            low, high = (float(np.clip(v, *self.spacings)) for v in (0.5, coarsest))
            spacing = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            body = case.body
            seed = body[rng.integers(len(body))] if len(body) else np.array(case.grid.size) // 2
            grid = PatchGrid(
                self._jittered(case.grid.point(seed), 0.15 * n * spacing, rng), spacing, n, _turn(rng)
            )
        patch = case.patch(grid, _OUTSIDE)
        patch = _cropped(patch, rng)
        within = patch > 0.05 * _OUTSIDE
        patch = _fill_outside(patch, rng)
        target: Mask | None
        if kind == "lesion":
            target = case.target(lesion, grid) & within
        elif kind == "inserted":
            target = self.shape(patch, rng) & within
            if not target.any():
                return patch, None
            patch = insert_lesion(patch, target, rng)
        else:
            centre = np.clip(n / 2 + rng.normal(0, n / 10, 3), 6, n - 7).astype(int)
            generator = coherent_region if rng.random() < 0.5 else merged_region
            target = generator(patch, centre, rng)
            if target is not None and (target & ~within).sum() > 0.1 * target.sum():
                return patch, None
        if target is not None:
            if kind != "region" and self.redrawn and rng.random() < self.redrawn:
                target = redrawn(target, rng) & within
            patch = _augment(normalise(patch, case.case.modality), case.case.modality, rng)
        return patch, target

    def shape(self, patch: NDArray[np.float32], rng: np.random.Generator) -> Mask:
        """Return the shape of a lesion to insert into a patch, near its middle.

        Grown, lobulated, spiculated, or a real lesion's.
        """
        n = self.patch_size
        kind = rng.random()
        if kind < 0.25:
            shape = self._drawn_shape(rng)
        else:
            # Mostly a lesion of the size that a look shows well, sometimes one that fills the patch.
            largest = 0.42 * n if rng.random() < 0.8 else 0.9 * n
            radius = float(np.exp(rng.uniform(np.log(2.0), np.log(largest))))
            centre = np.clip(n / 2 + rng.normal(0, n / 10, 3), 6, n - 7)
            draw = (
                grown_shape
                if kind < 0.6 or radius < 5
                else lobulated_shape
                if kind < 0.8
                else spiculated_shape
            )
            shape = draw(n, centre, radius, rng)
        return leaning_shape(shape, patch, rng) if rng.random() < 0.35 else shape

    def _drawn_shape(self, rng: np.random.Generator) -> Mask:
        """Return the shape of some lesion that a reader drew, turned and at another size."""
        cases = self.by_source[list(self.by_source)[rng.integers(len(self.by_source))]]
        case = cases[rng.integers(len(cases))]
        lesion = case.lesions[rng.integers(len(case.lesions))]
        n = self.patch_size
        fill = float(np.exp(rng.uniform(np.log(0.1), np.log(0.9))))
        spacing = max(lesion.extent / (fill * n), 1e-3)
        grid = PatchGrid(self._jittered(lesion.centre, 0.1 * n * spacing, rng), spacing, n, _turn(rng))
        return case.target(lesion, grid)

    def _grid_at(self, lesion: Lesion, rng: np.random.Generator) -> PatchGrid:
        """Return a patch that shows the lesion small, filling it, cut off, or from inside.

        Half of them lie round the lesion's middle, at the size that a zoomed look aims at or any other;
        the others round the point that a reader clicks first, whatever the spacing makes of the size, as
        a first look does.
        """
        n = self.patch_size
        habit = rng.random()
        if habit < 0.4:
            fill = float(rng.uniform(0.25, 0.75))
        elif habit < 0.6:
            fill = float(np.exp(rng.uniform(np.log(0.1), np.log(1.3))))
        else:
            fill = float(np.exp(rng.uniform(np.log(0.08), np.log(3.0))))
        spacing = float(np.clip(lesion.extent / (fill * n), *self.spacings))
        if habit < 0.6:
            point = self._jittered(lesion.centre, 0.3 * max(lesion.extent, 0.3 * n * spacing), rng)
        else:
            point = self._jittered(lesion.deepest, 0.1 * min(lesion.extent, n * spacing), rng)
        return PatchGrid(point, spacing, n, _turn(rng))

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
        axes = random_rotation(20, rng) @ axes
    return tuple(float(v) for v in axes.ravel())


def _cropped(patch: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Let the image end inside the patch now and then, as at the last slice of a scan."""
    if rng.random() > 0.08:
        return patch
    axis, n = int(rng.integers(3)), patch.shape[0]
    width = int(rng.integers(2, n // 3))
    gone = slice(0, width) if rng.random() < 0.5 else slice(n - width, n)
    out = patch.copy()
    out[tuple(gone if a == axis else slice(None) for a in range(3))] = _OUTSIDE
    return out


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
        out = _between_slices(out, int(rng.integers(3)), int(rng.integers(2, 5)))
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


def _between_slices(patch: NDArray[np.floating], axis: int, step: int) -> NDArray[np.float32]:
    """Return a patch of which only every so many slices along an axis were seen, linear in between."""
    n = patch.shape[0]
    seen = np.take(patch, np.arange(step // 2, n, step), axis)
    return sampled(seen, [np.linspace(0, size - 1, n) for size in seen.shape], 0.0)
