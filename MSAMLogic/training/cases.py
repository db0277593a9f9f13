"""The case list of a data set, its split by patient, and the files of a case."""

from __future__ import annotations

import csv
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from MSAMLogic.errors import TrainingError
from MSAMLogic.geometry import ImageGrid
from MSAMLogic.intensity import Modality

_COLUMNS = ("case", "source", "patient", "modality", "image", "mask")


@dataclass(frozen=True)
class Case:
    """One image with its lesion mask.

    Attributes:
        name: unique in the data set.
        source: collection that it comes from.
        patient: cases of one patient never meet on both sides of a split.
        modality: "CT" or "MR".
        image_path: volume readable by SimpleITK.
        mask_path: mask on the grid of the image, lesion > 0.
    """

    name: str
    source: str
    patient: str
    modality: Modality
    image_path: Path
    mask_path: Path


def read_cases(folder: Path) -> list[Case]:
    """Read ``cases.tsv`` of a data folder; image and mask paths in it are relative to the folder.

    Raises:
        TrainingError: when the list or one of its columns is missing.
    """
    table = folder / "cases.tsv"
    if not table.is_file():
        raise TrainingError(f"{table} does not exist; 'data' must name a folder with a cases.tsv.")
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    missing = [column for column in _COLUMNS if any(row.get(column) is None for row in rows)]
    if not rows or missing:
        raise TrainingError(
            f"{table} needs the columns {', '.join(_COLUMNS)}, filled in at least one row and all others."
        )
    return [
        Case(
            row["case"],
            row["source"],
            row["patient"],
            "CT" if row["modality"].upper().startswith("CT") else "MR",
            folder / row["image"],
            folder / row["mask"],
        )
        for row in rows
    ]


def split_by_patient(cases: list[Case]) -> tuple[list[Case], list[Case]]:
    """Return (training, validation) cases; of each source a fifth of the patients is kept aside.

    The patients are ordered by a hash of their name, so the split is the same everywhere, and a
    patient's CT and MR stay together.
    """
    patients: dict[str, set[str]] = {}
    for case in cases:
        patients.setdefault(case.source, set()).add(case.patient)
    kept_aside = set()
    for members in patients.values():
        ordered = sorted(members, key=lambda patient: (zlib.crc32(patient.encode()), patient))
        kept_aside.update(ordered[: math.ceil(len(ordered) / 5)])
    training = [case for case in cases if case.patient not in kept_aside]
    return training, [case for case in cases if case.patient in kept_aside]


def _read(path: Path, pixel_type: int) -> sitk.Image:
    try:
        return sitk.ReadImage(str(path), pixel_type)
    except RuntimeError as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> TrainingError:
    return TrainingError(f"{path} does not exist or is no image; correct cases.tsv.")


def voxels_of(case: Case) -> int:
    """Return how many voxels a case has, from the header of its image alone.

    Raises:
        TrainingError: when the file is missing or no image.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(case.image_path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(case.image_path) from error
    return math.prod(reader.GetSize())


def read_case(case: Case) -> tuple[sitk.Image, sitk.Image]:
    """Return image (int16) and mask (uint8) of a case, on one grid.

    Raises:
        TrainingError: when a file is missing or no image, or the grids differ.
    """
    image, mask = _read(case.image_path, sitk.sitkInt16), _read(case.mask_path, sitk.sitkUInt8)
    if not ImageGrid.of(image).matches(ImageGrid.of(mask)):
        raise TrainingError(f"Image and mask of case {case.name} lie on different grids.")
    return image, mask
