"""A lesion at a known place comes back there through every format and every reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import write_enhanced, write_series
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from images import AXIAL, CORONAL, LEFT_HANDED, SAGITTAL, oblique
from readers import (
    assert_same_voxels,
    by_dcmqi,
    by_highdicom,
    by_nibabel,
    by_pydicom,
    by_simpleitk,
    by_slicer,
    points_of,
    problems_of,
)

from MSAMLogic.export import Algorithm, Segment, write_dicom_segmentation, write_segments_nrrd
from MSAMLogic.export.masks import write_labels
from MSAMLogic.geometry import ImageGrid
from MSAMLogic.reading import Scan, read_scan

ALGORITHM = Algorithm("test model", "1")
FINE, THICK = (0.7, 0.9, 1.3), (0.5, 0.5, 5.0)


class Case(NamedTuple):
    """How a scan lies and how it is stored.

    Attributes:
        direction: of its axes.
        spacing: of its voxels.
        storage: "single" or "enhanced" DICOM; "nrrd" for what DICOM cannot hold.
        reverse: whether instance numbers run against the positions.
    """

    direction: tuple[float, ...]
    spacing: tuple[float, float, float] = FINE
    storage: str = "single"
    reverse: bool = False


CASES = {
    "axial": Case(AXIAL),
    "coronal": Case(CORONAL),
    "sagittal": Case(SAGITTAL),
    "oblique": Case(oblique(25)),
    "reversed instance numbers": Case(AXIAL, reverse=True),
    "0.5×0.5×5 mm": Case(AXIAL, THICK),
    "enhanced": Case(AXIAL, storage="enhanced"),
    "enhanced, oblique": Case(oblique(-33), THICK, "enhanced"),
    "left-handed NRRD": Case(LEFT_HANDED, storage="nrrd"),
    "oblique left-handed NRRD": Case(
        tuple((np.array(oblique(-70)).reshape(3, 3) * [1, -1, 1]).ravel().tolist()), storage="nrrd"
    ),
}
SIZE = (26, 21, 13)
MIDDLE = (14, 9, 6)  # voxel


def a_scan(case: Case) -> sitk.Image:
    values = np.random.default_rng(5).integers(-1000, 2000, SIZE[::-1]).astype(np.int16)
    scan = sitk.GetImageFromArray(values)
    scan.SetSpacing(case.spacing)
    scan.SetOrigin((-101.53, 60.25, 1200.125))
    scan.SetDirection(case.direction)
    return scan


def stored(case: Case, folder: Path) -> Scan:
    """Write a scan as the case says and read it; file names of single slices are in no order."""
    scan = a_scan(case)
    if case.storage == "nrrd":
        sitk.WriteImage(scan, str(folder / "scan.nrrd"))
        return read_scan(folder / "scan.nrrd")
    if case.storage == "enhanced":
        write_enhanced(
            folder / "scan.dcm", scan, order=np.random.default_rng(1).permutation(SIZE[2]).tolist()
        )
        return read_scan(folder / "scan.dcm")
    write_series(folder / "scan", scan, reverse=case.reverse)
    return read_scan(folder / "scan")


def lesions(scan: sitk.Image) -> list[Segment]:
    """Return two lesions that touch nothing: one round a known voxel, one without symmetry."""
    k, j, i = np.mgrid[: SIZE[2], : SIZE[1], : SIZE[0]]
    ball = ((i - MIDDLE[0]) / 5) ** 2 + ((j - MIDDLE[1]) / 4) ** 2 + ((k - MIDDLE[2]) / 2) ** 2 <= 1
    lump = (i < 6) & (j < 3 + i) & (k == 1) | (i == 2) & (j == 2) & (k < 3)
    segments = []
    for name, array in (("Ball", ball), ("Lump", lump)):
        mask = sitk.GetImageFromArray(array.astype(np.uint8))
        mask.CopyInformation(scan)
        segments.append(Segment(mask, name))
    return segments


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[np.ndarray]]]:
    """Write every case in every format it can have; return the folder and where the lesions truly are."""
    found = {}
    for name, case in CASES.items():
        folder = tmp_path_factory.mktemp("case")
        scan = stored(case, folder)
        truth = lesions(a_scan(case))  # from what was put in, not from what was read
        drawn = [Segment(sitk.Cast(s.mask, sitk.sitkUInt8), s.name) for s in lesions(scan.image)]
        grid = ImageGrid.of(scan.image)
        write_segments_nrrd(folder / "out.seg.nrrd", drawn, grid)
        write_labels(folder / "out.nii.gz", drawn, grid)
        if case.storage != "nrrd":
            write_dicom_segmentation(folder / "out.dcm", drawn, scan.source, ALGORITHM)
        found[name] = (folder, [points_of(segment.mask) for segment in truth])
    return found


def assert_found(points: Any, expected: list[np.ndarray]) -> None:
    assert sorted(points) == [1, 2]
    for number, truth in enumerate(expected, start=1):
        assert_same_voxels(points[number], truth)


DICOM_CASES = [name for name, case in CASES.items() if case.storage != "nrrd"]


@pytest.mark.parametrize("name", CASES)
def test_the_known_lesion_is_where_it_was_put(name: str, written: Any) -> None:
    """Guard the truth that everything else is compared with."""
    scan = a_scan(CASES[name])
    centroid = written[name][1][0].mean(axis=0)
    assert centroid == pytest.approx(scan.TransformIndexToPhysicalPoint(MIDDLE), abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_nifti_keeps_it_in_place(name: str, written: Any) -> None:
    folder, expected = written[name]
    assert_found(by_nibabel(folder / "out.nii.gz"), expected)
    assert_found(by_simpleitk(folder / "out.nii.gz"), expected)


@pytest.mark.parametrize("name", CASES)
def test_segmentation_nrrd_keeps_it_in_place(name: str, written: Any) -> None:
    folder, expected = written[name]
    assert_found(by_simpleitk(folder / "out.seg.nrrd"), expected)


def test_slicer_reads_the_same_voxels(written: Any, tmp_path: Path) -> None:
    paths = {name: folder / "out.seg.nrrd" for name, (folder, _) in written.items()}
    answers = by_slicer(list(paths.values()), tmp_path)
    for name, path in paths.items():
        points = {n: np.array(segment["points"]) for n, segment in enumerate(answers[str(path)], start=1)}
        assert_found(points, written[name][1])


@pytest.mark.parametrize("name", DICOM_CASES)
def test_dicom_segmentation_keeps_it_in_place(name: str, written: Any) -> None:
    folder, expected = written[name]
    assert_found(by_pydicom(folder / "out.dcm"), expected)
    assert_found(by_highdicom(folder / "out.dcm"), expected)


@pytest.mark.parametrize("name", DICOM_CASES)
def test_dcmqi_reads_the_same_voxels(name: str, written: Any, tmp_path: Path) -> None:
    folder, expected = written[name]
    points, said = by_dcmqi(folder / "out.dcm", tmp_path / "dcmqi")
    assert_found(points, expected)
    labels = [attributes["SegmentLabel"] for group in said["segmentAttributes"] for attributes in group]
    assert labels == ["Ball", "Lump"]


@pytest.mark.parametrize("name", DICOM_CASES)
def test_the_validator_has_no_complaint(name: str, written: Any) -> None:
    assert problems_of(written[name][0] / "out.dcm") == []


def test_a_tilted_gantry_keeps_it_in_place(tmp_path: Path) -> None:
    tilt = np.eye(3)
    tilt[1, 2] = -np.tan(np.deg2rad(15))
    tilt[:, 2] /= np.linalg.norm(tilt[:, 2])
    case = Case(tuple(tilt.ravel().tolist()))
    scan = stored(case, tmp_path)
    expected = [points_of(segment.mask) for segment in lesions(a_scan(case))]
    write_dicom_segmentation(tmp_path / "out.dcm", lesions(scan.image), scan.source, ALGORITHM)
    write_segments_nrrd(tmp_path / "out.seg.nrrd", lesions(scan.image))
    assert_found(by_pydicom(tmp_path / "out.dcm"), expected)  # dcmqi and highdicom know no slanting volume
    assert_found(by_simpleitk(tmp_path / "out.seg.nrrd"), expected)
    assert problems_of(tmp_path / "out.dcm") == []


def test_a_mask_that_another_program_turned_over_lands_in_place(tmp_path: Path) -> None:
    scan = stored(CASES["oblique"], tmp_path)
    for n, lesion in enumerate(lesions(scan.image)):
        turned = sitk.PermuteAxes(sitk.Flip(lesion.mask, (True, False, True)), (2, 0, 1))
        assert ImageGrid.of(turned).size != ImageGrid.of(scan.image).size
        path = tmp_path / f"turned{n}.dcm"
        write_dicom_segmentation(path, [Segment(turned)], scan.source, ALGORITHM)
        assert_same_voxels(by_pydicom(path)[1], points_of(lesion.mask))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("random")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    degrees=st.floats(-85, 85),
    spacing=st.tuples(st.floats(0.3, 2), st.floats(0.3, 2), st.floats(0.5, 8)),
    reverse=st.booleans(),
    seed=st.integers(0, 2**16),
)
@example(degrees=0.0625, spacing=(1.0, 1.0, 1.0), reverse=False, seed=0)
def test_any_mask_on_any_grid_comes_back(
    folder: Path, degrees: float, spacing: tuple[float, float, float], reverse: bool, seed: int
) -> None:
    place = folder / f"{degrees}{spacing}{reverse}{seed}"
    place.mkdir(exist_ok=True)
    case = Case(oblique(degrees), spacing, reverse=reverse)
    scan = stored(case, place)
    array = (np.random.default_rng(seed).random(SIZE[::-1]) < 0.02).astype(np.uint8)
    array[3, 4, 5] = 1
    truth, drawn = sitk.GetImageFromArray(array), sitk.GetImageFromArray(array)
    truth.CopyInformation(a_scan(case))
    drawn.CopyInformation(scan.image)
    segments = [Segment(drawn)]
    write_segments_nrrd(place / "out.seg.nrrd", segments)
    write_labels(place / "out.nii.gz", segments, ImageGrid.of(drawn))
    write_dicom_segmentation(place / "out.dcm", segments, scan.source, ALGORITHM)
    expected = points_of(truth)
    assert_same_voxels(by_simpleitk(place / "out.seg.nrrd")[1], expected)
    assert_same_voxels(by_nibabel(place / "out.nii.gz")[1], expected)
    assert_same_voxels(by_pydicom(place / "out.dcm")[1], expected)
