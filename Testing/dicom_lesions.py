"""A small DICOM scan with two lesions that overlap, for the tests of what is written of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from dicom_files import write_enhanced, write_series
from pydicom import Dataset
from pydicom.dataset import FileDataset

from MSAMLogic.export import Algorithm, Segment, write_dicom_segmentation
from MSAMLogic.export.terminology import REGIONS, TYPES
from MSAMLogic.reading import Scan, read_scan

ALGORITHM = Algorithm("M-SAM compact", "3d7a40471390")
SIZE = (20, 16, 9)

Change = Callable[[int, FileDataset], None]


def a_scan() -> sitk.Image:
    values = np.random.default_rng(5).integers(-1000, 1000, SIZE[::-1]).astype(np.int16)
    scan = sitk.GetImageFromArray(values)
    scan.SetSpacing((0.5, 0.75, 2.5))
    scan.SetOrigin((-101.5, 60.25, 1200.125))
    return scan


def stored(folder: Path, kind: str = "CT", change: Change | None = None) -> Scan:
    """Write a scan and read it: kind is "CT", "MR", "enhanced CT" or "enhanced MR"."""
    if kind.startswith("enhanced"):
        path = folder / "source" / "scan.dcm"
        write_enhanced(path, a_scan(), kind[-2:], order=[2, 0, 1, 5, 4, 3, 8, 7, 6])
        return read_scan(path)
    write_series(folder / "source", a_scan(), modality=kind, change=change)
    return read_scan(folder / "source")


def box(scan: Scan, start: tuple[int, int, int], stop: tuple[int, int, int]) -> sitk.Image:
    array = np.zeros(SIZE[::-1], np.uint8)
    array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))[::-1]] = 1
    mask = sitk.GetImageFromArray(array)
    mask.CopyInformation(scan.image)
    return mask


def segments_of(scan: Scan) -> list[Segment]:
    """Return two lesions that overlap."""
    return [
        Segment(box(scan, (3, 3, 2), (12, 9, 6)), "Primary", (0.9, 0.4, 0.3), region=REGIONS["lung"]),
        Segment(box(scan, (8, 5, 4), (17, 12, 8)), "Necrosis", (0.0, 0.5, 1.0), type=TYPES["necrosis"]),
    ]


def write(scan: Scan, path: Path, **options: Any) -> Dataset:
    return write_dicom_segmentation(path, segments_of(scan), scan.source, ALGORITHM, **options)


KINDS = ["CT", "MR", "enhanced CT", "enhanced MR"]
