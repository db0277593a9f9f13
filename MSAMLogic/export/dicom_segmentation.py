"""DICOM segmentation (PS3.3 A.51): segments on the frames of the series that they were drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.errors import ImageError
from MSAMLogic.export.dicom_context import (
    MANUFACTURER,
    UTF_8,
    Algorithm,
    clean_headers,
    coded,
    dicom_errors,
    one_line,
    software,
)
from MSAMLogic.export.segments import Colour, Segment, place
from MSAMLogic.files import atomic_path
from MSAMLogic.geometry import Region

if TYPE_CHECKING:
    from pydicom import Dataset

    from MSAMLogic.dicom import DicomSource

_NOT_DICOM = (
    "The scan is not DICOM, so a DICOM file would have no patient, study or images to refer to; write "
    ".seg.nrrd, or give the DICOM series that the scan was made from."
)


def require_dicom(source: DicomSource | None) -> DicomSource:
    """Return the source.

    Raises:
        ImageError: when there is none, because the scan came from another format.
    """
    if source is None:
        raise ImageError(_NOT_DICOM)
    return source


def write_dicom_segmentation(
    path: Path,
    segments: Sequence[Segment],
    source: DicomSource | None,
    algorithm: Algorithm,
    fractional: bool = False,
    series_description: str = "Lesion segmentation",
    series_number: int | None = None,
) -> Dataset:
    """Write segments as a DICOM segmentation, atomically.

    Frames without a voxel of a segment are left out. Patient and study are the source's; series and
    instance are new.

    Args:
        path: the file.
        segments: one or more, which may overlap, none of them empty.
        source: the series that the masks lie on.
        algorithm: what drew them.
        fractional: write values from 0 to 1 in steps of 1/255, as probabilities, in place of yes and no.
        series_description: of the new series.
        series_number: of the new series; by default 1000 more than the source's.

    Returns:
        The data set that was written, for a report to refer to.

    Raises:
        ImageError: when the source is not DICOM or lacks what the file has to refer to, a mask is empty or
            does not lie on the source's voxels, or its values do not fit ``fractional``.
        OSError: when the file cannot be written.
    """
    source = require_dicom(source)
    if not segments:
        raise ImageError("There is no segment to write.")
    if len(source.headers) > 1 and any("PerFrameFunctionalGroupsSequence" in h for h in source.headers):
        raise ImageError(
            "The scan lies in several multi-frame files, but a DICOM segmentation can refer to one only; "
            "write .seg.nrrd."
        )
    headers = clean_headers(source)
    for header in headers:
        if not header.get("SliceThickness"):  # of type 2 in images, of type 1 here
            header.SliceThickness = _between(source)
    pixels, region = _pixels(segments, source, fractional)
    with dicom_errors("A DICOM segmentation"):
        data_set = _segmentation(
            segments,
            source,
            headers,
            pixels,
            region,
            algorithm,
            fractional,
            series_description,
            series_number,
        )
        with atomic_path(path) as partial:
            data_set.save_as(partial, enforce_file_format=True)
    return data_set


def _pixels(
    segments: Sequence[Segment], source: DicomSource, fractional: bool
) -> tuple[NDArray[Any], Region]:
    """Return (slice, row, column, segment) for the slices that have a voxel of any segment, and where."""
    placed = [place(segment.mask, source.grid) for segment in segments]
    for segment, (values, box) in zip(segments, placed, strict=True):
        if box.empty:
            raise ImageError(f"The mask of '{segment.name}' is empty; there is nothing to write.")
        if not fractional and not np.array_equal(values, np.rint(values)):
            raise ImageError(
                f"The mask of '{segment.name}' has fractions; ask for a fractional segmentation, "
                "or threshold it."
            )
        if fractional and (values.min() < 0 or values.max() > 1):
            raise ImageError(
                f"The mask of '{segment.name}' has values outside 0 to 1, which are no fractions."
            )
    first = min(box.start[2] for _, box in placed)
    stop = max(box.stop[2] for _, box in placed)
    columns, rows, _ = source.grid.size
    kind = np.float32 if fractional else np.uint8
    pixels = np.zeros((stop - first, rows, columns, len(segments)), kind)
    for n, (values, box) in enumerate(placed):
        (i0, j0, k0), (i1, j1, k1) = box.start, box.stop
        pixels[k0 - first : k1 - first, j0:j1, i0:i1, n] = values if fractional else values != 0
    return pixels, Region((0, 0, first), (columns, rows, stop))


def _segmentation(
    segments: Sequence[Segment],
    source: DicomSource,
    headers: list[Dataset],
    pixels: NDArray[Any],
    region: Region,
    algorithm: Algorithm,
    fractional: bool,
    series_description: str,
    series_number: int | None,
) -> Dataset:
    from highdicom import UID, PixelMeasuresSequence, PlaneOrientationSequence
    from highdicom.enum import CoordinateSystemNames
    from highdicom.seg import Segmentation

    slices = range(region.start[2], region.stop[2])
    frames = [(headers[0] if len(headers) == 1 else headers[k], source.frame_numbers[k]) for k in slices]
    axes = np.array(source.grid.direction).reshape(3, 3)
    data_set = Segmentation(
        source_images=headers,
        pixel_array=pixels,
        segmentation_type="FRACTIONAL" if fractional else "BINARY",
        segment_descriptions=[_description(n, s, algorithm) for n, s in enumerate(segments, start=1)],
        series_instance_uid=UID(),
        series_number=_series_number(headers[0], series_number),
        sop_instance_uid=UID(),
        instance_number=1,
        content_description="Lesions outlined from clicks",
        content_label="LESION",
        series_description=one_line(series_description),
        plane_positions=[_position(header, frame) for header, frame in frames],
        plane_orientation=PlaneOrientationSequence(
            CoordinateSystemNames.PATIENT, [float(f"{v:.12g}") for v in axes[:, :2].T.ravel()]
        ),
        pixel_measures=PixelMeasuresSequence(
            pixel_spacing=(source.grid.spacing[1], source.grid.spacing[0]),
            slice_thickness=_between(source),
            spacing_between_slices=_between(source),
        ),
        **software(),
    )
    data_set.SpecificCharacterSet = UTF_8
    measures = data_set.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    # highdicom works this out from the slices with a segment, which may be a single one.
    measures.SpacingBetweenSlices = _between(source)
    if len(headers) == 1 and len(source.frame_numbers) < int(headers[0].get("NumberOfFrames", 1)):
        _leave_out_other_frames(data_set, source)
    return data_set


def _description(number: int, segment: Segment, algorithm: Algorithm) -> Any:
    """Return a segment's item (PS3.3 C.8.20.2, table C.8.20-4)."""
    from highdicom import UID, AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    name = one_line(segment.name)
    return SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=coded(segment.category),
        segmented_property_type=coded(segment.type),
        algorithm_type="SEMIAUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=one_line(algorithm.name),
            family=codes.DCM.ArtificialIntelligence,
            version=one_line(algorithm.version),
            source=MANUFACTURER,
        ),
        tracking_uid=segment.tracking_uid or UID(),
        tracking_id=one_line(segment.tracking_id or name),
        anatomic_regions=[coded(segment.region)] if segment.region else None,
        display_color=CIELabColor.from_rgb(*_bytes(segment.colour)),
    )


