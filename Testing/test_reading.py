"""Scans from files and from DICOM folders."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from images import AXIAL, CORONAL, balls, middle, oblique

from MSAMLogic.errors import ImageError
from MSAMLogic.geometry import ImageGrid
from MSAMLogic.intensity import guess_modality
from MSAMLogic.reading import read_image


def a_scan(direction: Sequence[float] = AXIAL) -> sitk.Image:
    options = {"size": (16, 12, 6), "spacing": (0.75, 0.75, 2.5), "direction": direction}
    return balls(centres=[middle(balls(**options))], radius=3, **options)


def write_series(
    folder: Path, scan: sitk.Image, series: str = "1.2.826.0.1.3680043.2.1125.1", modality: str = "CT"
) -> None:
    """Write a DICOM series whose file names run against the position of the slices."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    matrix = np.array(scan.GetDirection()).reshape(3, 3)
    for k in range(scan.GetDepth()):
        section = scan[:, :, k]
        tags = {
            "0008|0018": f"{series}.{k + 1}",
            "0008|0060": modality,
            "0020|000d": "1.2.826.0.1.3680043.2.1125.9",
            "0020|000e": series,
            "0020|0013": str(scan.GetDepth() - k),
            "0020|0032": "\\".join(f"{v:.6f}" for v in scan.TransformIndexToPhysicalPoint((0, 0, k))),
            "0020|0037": "\\".join(f"{v:.9f}" for v in (*matrix[:, 0], *matrix[:, 1])),
            "0018|0050": str(scan.GetSpacing()[2]),
        }
        for key, value in tags.items():
            section.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{series}.{100 - k}.dcm"))
        writer.Execute(section)


def assert_same(image: sitk.Image, expected: sitk.Image) -> None:
    assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(expected))
    assert ImageGrid.of(expected).matches(ImageGrid.of(image))


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_a_file_is_read_with_its_place(tmp_path: Path, suffix: str) -> None:
    scan = a_scan(oblique())
    sitk.WriteImage(scan, str(tmp_path / f"scan{suffix}"))
    assert_same(read_image(tmp_path / f"scan{suffix}"), scan)


@pytest.mark.parametrize("direction", [AXIAL, CORONAL, oblique(20)], ids=["axial", "coronal", "oblique"])
def test_slices_are_ordered_by_position_not_by_name(tmp_path: Path, direction: Sequence[float]) -> None:
    scan = a_scan(direction)
    write_series(tmp_path / "scan", scan)
    (tmp_path / "scan" / "README.txt").write_text("no slice")
    assert_same(read_image(tmp_path / "scan"), scan)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_the_modality_of_a_dicom_folder_is_that_of_its_headers(tmp_path: Path, modality: str) -> None:
    scan = a_scan() - (500 if modality == "MR" else 0)  # values alone would tell the other one
    write_series(tmp_path / "scan", scan, modality=modality)
    assert guess_modality(read_image(tmp_path / "scan")) == modality


def test_a_single_slice_of_a_series_tells_its_modality(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", a_scan(), modality="CT")
    assert guess_modality(read_image(next((tmp_path / "scan").iterdir()))) == "CT"


def test_a_folder_with_two_series_is_refused(tmp_path: Path) -> None:
    for number in (1, 2):
        write_series(tmp_path / "scan", a_scan(), f"1.2.826.0.1.3680043.2.1125.{number}")
    with pytest.raises(ImageError, match=r"'scan' holds 2 DICOM series.*exactly one"):
        read_image(tmp_path / "scan")


def test_a_folder_without_a_series_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no DICOM series"):
        read_image(tmp_path)
    sitk.WriteImage(a_scan(), str(tmp_path / "scan.nrrd"))
    with pytest.raises(ImageError, match="holds no DICOM series"):
        read_image(tmp_path)


@pytest.mark.parametrize("name", ["scan.nrrd", "scan.nii.gz", "scan.mha", "scan.dcm", "scan.txt", "scan"])
def test_what_is_no_image_is_refused(tmp_path: Path, name: str) -> None:
    for content in (b"", b"This is a letter."):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=f"'{name}' cannot be read"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_half_an_image_is_refused(tmp_path: Path, suffix: str, compressed: bool) -> None:
    path = tmp_path / f"scan{suffix}"
    noise = np.random.default_rng(0).integers(0, 1000, (10, 20, 30)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(path), useCompression=compressed)
    whole = path.read_bytes()
    for length in (len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:length])
        with pytest.raises(ImageError, match="cannot be read"):
            read_image(path)


def test_a_nifti_that_was_packed_in_parts_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    sitk.WriteImage(a_scan(), str(path))
    content = gzip.decompress(path.read_bytes())
    # As bgzip and parallel packers do; the last part may be empty.
    path.write_bytes(b"".join(gzip.compress(part) for part in (content[:900], content[900:], b"")))
    assert_same(read_image(path), a_scan())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no file or folder '.*missing\.nrrd'"):
        read_image(tmp_path / "missing.nrrd")
