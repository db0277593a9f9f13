"""DICOM segmentations, reports and tables: what they say, to whom they refer, and what is refused."""

from __future__ import annotations

import csv
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import PATIENT, uid, write_enhanced, write_series
from pydicom import Dataset, dcmread
from pydicom.dataset import FileDataset
from readers import (
    assert_same_voxels,
    by_dcmqi,
    by_highdicom,
    by_pydicom,
    points_of,
    problems_of,
    program,
)

from MSAMLogic import __version__
from MSAMLogic.errors import ImageError
from MSAMLogic.export import (
    Algorithm,
    Segment,
    write_dicom_segmentation,
    write_measurement_report,
    write_measurement_table,
)
from MSAMLogic.export.terminology import REGIONS, TYPES
from MSAMLogic.geometry import ImageGrid
from MSAMLogic.measurements import LesionMeasurements, measure
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


# DICOM segmentation


@pytest.mark.parametrize("kind", KINDS)
def test_overlapping_segments_are_read_back_by_everyone(tmp_path: Path, kind: str) -> None:
    scan = stored(tmp_path, kind)
    path = tmp_path / "out.dcm"
    write(scan, path)
    assert problems_of(path) == []
    dcmqi, _ = by_dcmqi(path, tmp_path / "dcmqi")
    for found in (by_pydicom(path), by_highdicom(path), dcmqi):
        assert sorted(found) == [1, 2]
        for number, segment in enumerate(segments_of(scan), start=1):
            assert_same_voxels(found[number], points_of(segment.mask))


def code(item: Dataset) -> tuple[str, str, str]:
    return (item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)


def test_every_segment_says_what_it_is_and_what_drew_it(tmp_path: Path) -> None:
    scan = stored(tmp_path)
    write(scan, tmp_path / "out.dcm")
    file = dcmread(tmp_path / "out.dcm")
    assert (file.Modality, file.SegmentationType) == ("SEG", "BINARY")
    assert file.SegmentsOverlap == "YES"
    first, second = file.SegmentSequence
    assert (first.SegmentNumber, first.SegmentLabel) == (1, "Primary")
    category = ("49755003", "SCT", "Morphologically Abnormal Structure")
    assert code(first.SegmentedPropertyCategoryCodeSequence[0]) == category
    assert code(first.SegmentedPropertyTypeCodeSequence[0]) == ("52988006", "SCT", "Lesion")
    assert code(second.SegmentedPropertyTypeCodeSequence[0]) == ("6574001", "SCT", "Necrosis")
    assert code(first.AnatomicRegionSequence[0]) == ("39607008", "SCT", "Lung")
    assert "AnatomicRegionSequence" not in second
    for item in (first, second):
        assert item.SegmentAlgorithmType == "SEMIAUTOMATIC"
        assert item.SegmentAlgorithmName == "M-SAM compact"
        (algorithm,) = item.SegmentationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("M-SAM compact", "3d7a40471390")
        assert code(algorithm.AlgorithmFamilyCodeSequence[0])[0] == "123110"  # artificial intelligence
    assert (first.TrackingID, second.TrackingID) == ("Primary", "Necrosis")
    assert first.TrackingUID != second.TrackingUID
    assert (file.ManufacturerModelName, file.SoftwareVersions) == ("MSAMLogic", __version__)


def test_colours_and_codes_arrive_at_dcmqi(tmp_path: Path) -> None:
    scan = stored(tmp_path)
    write(scan, tmp_path / "out.dcm")
    _, said = by_dcmqi(tmp_path / "out.dcm", tmp_path / "dcmqi")
    first, second = (attributes for group in said["segmentAttributes"] for attributes in group)
    for attributes, segment in zip((first, second), segments_of(scan), strict=True):
        colour = np.array(attributes["recommendedDisplayRGBValue"]) / 255
        assert colour == pytest.approx(segment.colour, abs=0.02)  # by way of CIELab
        assert attributes["SegmentedPropertyTypeCodeSequence"]["CodeValue"] == segment.type.value
    assert first["AnatomicRegionSequence"]["CodeMeaning"] == "Lung"


