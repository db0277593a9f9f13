"""Lesions blended into whole scans: of any size wherever there is tissue, in a head, a limb or a chest.

The few scans that readers drew on show each organ with lesions of one size. A network that sees whole scans
then learns the organ: that a mask as large as a fist is wrong in a brain, because none there ever was. What
is implanted here is as often large as small, in every scan; heads lose their skull now and then, as those of
many collections have.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.geometry import PatchGrid, extract_patch
from MSAMLogic.intensity import Modality
from MSAMLogic.largest_error import largest_part
from MSAMLogic.training.loaded_case import LoadedCase
from MSAMLogic.training.samples import PatchSamples
from MSAMLogic.training.synthetic import insert_lesion
from MSAMLogic.training.turning import random_rotation

Mask = NDArray[np.bool_]
Voxels = NDArray[np.float32]

# Spacing of the patch in which a lesion is made: at most that of one as large as the scan.
_FINEST_MM, _FINEST_SHARE = 0.6, 0.33
_LARGEST_SHARE = 0.35  # of a scan may be one lesion
_FEWEST_VOXELS = 30
_TRIES = 8
# A reader's window; a lesion of a soft tissue differs from it by a share of that, not of bone and air.
_LOWEST_HU, _HIGHEST_HU = (-250.0, -80.0), (120.0, 400.0)
_SKULL_MM = (9.0, 18.0)  # how deep below the skin a brain begins
_BARE = 0.5  # share of the MR scans that lose what lies about that deep


def implanted_scan(
    samples: PatchSamples, rng: np.random.Generator
) -> tuple[sitk.Image, Modality, Mask] | None:
    """Return a whole scan with a lesion blended in, its modality, and (k, j, i) that lesion.

    None where no place for one was found.

    Args:
        samples: whose cases are the scans and whose shapes are implanted.
        rng: source of chance.
    """
    case, _ = samples.draw_lesion(rng)
    image = sitk.Cast(case.image, sitk.sitkFloat32)
    body = case.body
    if case.case.modality != "CT" and rng.random() < _BARE:
        image, body = without_skull(image, body, case.least_tissue, float(rng.uniform(*_SKULL_MM)), rng)
    for _ in range(_TRIES if len(body) else 0):
        implanted = _implanted(image, case, body[rng.integers(len(body))], samples, rng)
        if implanted is not None:
            scan, truth = implanted
            return scan, case.case.modality, truth
    return None


def without_skull(
    image: sitk.Image, body: NDArray[np.intp], least: float, depth: float, rng: np.random.Generator
) -> tuple[sitk.Image, NDArray[np.intp]]:
    """Return a scan with one value wherever it is not so deep in the body, and what of the body is left.

    The scan as it is where nothing would be left.

    Args:
        image: the scan, float32.
        body: (N, 3) voxels (i, j, k) that show tissue.
        least: the value above which a voxel shows tissue.
        depth: millimetres.
        rng: source of chance: the one value is 0 where that is no tissue, or darker still.
    """
    values = sitk.GetArrayFromImage(image)
    spacing = image.GetSpacing()[::-1]
    tissue = ndimage.gaussian_filter(values, [2.0 / s for s in spacing]) > least
    filled = np.stack([ndimage.binary_fill_holes(section) for section in largest_part(tissue)])
    head = sitk.GetImageFromArray(filled.astype(np.uint8))
    head.SetSpacing(image.GetSpacing())
    # The scan's own faces are no skin: beyond them nothing is background.
    distance = sitk.SignedMaurerDistanceMap(
        head, insideIsPositive=True, squaredDistance=False, useImageSpacing=True
    )
    kept = sitk.GetArrayFromImage(distance) > depth
    left = body[kept[tuple(body.T[::-1])]]
    if not len(left):
        return image, body
    around = min(0.0, least) if rng.random() < 0.5 else least - rng.uniform(0, 2) * float(values[kept].std())
    bare = sitk.GetImageFromArray(np.where(kept, values, np.float32(around)))
    bare.CopyInformation(image)
    return bare, left


def _implanted(
    image: sitk.Image,
    case: LoadedCase,
    seed: NDArray[np.intp],
    samples: PatchSamples,
    rng: np.random.Generator,
) -> tuple[sitk.Image, Mask] | None:
    """Return the scan with a lesion near a voxel (i, j, k), and the lesion; None where it has no place."""
    grid, size = case.grid, samples.patch_size
    coarsest = max(n * s for n, s in zip(grid.size, grid.spacing, strict=True)) / size
    spacing = max(_FINEST_MM, coarsest * float(np.exp(rng.uniform(np.log(_FINEST_SHARE), 0))))
    axes = random_rotation(30, rng) @ np.diag([-1.0, -1.0, 1.0])
    patch = PatchGrid(grid.point(seed.astype(float)), spacing, size, tuple(float(v) for v in axes.ravel()))
    values, tissue = _windowed(image, case, patch, rng)
    shape = largest_part(samples.shape(values, rng) & tissue)
    if not shape.any():
        return None
    # Beyond the tissue is nothing that a lesion's soft edge could blend with.
    change = (insert_lesion(values, shape, rng) - values) * ndimage.gaussian_filter(
        tissue.astype(np.float32), 0.7
    )
    added, share = (
        sitk.Resample(patch.image(part), image, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        for part in (change.astype(np.float32), shape.astype(np.float32))
    )
    truth = largest_part(sitk.GetArrayViewFromImage(share) >= 0.5)
    if not _FEWEST_VOXELS <= truth.sum() < _LARGEST_SHARE * truth.size:
        return None
    return image + added, truth


def _windowed(
    image: sitk.Image, case: LoadedCase, patch: PatchGrid, rng: np.random.Generator
) -> tuple[Voxels, Mask]:
    """Return a patch of the scan, CT in a window, and where it shows tissue."""
    values = extract_patch(image, patch, np.nan, antialias=True)
    within = ~np.isnan(values)
    filled = np.nan_to_num(values, nan=float(np.min(values, where=within, initial=np.inf)))
    tissue = within & (filled > case.least_tissue)
    if case.case.modality == "CT":
        filled = np.clip(filled, rng.uniform(*_LOWEST_HU), rng.uniform(*_HIGHEST_HU))
    return filled.astype(np.float32), ndimage.binary_closing(tissue, iterations=2) & within