def _bytes(colour: Colour) -> list[int]:
    return [round(255 * min(max(v, 0.0), 1.0)) for v in colour]


def _position(header: Dataset, frame: int) -> Any:
    """Return the position of a slice, in the very digits of its source."""
    from highdicom import PlanePositionSequence
    from highdicom.enum import CoordinateSystemNames

    holder = header
    if "PerFrameFunctionalGroupsSequence" in header:
        group = header.PerFrameFunctionalGroupsSequence[frame]
        shared = header.get("SharedFunctionalGroupsSequence") or []
        holder = next(g for g in (group, *shared) if "PlanePositionSequence" in g).PlanePositionSequence[0]
    return PlanePositionSequence(CoordinateSystemNames.PATIENT, holder.ImagePositionPatient)


def _leave_out_other_frames(data_set: Dataset, source: DicomSource) -> None:
    """Drop references to frames at the same place that belong to another echo or time point."""
    own = {number + 1 for number in source.frame_numbers}
    for group in data_set.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence", []):
            derivation.SourceImageSequence = [
                item for item in derivation.SourceImageSequence if int(item.ReferencedFrameNumber) in own
            ]


def _between(source: DicomSource) -> float:
    """Return millimetres between slices along their normal, which a tilted gantry's third axis is not."""
    axes = np.array(source.grid.direction).reshape(3, 3)
    normal = np.cross(axes[:, 0], axes[:, 1])
    # As a decimal string has it, of at most 16 characters.
    return float(f"{abs(float(axes[:, 2] @ normal)) * source.grid.spacing[2]:.10g}")


def _series_number(header: Dataset, wanted: int | None) -> int:
    if wanted is not None:
        return wanted
    try:
        number = int(header.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        number = 0
    return number + 1000 if 0 <= number < 2**30 else 1000
