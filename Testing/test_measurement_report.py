"""Measurements as DICOM reports and as tables: every number, and to what it refers."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest
from dicom_files import PATIENT
from dicom_lesions import ALGORITHM, KINDS, segments_of, stored, write
from readers import problems_of, program

from MSAMLogic.errors import ImageError
from MSAMLogic.export import Segment, write_measurement_report, write_measurement_table
from MSAMLogic.measurements import LesionMeasurements, measure

# Reports


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_holds_the_measurements_and_refers_to_the_segmentation(tmp_path: Path, kind: str) -> None:
    from highdicom.sr import srread

    scan = stored(tmp_path, kind)
    segments = segments_of(scan)
    measured = [measure(scan.image, segment.mask) for segment in segments]
    segmentation = write(scan, tmp_path / "seg.dcm")
    write_measurement_report(tmp_path / "sr.dcm", segments, measured, segmentation, scan.source, ALGORITHM)
    assert problems_of(tmp_path / "sr.dcm") == []
    report = srread(tmp_path / "sr.dcm")
    assert report.content.get_planar_roi_measurement_groups() == []
    groups = report.content.get_volumetric_roi_measurement_groups()
    for number, (group, segment, expected) in enumerate(
        zip(groups, segments, measured, strict=True), start=1
    ):
        (reference,) = (
            item.ReferencedSOPSequence[0]
            for item in group[0].ContentSequence
            if item.ValueType == "IMAGE" and item.name.meaning == "Referenced Segment"
        )
        assert reference.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
        assert reference.ReferencedSegmentNumber == number
        assert group.tracking_uid == segmentation.SegmentSequence[number - 1].TrackingUID
        assert group.tracking_identifier == segment.name
        assert group.finding_type.value == segment.type.value
        sites = [site.value.value for site in group.finding_sites]
        assert sites == ([segment.region.value] if segment.region else [])
        values = {
            (m.name.meaning, m.derivation.meaning if m.derivation else ""): (m.value, m.unit.value)
            for m in group.get_measurements()
        }
        name, unit = ("Attenuation Coefficient", "[hnsf'U]") if "CT" in kind else ("MR signal intensity", "1")
        axial = expected.diameters["axial"]
        assert values == {
            ("Volume", ""): (pytest.approx(expected.volume_ml * 1000), "mm3"),
            ("Long axis", ""): (pytest.approx(axial.long_mm), "mm"),
            ("Short axis", ""): (pytest.approx(axial.short_mm), "mm"),
            (name, "Mean"): (pytest.approx(expected.mean), unit),
            (name, "Standard Deviation"): (pytest.approx(expected.standard_deviation), unit),
            (name, "Minimum"): (pytest.approx(expected.minimum), unit),
            (name, "Maximum"): (pytest.approx(expected.maximum), unit),
        }
    assert_dcmqi_reads(tmp_path, segments, measured)
    assert report.StudyInstanceUID == segmentation.StudyInstanceUID
    assert report.PatientID == PATIENT["PatientID"]
    assert (report.SeriesNumber, report.SeriesDescription) == (1008, "Lesion measurements")
    evidence = {
        item.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert segmentation.SOPInstanceUID in evidence


def assert_dcmqi_reads(folder: Path, segments: list[Segment], measured: list[LesionMeasurements]) -> None:
    """Compare the size of each lesion with what dcmqi's tid1500reader makes of the report."""
    command = [program("tid1500reader", "PyPI package dcmqi"), "--inputDICOM", str(folder / "sr.dcm")]
    command += ["--outputMetadata", str(folder / "sr.json")]
    subprocess.run(command, capture_output=True, check=True)
    groups = json.loads((folder / "sr.json").read_text())["Measurements"]
    for number, (group, segment, expected) in enumerate(
        zip(groups, segments, measured, strict=True), start=1
    ):
        assert (group["ReferencedSegment"], group["TrackingIdentifier"]) == (number, segment.name)
        assert group["Finding"]["CodeValue"] == segment.type.value
        values = {item["quantity"]["CodeMeaning"]: float(item["value"]) for item in group["measurementItems"]}
        assert values["Volume"] == pytest.approx(expected.volume_ml * 1000)
        assert values["Long axis"] == pytest.approx(expected.diameters["axial"].long_mm)
        assert values["Short axis"] == pytest.approx(expected.diameters["axial"].short_mm)


def test_a_report_of_other_segments_is_refused(tmp_path: Path) -> None:
    scan = stored(tmp_path)
    segmentation = write(scan, tmp_path / "seg.dcm")
    segment = segments_of(scan)[0]
    measured = measure(scan.image, segment.mask)
    with pytest.raises(ImageError, match="one measurement for each segment"):
        write_measurement_report(
            tmp_path / "sr.dcm", [segment], [measured], segmentation, scan.source, ALGORITHM
        )
    assert not (tmp_path / "sr.dcm").exists()


# Tables


def test_a_table_has_a_row_for_each_lesion(tmp_path: Path) -> None:
    scan = stored(tmp_path)
    measured = [measure(scan.image, segment.mask) for segment in segments_of(scan)]
    write_measurement_table(tmp_path / "table.csv", ["Primary", 'Läsion, "2"'], measured)
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["segment"] for row in rows] == ["Primary", 'Läsion, "2"']
    for row, expected in zip(rows, measured, strict=True):
        assert float(row["volume_ml"]) == pytest.approx(expected.volume_ml, rel=1e-5)
        assert int(row["voxel_count"]) == expected.voxel_count
        for name in ("mean", "standard_deviation", "minimum", "maximum"):
            assert float(row[name]) == pytest.approx(getattr(expected, name), rel=1e-5)
        for plane, diameters in expected.diameters.items():
            assert float(row[f"{plane}_long_mm"]) == pytest.approx(diameters.long_mm, abs=0.005)
            assert float(row[f"{plane}_short_mm"]) == pytest.approx(diameters.short_mm, abs=0.005)
            assert int(row[f"{plane}_slice"]) == diameters.slice_index
    assert not any(value in (tmp_path / "table.csv").read_text("utf-8") for value in PATIENT.values())
