"""Lesions implanted in scans of kept-aside patients: of any size, where no reader drew one.

The lesions of a few patients say little about large ones in a brain or small ones in a limb. What is
implanted is made up, and its edge is known to the voxel: how a model does on it tells what it learned of
lesions, not of the organs in which it met them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk

from MSAMLogic.evaluation.protocol import SMALLEST_MM3
from MSAMLogic.training.cases import Case
from MSAMLogic.training.implanting import implanted_scan
from MSAMLogic.training.loaded_case import LoadedCase
from MSAMLogic.training.samples import PatchSamples

_PATCH_SIZE = 96  # voxels a side of the patch in which a lesion is made, as where clicks are recorded
_SPACINGS = (0.5, 5.0)  # millimetres; what PatchSamples makes patches of, which are not made here
_STREAM = 9  # a number that no variation of a scan has, so that the same case draws otherwise


def implanted_lesions(case: Case, count: int) -> Iterator[tuple[str, sitk.Image, sitk.Image]]:
    """Yield a case's scan with so many other lesions, one at a time, the same every time.

    One that is too small for the click protocol is left out. The lesions that a reader drew stay where they
    are, unless they are covered.

    Args:
        case: whose scan it is.
        count: how many lesions.

    Yields:
        A name that tells the lesion, the scan with it, and its uint8 mask (0, 1) on the scan's grid.

    Raises:
        TrainingError: when the case cannot be read or has no lesion of its own.
    """
    samples = PatchSamples([LoadedCase(case)], {}, _PATCH_SIZE, _SPACINGS, 0, count)
    for number in range(1, count + 1):
        rng = np.random.default_rng((zlib.crc32(case.name.encode()), _STREAM, number))
        found = implanted_scan(samples, rng)
        if found is None:
            continue
        scan, _, truth = found
        if truth.sum() * np.prod(scan.GetSpacing()) < SMALLEST_MM3:
            continue
        lesion = sitk.GetImageFromArray(truth.astype(np.uint8))
        lesion.CopyInformation(scan)
        yield f"{case.name} implanted {number}", scan, lesion
