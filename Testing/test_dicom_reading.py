"""DICOM series as volumes: several in a folder, enhanced files, compression, and slices that make none."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import PATIENT, uid, write_enhanced, write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import AXIAL, CORONAL, SAGITTAL, oblique
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset
from pydicom.uid import (
    JPEGLSLossless,
    RLELossless,
)

from MSAMLogic.dicom import choose_series, find_series, read_series
from MSAMLogic.errors import ImageError
from MSAMLogic.geometry import ImageGrid
from MSAMLogic.reading import read_image, read_scan

DIRECTIONS = {"axial": AXIAL, "coronal": CORONAL, "sagittal": SAGITTAL, "oblique": oblique(20)}


def a_scan(
    direction: tuple[float, ...] = AXIAL,
    size: tuple[int, int, int] = (16, 12, 6),
    spacing: tuple[float, float, float] = (0.5, 0.75, 5.0),
) -> sitk.Image:
    """Return whole values of a CT without symmetry."""
    values = np.random.default_rng(5).integers(-1000, 2000, size[::-1]).astype(np.int16)
    scan = sitk.GetImageFromArray(values)
    scan.SetSpacing(spacing)
    scan.SetOrigin((-101.5, 60.25, 1200.125))
    scan.SetDirection(direction)
    return scan


def assert_same(image: sitk.Image, expected: sitk.Image) -> None:
    assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(expected))
    assert ImageGrid.of(expected).matches(ImageGrid.of(image))


def refusal(path: Path, series: str | None = None) -> str:
    """Return the one reason for which a folder is refused, in which nothing of the patient may show."""
    with pytest.raises(ImageError) as caught:
        read_image(path, series)
    message = str(caught.value)
    assert not any(value in message for value in PATIENT.values())
    return message


# Order and geometry


@pytest.mark.parametrize("name", DIRECTIONS)
@pytest.mark.parametrize("reverse", [False, True], ids=["in order", "reversed instance numbers"])
def test_slices_are_ordered_by_position_whatever_names_and_numbers_say(
    tmp_path: Path, name: str, reverse: bool
) -> None:
    scan = a_scan(DIRECTIONS[name])
    paths = write_series(tmp_path / "scan", scan, reverse=reverse)
    assert [p.name for p in paths] != sorted(p.name for p in paths)
    read = read_scan(tmp_path / "scan")
    assert_same(read.image, scan)
    assert read.notes == () and read.image.GetPixelID() == sitk.sitkInt16
    assert read.source is not None and len(read.source.headers) == scan.GetDepth()
    positions = [header.ImagePositionPatient for header in read.source.headers]
    expected = [scan.TransformIndexToPhysicalPoint((0, 0, k)) for k in range(scan.GetDepth())]
    assert np.allclose(np.array(positions, float), expected, atol=1e-6)


SIZES = st.tuples(st.integers(2, 9), st.integers(2, 9), st.integers(1, 7))
SPACINGS = st.tuples(st.floats(0.2, 3), st.floats(0.2, 3), st.floats(0.4, 10))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=SIZES, spacing=SPACINGS, degrees=st.floats(-80, 80), reverse=st.booleans())
def test_any_right_handed_grid_comes_back(
    tmp_path: Path, size: Any, spacing: Any, degrees: float, reverse: bool
) -> None:
    scan = a_scan(oblique(degrees), size, spacing)
    folder = tmp_path / uid(size, spacing, degrees, reverse)
    write_series(folder, scan, reverse=reverse)
    read = read_image(folder)
    assert np.array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(scan))
    corner = [n - 1 for n in size]
    far = np.subtract(read.TransformIndexToPhysicalPoint(corner), scan.TransformIndexToPhysicalPoint(corner))
    assert np.linalg.norm(far) < 1e-3


def test_rows_that_are_numbered_from_feet_to_head_keep_their_places(tmp_path: Path) -> None:
    """A left-handed grid's slices, in a file, are those of a right-handed one."""
    scan = a_scan()
    write_series(tmp_path / "scan", sitk.Flip(scan, (False, False, True)))
    read = read_image(tmp_path / "scan")
    for point in ((0, 0, 0), (15, 11, 5), (3, 7, 2)):
        world = scan.TransformIndexToPhysicalPoint(point)
        assert read[read.TransformPhysicalPointToIndex(world)] == scan[point]


