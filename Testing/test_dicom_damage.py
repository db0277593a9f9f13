"""Damaged DICOM: a clear error or the right image; never a crash, a partial file, or the patient's data."""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import PATIENT, write_enhanced, write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.tag import BaseTag
from pydicom.uid import JPEGLSLossless, RLELossless
from readers import problems_of

from MSAMLogic.errors import ImageError
from MSAMLogic.export import (
    Algorithm,
    Segment,
    write_dicom_segmentation,
    write_measurement_report,
)
from MSAMLogic.measurements import measure
from MSAMLogic.reading import read_scan

SIZE = (8, 6, 4)
SECRETS = [value.encode() for key, value in PATIENT.items() if key not in ("PatientSex",)]


def a_scan() -> sitk.Image:
    values = np.random.default_rng(5).integers(-1000, 1000, SIZE[::-1]).astype(np.int16)
    scan = sitk.GetImageFromArray(values)
    scan.SetSpacing((0.5, 0.75, 2.5))
    return scan


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Series to damage copies of."""
    folder = tmp_path_factory.mktemp("whole")
    write_series(folder / "single", a_scan())
    write_enhanced(folder / "enhanced" / "scan.dcm", a_scan())
    yield {name: folder / name for name in ("single", "enhanced")}


class Listening:
    """Hears everything that is logged or warned."""

    def __enter__(self) -> Listening:
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        logging.getLogger().addHandler(self.handler)
        self.catching = warnings.catch_warnings(record=True)
        self.warned = self.catching.__enter__()
        warnings.simplefilter("always")
        return self

    def __exit__(self, *exception: Any) -> None:
        self.catching.__exit__(*exception)
        logging.getLogger().removeHandler(self.handler)

    @property
    def heard(self) -> bytes:
        return (self.stream.getvalue() + "".join(str(w.message) for w in self.warned)).encode()


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def try_all(folder: Path, out: Path) -> sitk.Image | None:
    """Read a series and write all that can be written of it; return the image unless that is refused.

    Whatever happens: the source is as it was, there is no partial file, and nothing says who the patient is.
    """
    before = contents(folder)
    out.mkdir()
    image, said = None, b""
    with Listening() as listening:
        try:
            scan = read_scan(folder)
            image = scan.image
            mask = sitk.Image(image.GetSize(), sitk.sitkUInt8)
            mask.CopyInformation(image)
            mask[0, 0, 0] = 1
            lesion, algorithm = [Segment(mask)], Algorithm("test", "1")
            written = write_dicom_segmentation(out / "seg.dcm", lesion, scan.source, algorithm)
            measured = [measure(image, mask)]
            write_measurement_report(out / "sr.dcm", lesion, measured, written, scan.source, algorithm)
        except ImageError as error:
            said = str(error).encode()
            assert len(said) > 40 and said.endswith(b".")
    for secret in SECRETS:
        assert secret not in said + listening.heard
    assert contents(folder) == before
    names = {path.name for path in out.iterdir()}
    assert names in (set(), {"seg.dcm"}, {"seg.dcm", "sr.dcm"})
    for name in names:
        assert dcmread(out / name).StudyInstanceUID
    return image


def copy_of(source: Path, folder: Path) -> list[Path]:
    shutil.copytree(source, folder)
    return sorted(folder.iterdir())


HEADER_TAGS = [
    *PATIENT,
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "Modality", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    "RescaleSlope", "RescaleIntercept", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "PixelData",
    "SpecificCharacterSet", "SeriesNumber", "InstanceNumber", "NumberOfFrames",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


@pytest.mark.parametrize("keyword", HEADER_TAGS)
@pytest.mark.parametrize("kind", ["single", "enhanced"])
def test_a_missing_attribute_is_no_crash(
    whole: dict[str, Path], tmp_path: Path, kind: str, keyword: str
) -> None:
    path = copy_of(whole[kind], tmp_path / "scan")[0]
    file = dcmread(path)
    if keyword in file:
        delattr(file, keyword)
    file.save_as(path)
    image = try_all(tmp_path / "scan", tmp_path / "out")
    needed = (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "Rows",
        "Columns",
        "PixelData",
    )
    if kind == "single" and keyword in needed:
        assert image is None
    if keyword in PATIENT:
        assert image is not None
    for path in (tmp_path / "out").iterdir():
        assert problems_of(path) == []


WRONG = [
    b"", b" ", b"x ", b"\\\\", b"nan ", b"1e999 ", b"-1", b"0 ", b"1\\2 ", b"\xff\xfe", b"\0\0\0\0",
    b"9" * 70,
]  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(["single", "enhanced"]),
    keyword=st.sampled_from([tag for tag in HEADER_TAGS if not tag.endswith("Sequence")]),
    value=st.one_of(st.sampled_from(WRONG), st.binary(max_size=20)),
    number=st.integers(0, 3),
)
def test_a_value_that_makes_no_sense_is_no_crash(
    whole: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    keyword: str,
    value: bytes,
    number: int,
) -> None:
    folder = tmp_path_factory.mktemp("value")
    paths = copy_of(whole[kind], folder / "scan")
    path = paths[number % len(paths)]
    path.write_bytes(with_value(path.read_bytes(), keyword, value))
    try_all(folder / "scan", folder / "out")


def with_value(content: bytes, keyword: str, value: bytes) -> bytes:
    """Return an explicit little-endian file with other bytes for a value, so that any nonsense fits."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    number = tag_for_keyword(keyword)
    assert number is not None
    tag = BaseTag(number)
    kind = dictionary_VR(tag).split()[0].encode()
    start = content.rfind(tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little"))
    if start < 0:
        return content
    kind = content[start + 4 : start + 6] or kind
    value += b" " * (len(value) % 2)
    long = kind in (b"OB", b"OW", b"OF", b"SQ", b"UN", b"UT", b"UC", b"UR")
    width, at = (4, start + 8) if long else (2, start + 6)
    length = int.from_bytes(content[at : at + width], "little")
    return content[:at] + len(value).to_bytes(width, "little") + value + content[at + width + length :]


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["single", "enhanced"]),
    share=st.floats(0, 1, exclude_max=True),
    number=st.integers(0, 3),
)
def test_a_file_that_ends_early_is_always_refused(
    whole: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    share: float,
    number: int,
) -> None:
    folder = tmp_path_factory.mktemp("short")
    paths = copy_of(whole[kind], folder / "scan")
    path = paths[number % len(paths)]
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert try_all(folder / "scan", folder / "out") is None