def test_a_lesion_keeps_the_tracking_that_it_is_given(tmp_path: Path) -> None:
    scan = stored(tmp_path)
    lesion = Segment(segments_of(scan)[0].mask, tracking_uid=uid("lesion"), tracking_id="Target 1")
    write_dicom_segmentation(tmp_path / "out.dcm", [lesion], scan.source, ALGORITHM)
    (item,) = dcmread(tmp_path / "out.dcm").SegmentSequence
    assert (item.TrackingUID, item.TrackingID) == (uid("lesion"), "Target 1")


def test_patient_and_study_are_those_of_the_source_and_series_and_instance_are_new(tmp_path: Path) -> None:
    scan = stored(tmp_path)
    write(scan, tmp_path / "a.dcm")
    write(scan, tmp_path / "b.dcm", series_description="Follow-up", series_number=42)
    a, b = dcmread(tmp_path / "a.dcm"), dcmread(tmp_path / "b.dcm")
    for keyword, value in PATIENT.items():
        assert str(a[keyword].value) == value
    assert scan.source is not None
    header = scan.source.headers[0]
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        assert a[keyword].value == b[keyword].value == header[keyword].value
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
        assert len({a[keyword].value, b[keyword].value, header[keyword].value}) == 3
    assert (a.SeriesDescription, a.SeriesNumber) == ("Lesion segmentation", 1007)
    assert (b.SeriesDescription, b.SeriesNumber) == ("Follow-up", 42)


def test_frames_refer_to_the_images_they_lie_on_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    scan = stored(tmp_path)
    write(scan, tmp_path / "out.dcm")
    file = dcmread(tmp_path / "out.dcm")
    assert file.NumberOfFrames == 4 + 4  # slices 2 to 5, and 4 to 7
    assert scan.source is not None
    at = {header.SOPInstanceUID: np.array(header.ImagePositionPatient) for header in scan.source.headers}
    for group in file.PerFrameFunctionalGroupsSequence:
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient)
        assert np.array_equal(at[reference.ReferencedSOPInstanceUID], position)  # in the very same digits
        assert reference.SpatialLocationsPreserved == "YES"
    (series,) = file.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == scan.source.headers[0].SeriesInstanceUID
    referred = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert referred == set(at)


def test_frames_of_another_echo_are_not_referred_to(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "scan.dcm", a_scan(), "MR", echoes=2)
    scan = read_scan(tmp_path / "scan.dcm", "2")
    write(scan, tmp_path / "out.dcm")
    assert problems_of(tmp_path / "out.dcm") == []
    for group in dcmread(tmp_path / "out.dcm").PerFrameFunctionalGroupsSequence:
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        assert reference.ReferencedFrameNumber > SIZE[2]