def test_a_gantry_tilt_is_said_and_every_voxel_keeps_its_place(tmp_path: Path) -> None:
    tilt = np.eye(3)
    tilt[1, 2] = np.tan(np.deg2rad(12))
    tilt[:, 2] /= np.linalg.norm(tilt[:, 2])
    scan = a_scan(tuple(tilt.ravel().tolist()))
    write_series(tmp_path / "scan", scan)
    read = read_scan(tmp_path / "scan")
    assert_same(read.image, scan)
    assert len(read.notes) == 1 and "tilted by 12.0 degrees" in read.notes[0]


def test_a_single_slice_is_a_volume_of_its_thickness(tmp_path: Path) -> None:
    scan = a_scan()[:, :, 2:3]
    write_series(tmp_path / "scan", scan)
    assert_same(read_image(tmp_path / "scan"), scan)

    def forget(_: int, file: FileDataset) -> None:
        del file.SliceThickness

    write_series(tmp_path / "thin", scan, change=forget)
    read = read_scan(tmp_path / "thin")
    assert read.image.GetSpacing()[2] == 1 and "thickness" in read.notes[0]


def test_positions_with_few_decimals_are_taken_as_even(tmp_path: Path) -> None:
    def rounded(k: int, file: FileDataset) -> None:
        file.ImagePositionPatient = [f"{float(v):.1f}" for v in file.ImagePositionPatient]

    scan = a_scan(size=(4, 4, 9), spacing=(0.5, 0.5, 0.625))
    write_series(tmp_path / "scan", scan, change=rounded)
    read = read_image(tmp_path / "scan")
    assert read.GetSpacing()[2] == pytest.approx(0.625, abs=0.02)


def test_what_the_header_does_not_say_is_not_made_up(tmp_path: Path) -> None:
    def forget(keyword: str) -> Any:
        return lambda k, file: delattr(file, keyword)

    write_series(tmp_path / "unknown", a_scan(), change=forget("Modality"))
    read = read_scan(tmp_path / "unknown")
    assert not read.image.HasMetaDataKey("0008|0060")  # the values tell, then
    write_series(tmp_path / "unscaled", a_scan(), change=forget("RescaleIntercept"))
    read = read_scan(tmp_path / "unscaled")
    assert_same(read.image, a_scan() + 1024)
    assert len(read.notes) == 1 and "Hounsfield" in read.notes[0]


@pytest.mark.parametrize("slope", ["1e70", "99999999", "1e300", "0"])
def test_scales_that_make_no_sense_are_refused(tmp_path: Path, slope: str) -> None:
    write_series(tmp_path / "scan", a_scan(), change=lambda k, file: file.__setattr__("RescaleSlope", slope))
    assert ("32 bits" if slope != "0" else "Rescale Slope is 0") in refusal(tmp_path / "scan")


# Slices that make no volume


def test_a_missing_slice_is_refused_with_its_place(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "scan", a_scan())
    paths[3].unlink()
    assert "1 of its slices are missing, the first one after slice 3 of 5" in refusal(tmp_path / "scan")
    paths[1].unlink()
    assert "2 of its slices are missing" in refusal(tmp_path / "scan")


def test_uneven_slices_are_refused(tmp_path: Path) -> None:
    def uneven(k: int, file: FileDataset) -> None:
        x, y, z = map(float, file.ImagePositionPatient)
        file.ImagePositionPatient = [x, y, z + (2.0 if k >= 3 else 0.0)]

    write_series(tmp_path / "scan", a_scan(), change=uneven)
    assert "unevenly spaced, 5 to 7 mm apart" in refusal(tmp_path / "scan")


