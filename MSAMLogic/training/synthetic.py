"""Targets that no reader drew: lesions blended into real scans, and coherent regions of real scans.

Shapes are drawn in :mod:`MSAMLogic.training.shapes`.

A network that has seen a few dozen patients learns their anatomy. These generators teach what an
interactive tool needs in any organ: segment the thing under the click, obey corrections.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.training.clicks import Mask
from MSAMLogic.training.distance_from_edge import distance_from_edge
from MSAMLogic.training.shapes import Patch, smooth_noise

# Of the patch's voxels; a larger region is the background rather than a thing in it.
_LARGEST_REGION = 0.25
_SMALLEST_REGION = 40  # voxels
_GRADIENT_STEPS = 100  # that a strong gradient of the patch is; the strongest is 2.55 times as strong at most
_AROUND = 3.0  # voxels from the edge reaches what a lesion's contrast is measured by
_CORED = 0.45  # share of the inserted lesions with a core of other brightness, in a rim
_RIM = (0.15, 0.6)  # of the lesion's greatest depth the rim is thick
_CORE_STEEPNESS = (8.0, 40.0)  # of the core's edge: its inverse is a share of the greatest depth
_FADING = 0.35  # share of the inserted lesions without a sharp edge
_FADED = (0.1, 0.5)  # of the lesion's greatest depth its edge is wide, either way


def insert_lesion(patch: Patch, shape: Mask, rng: np.random.Generator) -> Patch:
    """Blend a lesion of the given shape into a patch.

    Contrast of either sign, measured in deviations of the tissue at hand; texture, the scan's own noise
    borrowed from beside it; a soft edge for partial volume, or one that fades over a part of the lesion's
    depth as that of an infiltrating tumour does; sometimes a necrotic core or an enhancing rim.

    Args:
        patch: scanner values.
        shape: where the lesion lies.
        rng: source of chance.
    """
    distance = distance_from_edge(shape)
    surroundings = patch[distance < _AROUND]
    spread = float(np.clip(surroundings.std(), 0.04 * (np.ptp(patch) + 1e-3), 0.25 * (np.ptp(patch) + 1e-3)))
    mean = float(surroundings.mean())
    contrast = float(rng.choice([-1, 1]) * rng.uniform(0.8, 3.5)) * spread
    texture = smooth_noise(patch.shape[0], int(rng.integers(6, 24)), rng) * spread * rng.uniform(0, 0.4)
    keep = rng.uniform(0.0, 0.6)  # how much of the tissue's own pattern shows through
    lesion = mean + contrast + keep * (patch - mean) + texture
    fine = patch - ndimage.gaussian_filter(patch, 1.5)
    shift = tuple(int(v) for v in rng.integers(8, max(9, patch.shape[0] - 8), 3))
    lesion += rng.uniform(0.3, 1.0) * np.clip(np.roll(fine, shift, (0, 1, 2)), -spread, spread)
    lesion += rng.normal(0, rng.uniform(0.0, 0.15) * spread, patch.shape)
    if rng.random() < _CORED:
        depth = np.maximum(0.5 - distance, 0)
        steepness = float(np.exp(rng.uniform(*np.log(_CORE_STEEPNESS))))
        share = depth / max(depth.max(), 1) - rng.uniform(*_RIM)
        core = 0.5 + 0.5 * np.tanh(0.5 * steepness * share)
        lesion += core * contrast * rng.uniform(-1.6, 0.8)
    soft = _faded(distance, rng) if rng.random() < _FADING else _sharp(shape, rng)
    blended: Patch = (patch * (1 - soft) + lesion * soft).astype(np.float32)
    return blended


def _sharp(shape: Mask, rng: np.random.Generator) -> Patch:
    """Return how much of each voxel is lesion where only the voxels blur the edge."""
    soft: Patch = ndimage.gaussian_filter(shape.astype(np.float32), rng.uniform(0.4, 1.2))
    return soft


def _faded(distance: Patch, rng: np.random.Generator) -> Patch:
    """Return how much of each voxel is lesion where it fades: half of it at the edge that a reader draws."""
    width = max(0.5, rng.uniform(*_FADED) * (0.5 - float(distance.min())))
    soft: Patch = np.where(distance > 2 * width, 0, 0.5 - 0.5 * np.tanh(distance / width)).astype(np.float32)
    return soft


def coherent_region(patch: Patch, seed: NDArray[np.integer], rng: np.random.Generator) -> Mask | None:
    """Return the connected region of similar brightness round ``seed``, or None when there is none.

    Args:
        patch: scanner values.
        seed: voxel (dim 0, dim 1, dim 2).
        rng: source of chance.

    Returns:
        A region of some size that is neither a sliver nor most of the patch.
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
    # What is one piece round a corner beyond the patch may be two within it.
    labels, _ = ndimage.label(region, np.ones((3, 3, 3)))
    region = labels == labels[tuple(seed - reach)]
    return region if _is_a_thing(region) else None


def merged_region(patch: Patch, seed: NDArray[np.integer], rng: np.random.Generator) -> Mask | None:
    """Return the region round ``seed`` of a hierarchy of supervoxels, or None when there is none.

    The supervoxels are the basins of the gradient; neighbours whose common border is low are merged
    (morphological watershed, Beucher and Meyer 1993), higher and higher until the region at the seed
    has some size: organs, vessels, bones, muscles, and lesions that nobody drew.

    Args:
        patch: scanner values.
        seed: voxel (dim 0, dim 1, dim 2).
        rng: source of chance.
    """
    smoothed = ndimage.gaussian_filter(patch, rng.uniform(0.8, 1.8))
    gradient = ndimage.gaussian_gradient_magnitude(smoothed, 1.0)
    scale = float(np.percentile(gradient, 95))
    if scale == 0.0:
        return None
    # ITK floods a few values more quickly than as many as there are voxels.
    steps = np.rint(gradient * (_GRADIENT_STEPS / scale)).clip(max=255).astype(np.uint8)
    image = sitk.GetImageFromArray(steps)
    found: Mask | None = None
    for level in np.sort(rng.uniform(0.02, 0.6, 3)):
        basins = sitk.MorphologicalWatershed(
            image, level=float(level * _GRADIENT_STEPS), markWatershedLine=False
        )
        labels = sitk.GetArrayViewFromImage(basins)
        region: Mask = ndimage.binary_fill_holes(labels == labels[tuple(seed)])
        if region.sum() > _LARGEST_REGION * region.size:
            break
        if _is_a_thing(region):
            found = region
    return found


def _is_a_thing(region: Mask) -> bool:
    """Whether a region is large enough, not most of the patch, and neither a sliver nor a sponge."""
    size = int(region.sum())
    if size < _SMALLEST_REGION or size > _LARGEST_REGION * region.size:
        return False
    surface = size - int(ndimage.binary_erosion(region, border_value=1).sum())
    return bool(surface < 4.5 * size ** (2 / 3) * 1.6)
