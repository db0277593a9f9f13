"""DICOM segmentations: what they say, to whom they refer, and what is refused."""

from __future__ import annotations

import csv
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import PATIENT, uid, write_enhanced
from dicom_lesions import ALGORITHM, KINDS, SIZE, a_scan, box, segments_of, stored, write
from pydicom import Dataset, dcmread
from pydicom.dataset import FileDataset
from readers import assert_same_voxels, by_dcmqi, by_highdicom, by_pydicom, points_of, problems_of

from MSAMLogic import __version__
from MSAMLogic.errors import ImageError
from MSAMLogic.export import (
    Segment,
    write_dicom_segmentation,
    write_measurement_report,
    write_measurement_table,
)
from MSAMLogic.geometry import ImageGrid
from MSAMLogic.measurements import measure
from MSAMLogic.reading import read_scan

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