def test_a_slice_that_is_shifted_sideways_is_refused(tmp_path: Path) -> None:
    def shifted(k: int, file: FileDataset) -> None:
        x, y, z = map(float, file.ImagePositionPatient)
        file.ImagePositionPatient = [x + (1.5 if k == 3 else 0.0), y, z]

    write_series(tmp_path / "scan", a_scan(), change=shifted)
    assert "shifted sideways" in refusal(tmp_path / "scan")


def test_a_copy_of_a_slice_is_left_aside_and_said(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "scan", a_scan())
    (tmp_path / "scan" / "copies").mkdir()
    shutil.copy(paths[2], tmp_path / "scan" / "copies" / "again.dcm")
    read = read_scan(tmp_path / "scan")
    assert_same(read.image, a_scan())
    assert read.notes == ("1 slice is there twice (same instance); one is used.",)


def test_different_slices_at_one_place_are_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "scan", a_scan())
    other = dcmread(paths[2])
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = uid("other")
    other.save_as(tmp_path / "scan" / "other.dcm")
    assert "lie at the same place" in refusal(tmp_path / "scan")


def test_what_has_no_place_in_the_patient_is_refused(tmp_path: Path) -> None:
    def forget(k: int, file: FileDataset) -> None:
        if k == 2:
            del file.ImagePositionPatient

    write_series(tmp_path / "scan", a_scan(), change=forget)
    assert "Image Position (Patient) is missing" in refusal(tmp_path / "scan")


# Several series


def test_several_series_are_listed_and_one_is_chosen(tmp_path: Path) -> None:
    scans = {"1": a_scan(), "2": a_scan(CORONAL, (8, 9, 4))}
    for name, scan in scans.items():
        write_series(tmp_path / "scan" / name, scan, series=name, modality="CT" if name == "1" else "MR")
    message = refusal(tmp_path / "scan")
    assert "'scan' holds 2 DICOM series" in message and "4 slices of 8×9" in message and "--series" in message
    listed = find_series(tmp_path / "scan")
    for number, entry in enumerate(listed, start=1):
        name = "1" if entry.uid == uid("series", "1") else "2"
        for wanted in (str(number), entry.uid):
            assert choose_series(listed, wanted, tmp_path / "scan") == entry
            assert_same(read_image(tmp_path / "scan", wanted), scans[name])
    assert {(entry.modality, entry.number) for entry in listed} == {("CT", 7), ("MR", 7)}
    for wrong in ("0", "3", "1.2.3", "first"):
        assert "no such series; choose from 1 to 2" in refusal(tmp_path / "scan", wrong)


def test_files_that_a_database_names_are_taken_alone(tmp_path: Path) -> None:
    """3D Slicer's DICOM database knows files, not folders."""
    wanted = write_series(tmp_path / "scan", a_scan(), series="1")
    write_series(tmp_path / "scan" / "more", a_scan(), series="2")
    (found,) = find_series(wanted)
    assert found.uid == uid("series", "1")
    assert_same(read_series(found)[0], a_scan())
    wanted[0].write_bytes(b"")
    with pytest.raises(ImageError, match=r"The series cannot be read: 1 of its DICOM file is damaged"):
        find_series(wanted)


def test_large_values_are_kept(tmp_path: Path) -> None:
    def steep(k: int, file: FileDataset) -> None:
        file.RescaleSlope = "1000" if k == 3 else "1"

    write_series(tmp_path / "scan", a_scan(), modality="MR", change=steep)
    image = read_image(tmp_path / "scan")
    expected = sitk.GetArrayFromImage(a_scan()).astype(np.int32)
    expected[3] *= 1000
    assert image.GetPixelID() == sitk.sitkInt32
    assert np.array_equal(sitk.GetArrayFromImage(image), expected)


def test_a_series_beside_screenshots_is_taken_and_said(tmp_path: Path) -> None:
    def flat(_: int, file: FileDataset) -> None:
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            delattr(file, keyword)

    write_series(tmp_path / "scan" / "1", a_scan(), series="1")
    write_series(tmp_path / "scan" / "2", a_scan()[:, :, :1], series="2", change=flat)
    read = read_scan(tmp_path / "scan")
    assert_same(read.image, a_scan())
    assert "1 more in the folder with pictures that are no scans" in read.notes[0]