def test_fractions_are_written_on_request(tmp_path: Path) -> None:
    scan = stored(tmp_path)
    share = sitk.Cast(box(scan, (3, 3, 2), (12, 9, 6)), sitk.sitkFloat32) * 0.4
    share[4, 4, 3] = 1.0
    path = tmp_path / "out.dcm"
    write_dicom_segmentation(path, [Segment(share)], scan.source, ALGORITHM, fractional=True)
    assert problems_of(path) == []
    file = dcmread(path)
    assert (file.SegmentationType, file.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    values = file.pixel_array / file.MaximumFractionalValue
    heights = [
        g.PlanePositionSequence[0].ImagePositionPatient[2] for g in file.PerFrameFunctionalGroupsSequence
    ]
    expected = sitk.GetArrayFromImage(share)[2:6]
    assert values[np.argsort(heights)] == pytest.approx(expected, abs=0.5 / 255 + 1e-6)
    assert_same_voxels(by_pydicom(path)[1], points_of(share))
    with pytest.raises(ImageError, match="fractional segmentation, or threshold"):
        write_dicom_segmentation(tmp_path / "no.dcm", [Segment(share)], scan.source, ALGORITHM)
    with pytest.raises(ImageError, match="outside 0 to 1"):
        write_dicom_segmentation(
            tmp_path / "no.dcm", [Segment(share * 2)], scan.source, ALGORITHM, fractional=True
        )
    assert not (tmp_path / "no.dcm").exists()


def test_one_voxel_is_enough(tmp_path: Path) -> None:
    scan = stored(tmp_path)
    path = tmp_path / "out.dcm"
    mask = box(scan, (4, 5, 6), (5, 6, 7))
    write_dicom_segmentation(path, [Segment(mask)], scan.source, ALGORITHM)
    assert problems_of(path) == []
    assert_same_voxels(by_pydicom(path)[1], points_of(mask))
    # Also here a reader can tell how thick the voxel is.
    assert (
        dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices == 2.5
    )


@pytest.mark.parametrize("name", ["Läsion 病変", "two\nlines", "a\\b", "x" * 100, "  ", "Ж"])
def test_a_segment_may_have_any_name(tmp_path: Path, name: str) -> None:
    scan = stored(tmp_path)
    lesion = Segment(segments_of(scan)[0].mask, name)
    write_dicom_segmentation(tmp_path / "out.dcm", [lesion], scan.source, ALGORITHM)
    assert problems_of(tmp_path / "out.dcm") == []
    label = dcmread(tmp_path / "out.dcm").SegmentSequence[0].SegmentLabel
    assert label == {"a\\b": "a b", "  ": "Lesion"}.get(name, " ".join(name.split())[:64])


def test_a_name_in_another_script_keeps_its_letters(tmp_path: Path) -> None:
    def japanese(_: int, file: FileDataset) -> None:
        file.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        file.PatientName = "Yamada^Tarou=山田^太郎"

    scan = stored(tmp_path, change=japanese)
    write(scan, tmp_path / "out.dcm")
    assert str(dcmread(tmp_path / "out.dcm").PatientName) == "Yamada^Tarou=山田^太郎"
    assert problems_of(tmp_path / "out.dcm") == []


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_enhanced_file_that_other_software_made_is_a_source_too(tmp_path: Path, data_folder: Path) -> None:
    from highdicom.legacy import LegacyConvertedEnhancedCTImage

    folder = data_folder / "dicom" / "STS_008_CT" / "image"
    series = read_scan(folder)
    converted = LegacyConvertedEnhancedCTImage(
        [dcmread(path) for path in sorted(folder.iterdir())], uid("converted series"), 9, uid("converted"), 1
    )
    converted.save_as(tmp_path / "converted.dcm")
    scan = read_scan(tmp_path / "converted.dcm")
    assert np.array_equal(sitk.GetArrayFromImage(scan.image), sitk.GetArrayFromImage(series.image))
    assert ImageGrid.of(scan.image).matches(ImageGrid.of(series.image))
    array = np.zeros(scan.image.GetSize()[::-1], np.uint8)
    array[20:30, 50:90, 40:70] = 1
    mask = sitk.GetImageFromArray(array)
    mask.CopyInformation(series.image)
    write_dicom_segmentation(tmp_path / "out.dcm", [Segment(mask)], scan.source, ALGORITHM)
    assert problems_of(tmp_path / "out.dcm") == []
    assert_same_voxels(by_pydicom(tmp_path / "out.dcm")[1], points_of(mask))


# What a source can lack


def test_a_scan_in_several_enhanced_files_is_read_and_refused_as_a_source(tmp_path: Path) -> None:
    def of_one_series(file: FileDataset) -> None:
        file.SeriesInstanceUID = uid("halves")

    for name, order in (("a", [0, 1, 2, 3]), ("b", [4, 5, 6, 7, 8])):
        write_enhanced(tmp_path / "scan" / f"{name}.dcm", a_scan(), order=order, change=of_one_series)
    scan = read_scan(tmp_path / "scan")
    assert np.array_equal(sitk.GetArrayFromImage(scan.image), sitk.GetArrayFromImage(a_scan()))
    with pytest.raises(ImageError, match=r"several multi-frame files.*\.seg\.nrrd"):
        write(scan, tmp_path / "out.dcm")


def test_a_scan_that_is_not_dicom_is_refused_and_nrrd_named(tmp_path: Path) -> None:
    sitk.WriteImage(a_scan(), str(tmp_path / "scan.nrrd"))
    scan = read_scan(tmp_path / "scan.nrrd")
    with pytest.raises(ImageError, match=r"not DICOM.*\.seg\.nrrd"):
        write(scan, tmp_path / "out.dcm")
    with pytest.raises(ImageError, match=r"not DICOM.*\.seg\.nrrd"):
        write_measurement_report(tmp_path / "r.dcm", [], [], Dataset(), scan.source, ALGORITHM)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.nrrd"]


@pytest.mark.parametrize(
    ("keyword", "name"),
    [("FrameOfReferenceUID", "Frame of Reference UID"), ("StudyInstanceUID", "Study Instance UID")],
)
def test_what_a_segmentation_must_refer_to_is_asked_for_by_name(
    tmp_path: Path, keyword: str, name: str
) -> None:
    scan = stored(tmp_path, change=lambda _, file: delattr(file, keyword))
    with pytest.raises(ImageError, match=f"lacks a valid {name}"):
        write(scan, tmp_path / "out.dcm")
    assert not (tmp_path / "out.dcm").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_uid_that_is_none_is_asked_for_by_name(tmp_path: Path) -> None:
    scan = stored(tmp_path, change=lambda _, file: file["StudyInstanceUID"].__setattr__("_value", "1.2.x"))
    with pytest.raises(ImageError, match="lacks a valid Study Instance UID"):
        write(scan, tmp_path / "out.dcm")


def test_what_may_be_empty_may_be_missing(tmp_path: Path) -> None:
    def bare(_: int, file: FileDataset) -> None:
        for keyword in (*PATIENT, "PositionReferenceIndicator", "SeriesNumber", "SliceThickness"):
            delattr(file, keyword)

    scan = stored(tmp_path, change=bare)
    write(scan, tmp_path / "out.dcm")
    assert problems_of(tmp_path / "out.dcm") == []
    assert dcmread(tmp_path / "out.dcm").PatientID == ""


BROKEN = {
    "StudyID": "a study's number that is too long",
    "StudyDate": "02.01.2024",
    "PatientSex": "female",
    "PatientBirthDate": "unknown",
    "AccessionNumber": "x" * 30,
    "StudyDescription": "d" * 90,
}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_values_that_break_the_standard_are_left_empty_and_said_without_the_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: int, file: FileDataset) -> None:
        for keyword, value in BROKEN.items():
            file[keyword]._value = value

    scan = stored(tmp_path, change=broken)
    with caplog.at_level(logging.WARNING):
        write(scan, tmp_path / "out.dcm")
    assert problems_of(tmp_path / "out.dcm") == []
    file = dcmread(tmp_path / "out.dcm")
    assert [file.get(keyword) or "" for keyword in BROKEN] == [""] * len(BROKEN)
    assert (file.PatientName, file.PatientID) == (PATIENT["PatientName"], PATIENT["PatientID"])
    said = caplog.text
    assert "Study ID" in said and "Patient's Sex" in said
    assert not any(value in said for value in BROKEN.values())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_patient_id_is_never_dropped(tmp_path: Path) -> None:
    def broken(_: int, file: FileDataset) -> None:
        file["PatientID"]._value = "7" * 80

    scan = stored(tmp_path, change=broken)
    with pytest.raises(ImageError, match="Patient ID breaks") as caught:
        write(scan, tmp_path / "out.dcm")
    assert "777" not in str(caught.value)
    assert not (tmp_path / "out.dcm").exists()


