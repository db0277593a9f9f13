"""Lesions of kept-aside patients in scans seen otherwise: stretched, turned, by another scanner.

A source of a few patients shows a few lesions in one kind of scan; what a model does elsewhere stays unseen.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk

from MSAMLogic.evaluation.protocol import SMALLEST_MM3
from MSAMLogic.training.cases import Case
from MSAMLogic.training.scan_variation import varied_scan


def seen_otherwise(
    case: Case, image: sitk.Image, lesion: sitk.Image, number: int, count: int
) -> Iterator[tuple[str, sitk.Image, sitk.Image]]:
    """Yield a scan with one lesion in so many variations, the same every time.

    One in which the lesion is too small for the click protocol is left out.

    Args:
        case: whose scan it is.
        image: the scan.
        lesion: uint8 mask (0, 1) on the grid of the scan.
        number: of the lesion in the case.
        count: how many variations.

    Yields:
        A name that tells the variation, the scan and the lesion on its grid.
    """
    truth = sitk.GetArrayFromImage(lesion) > 0
    for variation in range(1, count + 1):
        rng = np.random.default_rng((zlib.crc32(case.name.encode()), number, variation))
        varied, mask = varied_scan(image, case.modality, truth, rng)
        if mask.sum() * np.prod(varied.GetSpacing()) < SMALLEST_MM3:
            continue
        found = sitk.GetImageFromArray(mask.astype(np.uint8))
        found.CopyInformation(varied)
        yield f"{case.name} seen otherwise {variation}", varied, found