@pytest.mark.parametrize("damage", ["a slice is gone", "a slice has no position"])
def test_a_damaged_scan_is_not_passed_over_for_a_localiser(tmp_path: Path, damage: str) -> None:
    def forget(k: int, file: FileDataset) -> None:
        if k == 2 and damage == "a slice has no position":
            del file.ImagePositionPatient

    paths = write_series(tmp_path / "scan" / "1", a_scan(), series="1", change=forget)
    write_series(tmp_path / "scan" / "2", a_scan()[:, :, :3], series="2")
    if damage == "a slice is gone":
        paths[2].unlink()
    assert "holds 2 DICOM series" in refusal(tmp_path / "scan")


def test_localisers_in_several_directions_are_volumes_of_their_own(tmp_path: Path) -> None:
    scans = [a_scan(AXIAL), a_scan(CORONAL, (9, 9, 3))]
    for number, scan in enumerate(scans):

        def rename(k: int, file: FileDataset, number: int = number) -> None:
            file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = uid("localiser", number, k)

        write_series(tmp_path / "scan" / str(number), scan, change=rename)
    listed = find_series(tmp_path / "scan")
    assert [entry.part for entry in listed] == ["group 1 of 2", "group 2 of 2"]
    assert len({entry.uid for entry in listed}) == 1
    for entry, scan in zip(listed, scans, strict=True):
        number = str(listed.index(entry) + 1)
        assert_same(read_image(tmp_path / "scan", number), scan)
    assert "several volumes; choose by number" in refusal(tmp_path / "scan", listed[0].uid)


def test_echoes_at_the_same_places_are_volumes_of_their_own(tmp_path: Path) -> None:
    scan = a_scan()
    for echo in (1, 2):

        def mark(k: int, file: FileDataset, echo: int = echo) -> None:
            file.EchoNumbers = echo
            file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = uid("echo", echo, k)

        write_series(tmp_path / "scan" / str(echo), scan + (echo - 1), modality="MR", change=mark)
    assert [entry.part for entry in find_series(tmp_path / "scan")] == ["EchoNumbers 1", "EchoNumbers 2"]
    assert_same(read_image(tmp_path / "scan", "2"), scan + 1)


def test_other_kinds_of_dicom_files_are_left_aside(tmp_path: Path, data_folder: Path) -> None:
    case = data_folder / "dicom" / "STS_008_CT"
    scan = read_scan(case)  # with its RTSTRUCT in another sub-folder
    assert scan.image.GetSize() == (141, 137, 51) and scan.notes == ()
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(case / "image")))
    assert_same(scan.image, reader.Execute())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_file_that_is_no_image_is_said_to_be_none(tmp_path: Path, data_folder: Path) -> None:
    contours = data_folder / "dicom" / "STS_008_CT" / "mask" / "RS.dcm"
    with pytest.raises(ImageError, match=r"The file 'RS\.dcm' holds no DICOM series of images"):
        read_image(contours)
    # Some programs leave out the beginning that the standard asks for.
    write_series(tmp_path / "scan", a_scan())
    (tmp_path / "scan" / "RS.dcm").write_bytes(bare(contours))
    assert_same(read_image(tmp_path / "scan"), a_scan())
    (tmp_path / "scan" / "slice.dcm").write_bytes(bare(next((tmp_path / "scan").iterdir())))
    assert "1 of its DICOM file is damaged, or not as the standard says" in refusal(tmp_path / "scan")


def bare(path: Path) -> bytes:
    """Return a file without preamble and file meta information."""
    content = io.BytesIO()
    file = dcmread(path)
    dcmwrite(content, Dataset(file), implicit_vr=True, little_endian=True)
    return content.getvalue()


