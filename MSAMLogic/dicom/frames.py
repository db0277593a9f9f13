"""Frames: the two-dimensional images of DICOM files, with what places them in the patient.

A single-frame file has its attributes at the root (DICOM PS3.3 C.7.6.2, Image Plane Module); an enhanced
multi-frame file has them in functional groups, shared or for each frame (PS3.3 C.7.6.16).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSAMLogic.errors import ImageError
from MSAMLogic.geometry import Point

if TYPE_CHECKING:
    from pydicom import Dataset

# What tells apart images at the same place, most telling first: echoes, time points, diffusion weights.
_TRAITS = (
    "EchoNumbers",
    "EchoTime",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "DiffusionBValue",
    "AcquisitionNumber",
    "ImageType",
)
_FRAME_TRAITS = (
    ("FrameContentSequence", "StackID"),
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("FrameContentSequence", "FrameAcquisitionNumber"),
    ("MRImageFrameTypeSequence", "FrameType"),
    ("CTImageFrameTypeSequence", "FrameType"),
)
_NAMES = {
    "ImagePositionPatient": "Image Position (Patient)",
    "ImageOrientationPatient": "Image Orientation (Patient)",
    "PixelSpacing": "Pixel Spacing",
}


@dataclass(frozen=True)
class Frame:
    """One slice of one file.

    Attributes:
        path: the file.
        number: which of the file's frames, from 0.
        header: the file's attributes, without pixels.
        position: LPS millimetres of the centre of the first pixel.
        orientation: directions of a row (towards the next column), then of a column, in LPS.
        spacing: millimetres between rows, then between columns.
        size: rows, columns.
        thickness: millimetres between slices, as the header says; ``None`` when it does not.
        slope: from stored to real values (PS3.3 C.11.1).
        intercept: likewise.
        scaled: whether the header says slope and intercept, which else are 1 and 0.
        traits: names and values that can tell it apart from another frame at the same place.
    """

    path: Path
    number: int
    header: Dataset
    position: Point
    orientation: tuple[float, ...]
    spacing: tuple[float, float]
    size: tuple[int, int]
    thickness: float | None
    slope: float
    intercept: float
    scaled: bool
    traits: tuple[tuple[str, str], ...]


def frames_of(header: Dataset, path: Path) -> list[Frame]:
    """Return the frames of a file.

    Raises:
        ImageError: when an attribute that places or scales the pixels is missing or makes no sense.
    """
    if not _is_one(header, "SamplesPerPixel"):
        raise ImageError("it holds colour pictures, not a scan")
    if _get(header, "ModalityLUTSequence"):
        raise ImageError("its values go through a table (Modality LUT), which is not supported")
    count = _whole_number(header, "NumberOfFrames", 1)
    per_frame = _get(header, "PerFrameFunctionalGroupsSequence")
    if per_frame is None:
        if count > 1:
            raise ImageError("it has several frames in a file but does not say where each of them lies")
        return [_frame(header, path, 0, [header], _TRAITS)]
    shared = _get(header, "SharedFunctionalGroupsSequence") or []
    if len(per_frame) != count:
        raise ImageError("the number of its frames and of their descriptions differ")
    return [
        _frame(header, path, number, [group, *shared], _FRAME_TRAITS)
        for number, group in enumerate(per_frame)
    ]


def _frame(
    header: Dataset, path: Path, number: int, groups: Sequence[Dataset], traits: Sequence[Any]
) -> Frame:
    """Return a frame from the first of ``groups`` that has each attribute."""
    found = {}
    for trait in traits:
        sequence, keyword = (None, trait) if isinstance(trait, str) else trait
        value = _lookup(groups, sequence, keyword)
        if value is not None:
            found[keyword] = str(value)
    enhanced = groups[0] is not header

    def numbers(sequence: str, keyword: str, count: int) -> list[float]:
        value = _lookup(groups, sequence if enhanced else None, keyword)
        values = _floats(value)
        if values is None or len(values) != count:
            raise ImageError(f"{_NAMES[keyword]} is missing or is not {count} numbers")
        return values

    def number_or(sequence: str, keyword: str, default: float | None) -> float | None:
        value = _lookup(groups, sequence if enhanced else None, keyword)
        if value is None or value == "":
            return default
        values = _floats(value)
        if values is None or len(values) != 1:
            raise ImageError(f"{keyword} is no number")
        return values[0]

    x, y, z = numbers("PlanePositionSequence", "ImagePositionPatient", 3)
    row, column = numbers("PixelMeasuresSequence", "PixelSpacing", 2)
    if row <= 0 or column <= 0:
        raise ImageError("Pixel Spacing is not above 0")
    slope = number_or("PixelValueTransformationSequence", "RescaleSlope", None)
    intercept = number_or("PixelValueTransformationSequence", "RescaleIntercept", None)
    if slope == 0:
        raise ImageError("Rescale Slope is 0")
    between = number_or("PixelMeasuresSequence", "SpacingBetweenSlices", None)
    thickness = between or number_or("PixelMeasuresSequence", "SliceThickness", None)
    return Frame(
        path=path,
        number=number,
        header=header,
        position=(x, y, z),
        orientation=tuple(numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)),
        spacing=(row, column),
        size=(_whole_number(header, "Rows"), _whole_number(header, "Columns")),
        thickness=abs(thickness) if thickness else None,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        scaled=slope is not None and intercept is not None,
        traits=tuple(found.items()),
    )


def _get(dataset: Dataset, keyword: str) -> Any:
    """Return a value, or ``None`` where it is missing or pydicom cannot make sense of it."""
    try:
        return dataset.get(keyword)
    except Exception:  # pydicom parses here, and what damaged bytes raise is not documented
        return None


def _lookup(groups: Sequence[Dataset], sequence: str | None, keyword: str) -> Any:
    """Return the first value of ``keyword``, at the root of the groups or in an item of ``sequence``."""
    for group in groups:
        items = [group] if sequence is None else _get(group, sequence) or []
        for item in items:
            value = _get(item, keyword)
            if value is not None:
                return value
    return None


def _floats(value: Any) -> list[float] | None:
    """Return finite numbers, or ``None`` where something else is given."""
    try:
        values = [
            float(v) for v in (value if isinstance(value, (list, tuple)) or _is_list(value) else [value])
        ]
    except (TypeError, ValueError, ArithmeticError):
        return None
    return values if all(math.isfinite(v) for v in values) else None


def _is_list(value: Any) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, (str, bytes))


def _is_one(header: Dataset, keyword: str) -> bool:
    return _floats(_get(header, keyword) or 1) == [1.0]


def _whole_number(header: Dataset, keyword: str, default: int | None = None) -> int:
    value = _get(header, keyword)
    values = _floats(default if value is None or value == "" else value)
    if values is None or len(values) != 1 or values[0] < 1 or values[0] != int(values[0]):
        raise ImageError(f"{keyword} is missing or is no whole number above 0")
    return int(values[0])