def test_an_empty_mask_and_no_mask_are_refused(tmp_path: Path) -> None:
    scan = stored(tmp_path)
    empty = Segment(box(scan, (0, 0, 0), (0, 0, 0)), "Nothing")
    with pytest.raises(ImageError, match="'Nothing' is empty"):
        write_dicom_segmentation(tmp_path / "no.dcm", [empty], scan.source, ALGORITHM)
    with pytest.raises(ImageError, match="no segment"):
        write_dicom_segmentation(tmp_path / "no.dcm", [], scan.source, ALGORITHM)
    assert not (tmp_path / "no.dcm").exists()


def test_what_the_library_refuses_is_said_without_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = stored(tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError(f"cannot parse {PATIENT['PatientName']}")

    monkeypatch.setattr("highdicom.seg.Segmentation", refuse)
    with pytest.raises(ImageError, match=r"cannot be made from this series.*ValueError") as caught:
        write(scan, tmp_path / "out.dcm")
    assert "Jane" not in str(caught.value)


def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = stored(tmp_path)
    segments = segments_of(scan)
    measured = [measure(scan.image, segment.mask) for segment in segments]
    data_set = write(scan, tmp_path / "seg.dcm")

    def breaks(self: Any, path: Any, **options: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Dataset, "save_as", breaks)
    monkeypatch.setattr(csv.DictWriter, "writerows", lambda *_: breaks(None, tmp_path / "gone.csv"))
    folder = tmp_path / "out"
    folder.mkdir()
    for content in (None, b"old"):
        for name, act in {
            "seg.dcm": lambda path: write(scan, path),
            "sr.dcm": lambda path: write_measurement_report(
                path, segments, measured, data_set, scan.source, ALGORITHM
            ),
            "table.csv": lambda path: write_measurement_table(path, ["a", "b"], measured),
        }.items():
            if content:
                (folder / name).write_bytes(content)
            with pytest.raises(OSError, match="No space"):
                act(folder / name)
            assert ((folder / name).read_bytes() if content else None) == content
            (folder / name).unlink(missing_ok=True)
            assert list(folder.iterdir()) == []


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
import SimpleITK as sitk
from MSAMLogic.export import Algorithm, Segment, write_dicom_segmentation
from MSAMLogic.reading import read_scan
scan = read_scan(Path(sys.argv[1]))
mask = sitk.GetImageFromArray(np.ones(scan.image.GetSize()[::-1], np.uint8))
mask.CopyInformation(scan.image)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))
try:
    write_dicom_segmentation(Path(sys.argv[2]), [Segment(mask)], scan.source, Algorithm("test", "1"))
except OSError as error:
    print("refused")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX systems can")
def test_a_full_disk_costs_no_old_file(tmp_path: Path) -> None:
    stored(tmp_path)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "seg.dcm").write_bytes(b"old")
    command = [sys.executable, "-c", _FULL_DISK, str(tmp_path / "source"), str(folder / "seg.dcm")]
    result = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    assert result.stdout == "refused\n"
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("seg.dcm", b"old")]


# Reports


def numbers_in(report: Dataset) -> dict[tuple[str, str], tuple[float, str]]:
    """Return value and unit of each measurement, by its name and how it was derived."""
    found = {}

    def walk(items: Any) -> None:
        for item in items:
            if item.ValueType == "NUM":
                parts = item.get("ContentSequence", [])
                derivation = [p.ConceptCodeSequence[0].CodeMeaning for p in parts if p.ValueType == "CODE"]
                (value,) = item.MeasuredValueSequence
                unit = value.MeasurementUnitsCodeSequence[0].CodeValue
                name = item.ConceptNameCodeSequence[0].CodeMeaning
                found[name, "".join(derivation)] = (float(value.NumericValue), unit)
            walk(item.get("ContentSequence", []))

    walk(report.ContentSequence)
    return found


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
