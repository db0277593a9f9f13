"""Targets that no reader drew: lesions blended into real scans, and coherent regions of real scans.

A network that has seen a few dozen patients learns their anatomy. These generators teach what an
interactive tool needs in any organ: segment the thing under the click, obey corrections.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.training.clicks import Mask, largest_component

Patch = NDArray[np.float32]


def smooth_noise(size: int, cells: int, rng: np.random.Generator) -> Patch:
    """Return smooth noise (size³), mean 0 and deviation 1, with about ``cells`` bumps a side."""
    coarse = rng.standard_normal((cells + 3,) * 3).astype(np.float32)
    positions = np.linspace(1, cells + 1, size)
    for axis in range(3):
        lower = np.floor(positions).astype(int)
        weight = (positions - lower).astype(np.float32)
        weight = (weight * weight * (3 - 2 * weight)).reshape([-1 if a == axis else 1 for a in range(3)])
        coarse = np.take(coarse, lower, axis) * (1 - weight) + np.take(coarse, lower + 1, axis) * weight
    noise: Patch = (coarse - coarse.mean()) / (coarse.std() + 1e-6)
    return noise


def grown_shape(size: int, centre: NDArray[np.floating], radius: float, rng: np.random.Generator) -> Mask:
    """Return a lesion-like shape: an ellipsoid whose surface is warped by smooth noise.

    Args:
        size: voxels a side of the patch.
        centre: voxel (dim 0, dim 1, dim 2) that the shape lies round.
        radius: mean radius in voxels.
        rng: source of chance.
    """
    axes = rng.uniform(0.6, 1.5, 3)
    axes *= radius / axes.prod() ** (1 / 3)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    coords = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32)] * 3, indexing="ij"), axis=-1)
    local = (coords - centre.astype(np.float32)) @ turn.astype(np.float32) / axes.astype(np.float32)
    distance = np.sqrt((local**2).sum(axis=-1))
    roughness = rng.uniform(0.0, 0.28)
    cells = int(np.clip(size / max(radius, 2.0) * rng.uniform(0.7, 2.0), 3, 24))
    return largest_component(distance < 1 + roughness * smooth_noise(size, cells, rng))


def insert_lesion(patch: Patch, shape: Mask, rng: np.random.Generator) -> Patch:
    """Blend a lesion of the given shape into a patch.

    Contrast of either sign, measured in deviations of the tissue at hand; texture; a soft edge for
    partial volume; sometimes a necrotic core or an enhancing rim.

    Args:
        patch: scanner values.
        shape: where the lesion lies.
        rng: source of chance.
    """
    ring = ndimage.binary_dilation(shape, iterations=3)
    surroundings = patch[ring]
    spread = float(np.clip(surroundings.std(), 0.04 * (np.ptp(patch) + 1e-3), 0.25 * (np.ptp(patch) + 1e-3)))
    mean = float(surroundings.mean())
    contrast = float(rng.choice([-1, 1]) * rng.uniform(0.8, 3.5)) * spread
    texture = smooth_noise(patch.shape[0], int(rng.integers(6, 24)), rng) * spread * rng.uniform(0, 0.4)
    keep = rng.uniform(0.0, 0.6)  # how much of the tissue's own pattern shows through
    lesion = mean + contrast + keep * (patch - mean) + texture
    lesion += rng.normal(0, 0.15 * spread, patch.shape)
    if rng.random() < 0.35:
        depth = ndimage.distance_transform_edt(shape)
        core = 1 / (1 + np.exp(-(depth / max(depth.max(), 1) - rng.uniform(0.3, 0.6)) * 12))
        lesion += core * contrast * rng.uniform(-1.2, 0.8)
    soft = ndimage.gaussian_filter(shape.astype(np.float32), rng.uniform(0.4, 1.2))
    blended: Patch = (patch * (1 - soft) + lesion * soft).astype(np.float32)
    return blended


def coherent_region(patch: Patch, seed: NDArray[np.integer], rng: np.random.Generator) -> Mask | None:
    """Return the connected region of similar brightness round ``seed``, or None when there is none.

    Args:
        patch: scanner values.
        seed: voxel (dim 0, dim 1, dim 2).
        rng: source of chance.

    Returns:
        A region of at least 40 voxels that is neither a sliver nor most of the patch.
    """
    smoothed = ndimage.gaussian_filter(patch, rng.uniform(0.7, 2.0))
    spread = float(smoothed.std())
    if spread == 0.0:
        return None
    band = np.abs(smoothed - smoothed[tuple(seed)]) < spread * rng.uniform(0.12, 0.6)
    # Morphology takes what lies beyond the patch for empty; repeated at the border, a region goes on there.
    reach = 4
    band = np.pad(band, reach, mode="edge")
    seed = seed + reach
    band = ndimage.binary_opening(band, iterations=int(rng.integers(1, 3)))
    labels, _ = ndimage.label(band)
    label = labels[tuple(seed)]
    if label == 0:
        return None
    region: Mask = ndimage.binary_closing(labels == label, iterations=2)
    region = ndimage.binary_fill_holes(region)[reach:-reach, reach:-reach, reach:-reach]
    size = int(region.sum())
    if size < 40 or size > 0.2 * region.size:
        return None
    surface = size - int(ndimage.binary_erosion(region).sum())
    return region if surface < 4.5 * size ** (2 / 3) * 1.6 else None