@settings(max_examples=60, deadline=None)
@given(places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8))
def test_changed_bytes_are_no_crash(
    whole: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, places: list[tuple[float, int]]
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    path = copy_of(whole["single"], folder / "scan")[1]
    content = bytearray(path.read_bytes())
    for place, byte in places:
        content[132 + int(place * (len(content) - 132))] = byte
    path.write_bytes(bytes(content))
    try_all(folder / "scan", folder / "out")


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=lambda u: u.name)
def test_compressed_pixels_that_end_early_are_refused(
    tmp_path: Path, syntax: str, capfd: pytest.CaptureFixture[str]
) -> None:
    scan = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 900, (4, 64, 64)).astype(np.int16))
    paths = write_series(tmp_path / "scan", scan)
    file = dcmread(paths[2])
    file.compress(syntax, generate_instance_uid=False)
    file.save_as(paths[2])
    content = paths[2].read_bytes()
    for n, length in enumerate((len(content) - 100, len(content) - 1000, len(content) * 2 // 3)):
        paths[2].write_bytes(content[:length])
        assert try_all(tmp_path / "scan", tmp_path / f"out{n}") is None
    said = "".join(capfd.readouterr()).encode()  # the decoders are not written in Python
    assert not any(secret in said for secret in SECRETS)


def test_files_that_lost_their_beginning_are_not_missed(whole: dict[str, Path], tmp_path: Path) -> None:
    for content in (b"", b"\0" * 100, b"This is a letter."):
        paths = copy_of(whole["single"], tmp_path / "scan")
        paths[0].write_bytes(content)
        with pytest.raises(ImageError, match="1 of its DICOM file is damaged"):
            read_scan(tmp_path / "scan")
        shutil.rmtree(tmp_path / "scan")


def test_names_of_files_in_a_folder_are_not_told(whole: dict[str, Path], tmp_path: Path) -> None:
    """They can be the patient's name."""
    paths = copy_of(whole["single"], tmp_path / "scan")
    named = paths[0].rename(paths[0].with_name("Doe^Jane.dcm"))
    for content in (named.read_bytes()[:-20], named.read_bytes()[:300], b""):
        named.write_bytes(content)
        with pytest.raises(ImageError) as caught:
            read_scan(tmp_path / "scan")
        assert "Doe" not in str(caught.value)
