"""Measurements as a DICOM structured report: TID 1500 "Measurement Report" (PS3.16), which refers to a SEG.

Each lesion is a group of TID 1411 (volumetric ROI) with its volume, the long and short axis in the plane in
which the scan was taken, and for CT and MR the mean, deviation and range of the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSAMLogic.errors import ImageError
from MSAMLogic.export.dicom_context import (
    MANUFACTURER,
    MODEL_NAME,
    UTF_8,
    Algorithm,
    clean_headers,
    coded,
    dicom_errors,
    one_line,
    software,
)
from MSAMLogic.export.dicom_segmentation import require_dicom
from MSAMLogic.export.segments import Segment
from MSAMLogic.files import atomic_path
from MSAMLogic.measurements import LesionMeasurements, plane_axes

if TYPE_CHECKING:
    from pydicom import Dataset

    from MSAMLogic.dicom import DicomSource


def write_measurement_report(
    path: Path,
    segments: Sequence[Segment],
    measurements: Sequence[LesionMeasurements],
    segmentation: Dataset,
    source: DicomSource | None,
    algorithm: Algorithm,
    series_description: str = "Lesion measurements",
    series_number: int | None = None,
) -> Dataset:
    """Write measurements as a DICOM structured report (Comprehensive 3D SR), atomically.

    Args:
        path: the file.
        segments: those of ``segmentation``, in its order.
        measurements: one for each.
        segmentation: what :func:`write_dicom_segmentation` returned.
        source: the series that was measured.
        algorithm: what drew the segments.
        series_description: of the new series.
        series_number: of the new series; by default one more than the segmentation's.

    Returns:
        The data set that was written.

    Raises:
        ImageError: when the source is not DICOM or lacks what the report has to refer to, or the numbers of
            segments and measurements differ.
        OSError: when the file cannot be written.
    """
    source = require_dicom(source)
    if not len(segments) == len(measurements) == len(segmentation.SegmentSequence):
        raise ImageError("A report needs one measurement for each segment of the segmentation.")
    headers = clean_headers(source, say=False)  # the segmentation's writer has said it
    with dicom_errors("A DICOM report"):
        groups = [
            _group(number, segment, measured, segmentation, headers, source, algorithm)
            for number, (segment, measured) in enumerate(zip(segments, measurements, strict=True), start=1)
        ]
        number = int(segmentation.SeriesNumber) + 1 if series_number is None else series_number
        report = _report(groups, headers, segmentation, source.modality, series_description, number)
        with atomic_path(path) as partial:
            report.save_as(partial, enforce_file_format=True)
    return report


def _report(
    groups: Sequence[Any],
    headers: Sequence[Dataset],
    segmentation: Dataset,
    modality: str,
    series_description: str,
    series_number: int,
) -> Dataset:
    from highdicom import UID
    from highdicom.sr import (
        CodedConcept,
        Comprehensive3DSR,
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes

    observer = ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=UID(), name=MANUFACTURER, manufacturer_name=MANUFACTURER, model_name=MODEL_NAME
        ),
    )
    procedures = {
        "CT": CodedConcept("77477000", "SCT", "Computed tomography"),
        "MR": CodedConcept("113091000", "SCT", "Magnetic resonance imaging"),
    }
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=procedures.get(modality, CodedConcept("363679005", "SCT", "Imaging procedure")),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = Comprehensive3DSR(
        evidence=[segmentation, *headers],
        content=content[0],
        series_instance_uid=UID(),
        series_number=series_number,
        sop_instance_uid=UID(),
        instance_number=1,
        is_complete=True,
        series_description=one_line(series_description),
        **software(),
    )
    report.SpecificCharacterSet = UTF_8
    return report


def _group(
    number: int,
    segment: Segment,
    measured: LesionMeasurements,
    segmentation: Dataset,
    headers: Sequence[Dataset],
    source: DicomSource,
    algorithm: Algorithm,
) -> Any:
    """Return the group of one lesion (TID 1411)."""
    from highdicom.sr import (
        AlgorithmIdentification,
        FindingSite,
        ReferencedSegment,
        SourceSeriesForSegmentation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    item = segmentation.SegmentSequence[number - 1]
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=item.TrackingUID, identifier=item.TrackingID),
        referenced_segment=ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=number,
            source_series=SourceSeriesForSegmentation(headers[0].SeriesInstanceUID),
        ),
        finding_category=coded(segment.category),
        finding_type=coded(segment.type),
        finding_sites=[FindingSite(coded(segment.region))] if segment.region else None,
        algorithm_id=AlgorithmIdentification(
            name=one_line(algorithm.name), version=one_line(algorithm.version)
        ),
        measurements=[
            *_size(measured, source),
            *_values(measured, source.modality),
        ],
    )


def _size(measured: LesionMeasurements, source: DicomSource) -> list[Any]:
    """Return volume, and the axes in the plane of the scan's own slices."""
    from highdicom.sr import Measurement
    from pydicom.sr.codedict import codes

    (plane,) = (plane for plane, axis in plane_axes(source.grid).items() if axis == 2)
    diameters = measured.diameters[plane]
    return [
        Measurement(codes.SCT.Volume, _number(measured.volume_ml * 1000), codes.UCUM.CubicMillimeter),
        Measurement(codes.SCT.LongAxis, _number(diameters.long_mm), codes.UCUM.Millimeter),
        Measurement(codes.SCT.ShortAxis, _number(diameters.short_mm), codes.UCUM.Millimeter),
    ]


def _values(measured: LesionMeasurements, modality: str) -> list[Any]:
    """Return mean, deviation and range of the image's values (CID 7464 says which each is)."""
    from highdicom.sr import Measurement
    from pydicom.sr.codedict import codes

    quantities = {
        "CT": (codes.DCM.AttenuationCoefficient, codes.UCUM.HounsfieldUnit),
        "MR": (codes.DCM.MRSignalIntensity, codes.UCUM.NoUnits),
    }
    if modality not in quantities:  # what the values of others mean, their headers alone would tell
        return []
    name, unit = quantities[modality]
    return [
        Measurement(name, _number(value), unit, derivation=derivation)
        for value, derivation in (
            (measured.mean, codes.SCT.Mean),
            (measured.standard_deviation, codes.SCT.StandardDeviation),
            (measured.minimum, codes.SCT.Minimum),
            (measured.maximum, codes.SCT.Maximum),
        )
    ]


def _number(value: float) -> float:
    """Return a value in the digits that a decimal string has room for."""
    return float(f"{value:.9g}")