# Enhanced multi-frame


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_an_enhanced_file_is_a_volume_in_any_order_of_its_frames(
    tmp_path: Path, name: str, modality: str
) -> None:
    scan = a_scan(DIRECTIONS[name])
    path = write_enhanced(tmp_path / "scan" / "enhanced.dcm", scan, modality, order=[3, 0, 5, 1, 4, 2])
    for place in (path, path.parent):
        read = read_scan(place)
        assert_same(read.image, scan)
        assert read.image.GetMetaData("0008|0060") == modality
        assert read.source is not None and len(read.source.headers) == 1
        assert read.source.frame_numbers == (1, 3, 5, 0, 4, 2)


def test_every_frame_has_its_own_scale(tmp_path: Path) -> None:
    scan = sitk.Cast(a_scan() / 2, sitk.sitkInt32) * 12
    slopes = [0.5, 1.0, 1.5, 2.0, 3.0, 4.0]
    write_enhanced(tmp_path / "enhanced.dcm", scan, "MR", slopes=slopes)
    image = read_image(tmp_path / "enhanced.dcm")
    assert image.GetPixelID() == sitk.sitkFloat32
    assert_same(image, sitk.Cast(scan, sitk.sitkFloat32))


def test_echoes_of_an_enhanced_file_are_chosen_among(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "scan" / "enhanced.dcm", a_scan(), "MR", echoes=2)
    assert "holds 2 DICOM series" in refusal(tmp_path / "scan")
    assert_same(read_image(tmp_path / "scan", "2"), a_scan() + 1)


# Compression


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=lambda u: u.name)
@pytest.mark.parametrize("enhanced", [False, True], ids=["single-frame", "enhanced"])
def test_compressed_slices_are_unpacked(tmp_path: Path, syntax: str, enhanced: bool) -> None:
    scan = a_scan(size=(64, 48, 3))
    if enhanced:
        paths = [write_enhanced(tmp_path / "scan" / "enhanced.dcm", scan + 1000)]
        scan += 1000
    else:
        paths = write_series(tmp_path / "scan", scan)
    for path in paths:
        file = dcmread(path)
        file.compress(syntax, generate_instance_uid=False)
        file.save_as(path)
        assert dcmread(path).file_meta.TransferSyntaxUID == syntax
    assert_same(read_image(tmp_path / "scan"), scan)


@pytest.mark.parametrize(("option", "syntax"), [("--jpeg", "4.70"), ("--j2k", "4.90"), ("--jpegls", "4.80")])
def test_slices_that_gdcm_compressed_are_unpacked(tmp_path: Path, option: str, syntax: str) -> None:
    gdcm = pytest.importorskip("gdcm")
    scan = a_scan(size=(64, 48, 3))
    for path in write_series(tmp_path / "scan", scan):
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        kind = {
            "--jpeg": "JPEGLosslessProcess14_1",
            "--j2k": "JPEG2000Lossless",
            "--jpegls": "JPEGLSLossless",
        }
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, kind[option])))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        assert str(dcmread(path).file_meta.TransferSyntaxUID).endswith(syntax)
    assert_same(read_image(tmp_path / "scan"), scan)


REAL_FILES = [
    "693_J2KI.dcm",
    "CT_small.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_padded.dcm",
]


@pytest.mark.parametrize("name", REAL_FILES)
def test_files_of_real_scanners_are_read_as_gdcm_reads_them(name: str) -> None:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip("this pydicom comes without its test files")
    image, expected = read_image(Path(str(path))), sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(expected))
    assert image.GetSpacing()[:2] == pytest.approx(expected.GetSpacing()[:2])
    assert image.GetOrigin() == pytest.approx(expected.GetOrigin())
    assert image.GetDirection() == pytest.approx(expected.GetDirection(), abs=1e-5)


def test_a_compression_that_is_not_known_is_named(tmp_path: Path) -> None:
    def mpeg(_: int, file: FileDataset) -> None:
        file.compress(RLELossless, generate_instance_uid=False)
        file.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"

    write_series(tmp_path / "scan", a_scan(), change=mpeg)
    message = refusal(tmp_path / "scan")
    assert "Slice 1 of 6 cannot be decoded" in message and "MPEG2" in message
