"""Shapes of lesions that no reader drew: ellipsoids, lobes, spicules, and lesions that lean on a wall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.largest_error import largest_part
from MSAMLogic.training.clicks import Mask

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
    distance, _ = _ellipsoid_distance(size, centre, radius, rng)
    roughness = rng.uniform(0.0, 0.28)
    cells = int(np.clip(size / max(radius, 2.0) * rng.uniform(0.7, 2.0), 3, 24))
    return largest_part(distance < 1 + roughness * smooth_noise(size, cells, rng))


def lobulated_shape(size: int, centre: NDArray[np.floating], radius: float, rng: np.random.Generator) -> Mask:
    """Return several grown shapes that run into one another; arguments as for :func:`grown_shape`."""
    shape = grown_shape(size, centre, 0.75 * radius, rng)
    for _ in range(int(rng.integers(1, 5))):
        direction = rng.standard_normal(3)
        lobe = np.asarray(centre) + direction / np.linalg.norm(direction) * radius * rng.uniform(0.5, 0.9)
        shape = shape | grown_shape(size, lobe, radius * rng.uniform(0.3, 0.65), rng)
    return largest_part(shape)


def spiculated_shape(
    size: int, centre: NDArray[np.floating], radius: float, rng: np.random.Generator
) -> Mask:
    """Return a grown shape with spikes in some directions; arguments as for :func:`grown_shape`."""
    distance, directions = _ellipsoid_distance(size, centre, 0.8 * radius, rng)
    noise = smooth_noise(32, int(rng.integers(8, 14)), rng)
    spikes = ndimage.map_coordinates(noise, directions * 15 + 15.5, order=1, mode="nearest")
    reach = 1 + rng.uniform(0.25, 0.6) * np.clip(spikes - 0.8, 0, 2)
    return largest_part(distance < reach)


def leaning_shape(shape: Mask, patch: Patch, rng: np.random.Generator) -> Mask:
    """Return ``shape`` without what lies in other tissue than its middle: a lesion at a wall or vessel.

    Args:
        shape: a shape on the patch.
        patch: scanner values.
        rng: source of chance; decides how different the other tissue must be.

    Returns:
        The part of the shape on one side of the strongest contrast in it; all of it where little or no
        contrast is, or too little would be left.
    """
    smoothed = ndimage.gaussian_filter(patch, 1.0)
    values = smoothed[shape]
    if values.size < 20:
        return shape
    low, high = np.percentile(values, (5, 95))
    if high - low < 0.3 * float(patch.std()) + 1e-6:
        return shape
    threshold = low + (high - low) * rng.uniform(0.35, 0.65)
    one_side = shape & ((smoothed > threshold) == (np.median(values) > threshold))
    kept = ndimage.binary_opening(one_side) if values.size > 300 else one_side
    if kept.sum() < 0.35 * values.size:
        return shape
    return largest_part(kept)


def _ellipsoid_distance(
    size: int, centre: NDArray[np.floating], radius: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the distance from the centre in radii (size³) and the direction (3, size³) of each voxel."""
    axes = rng.uniform(0.6, 1.5, 3)
    axes *= radius / axes.prod() ** (1 / 3)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    coords = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32)] * 3, indexing="ij"), axis=-1)
    local = (coords - np.asarray(centre, np.float32)) @ turn.astype(np.float32) / axes.astype(np.float32)
    distance = np.sqrt((local**2).sum(axis=-1))
    directions = np.moveaxis(local / np.maximum(distance, 1e-3)[..., None], -1, 0)
    return distance, directions
