"""Other people's software that reads what this package writes: each gives segments as points in the world."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from scipy.spatial import cKDTree

Points = np.ndarray
"""(n, 3) LPS millimetres of the centres of a segment's voxels, in any order."""


def program(name: str, package: str) -> str:
    """Return the path of a program; the test is skipped where it is not installed."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed: {package}")
    return found


def points_of(mask: sitk.Image) -> Points:
    """Return the points of a mask, by its own origin, spacing and direction."""
    index = np.argwhere(sitk.GetArrayViewFromImage(mask))[:, ::-1]
    matrix = np.array(mask.GetDirection()).reshape(3, 3) * mask.GetSpacing()
    return index @ matrix.T + np.array(mask.GetOrigin())


def assert_same_voxels(found: Points, expected: Points, within: float = 0.01) -> None:
    """Compare two sets of points one to one, and their centroids, within so many millimetres."""
    assert len(found) == len(expected) > 0
    distances, partners = cKDTree(expected).query(found)
    assert distances.max() < within
    assert len(set(partners.tolist())) == len(expected)
    assert np.linalg.norm(found.mean(axis=0) - expected.mean(axis=0)) < within


def problems_of(path: Path) -> list[str]:
    """Return the errors of dicom3tools' validator; it has none for what the standard allows."""
    command = [program("dciodvfy", "Debian package dicom3tools"), "-new", str(path)]
    result = subprocess.run(command, capture_output=True, check=False)
    output = (result.stdout + result.stderr).decode("utf-8", "replace").splitlines()
    assert any(line in ("Segmentation", "Comprehensive3DSR") for line in output)  # it knew what it saw
    return [line for line in output if line.startswith(("Error", "Abort"))]


def by_simpleitk(path: Path) -> dict[int, Points]:
    """Return the points of every label of a file."""
    image = sitk.ReadImage(str(path))
    labels = np.unique(sitk.GetArrayViewFromImage(image))
    return {int(label): points_of(sitk.Equal(image, float(label))) for label in labels if label}


def assert_qform_says_what_sform_says(image: Any) -> None:
    """Compare a NIfTI's quaternion with its affine, and the two affines where the quaternion can hold one.

    Only three of the quaternion's parts are stored, in float32. Axial slices are half a turn from NIfTI's
    world, where the fourth part is near 0: a tilt of a tenth of a degree is read from it badly or not at all.
    """
    from nibabel.quaternions import mat2quat

    header, affine = image.header, image.get_sform()
    rotation = affine[:3, :3] / header.get_zooms()[:3] * [1, 1, header["pixdim"][0]]
    assert np.linalg.det(rotation) > 0
    real, *wanted = mat2quat(rotation)
    stored = np.array([header[f"quatern_{part}"] for part in "bcd"])
    if np.dot(stored, wanted) < 0:
        assert abs(real) < 1e-6  # one and the same half turn
        stored = -stored
    assert np.allclose(stored, wanted, rtol=0, atol=1e-6)
    assert np.allclose(image.get_qform()[:, 3], affine[:, 3], atol=1e-4)
    if real**2 > 1e-5:
        assert np.allclose(image.get_qform(), affine, atol=1e-4)


def by_nibabel(path: Path) -> dict[int, Points]:
    """Return the points of every label of a NIfTI file, by its sform, after comparing that with its qform."""
    nibabel = pytest.importorskip("nibabel", reason="reads NIfTI: pip install nibabel")
    image = nibabel.load(path)
    assert_qform_says_what_sform_says(image)
    assert int(image.header["qform_code"]) > 0 and int(image.header["sform_code"]) > 0
    array = np.asarray(image.dataobj)
    found = {}
    for label in np.unique(array):
        if label:
            ras = nibabel.affines.apply_affine(image.get_sform(), np.argwhere(array == label))
            found[int(label)] = ras * [-1, -1, 1]
    return found


def by_pydicom(path: Path) -> dict[int, Points]:
    """Return the points of every segment of a SEG, by equation C.7.6.2.1-1 of the standard."""
    file = dcmread(path)
    pixels = file.pixel_array.reshape(-1, file.Rows, file.Columns)
    shared = file.SharedFunctionalGroupsSequence[0]
    found: dict[int, list[np.ndarray]] = {}

    def item(group: object, sequence: str) -> object:
        holder = group if sequence in group else shared  # type: ignore[operator]
        return getattr(holder, sequence)[0]

    for group, frame in zip(file.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        number = item(group, "SegmentIdentificationSequence").ReferencedSegmentNumber  # type: ignore[attr-defined]
        position = np.array(item(group, "PlanePositionSequence").ImagePositionPatient, float)  # type: ignore[attr-defined]
        cosines = np.array(item(group, "PlaneOrientationSequence").ImageOrientationPatient, float)  # type: ignore[attr-defined]
        between = np.array(item(group, "PixelMeasuresSequence").PixelSpacing, float)  # type: ignore[attr-defined]
        rows, columns = np.nonzero(frame)
        assert len(rows)  # empty frames are left out
        along = columns[:, None] * between[1] * cosines[:3] + rows[:, None] * between[0] * cosines[3:]
        found.setdefault(int(number), []).append(position + along)
    return {number: np.concatenate(parts) for number, parts in found.items()}


def by_highdicom(path: Path) -> dict[int, Points]:
    """Return the points of every segment of a SEG, from the volume that highdicom makes of it."""
    from highdicom.seg import segread

    segmentation = segread(path)
    found = {}
    for number in segmentation.segment_numbers:
        volume = segmentation.get_volume(
            segment_numbers=[number], allow_missing_positions=True, rescale_fractional=False
        )
        index = np.argwhere(volume.array)[:, :3]
        found[int(number)] = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return found


def by_dcmqi(path: Path, folder: Path) -> tuple[dict[int, Points], dict]:
    """Return the points of every segment of a SEG from dcmqi, and what dcmqi says of the segments."""
    folder.mkdir()
    command = [program("segimage2itkimage", "PyPI package dcmqi"), "--inputDICOM", str(path)]
    command += ["--outputDirectory", str(folder), "--outputType", "nrrd", "--prefix", "s"]
    subprocess.run(command, capture_output=True, check=True)
    found = {}
    for file in folder.glob("s-*.nrrd"):
        for label, points in by_simpleitk(file).items():
            found[label] = points
    return found, json.loads((folder / "s-meta.json").read_text())


_SLICER = """
import json, sys
import numpy as np
import vtk
from vtk.util.numpy_support import vtk_to_numpy
import slicer
answers = {}
for path in sys.argv[2:]:
    scene = slicer.vtkMRMLScene()
    node = slicer.vtkMRMLSegmentationNode()
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName(path)
    assert storage.ReadData(node) == 1, path
    segmentation = node.GetSegmentation()
    answers[path] = []
    for n in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(n)
        terminology = vtk.mutable("")
        segment.GetTag("TerminologyEntry", terminology)
        image = slicer.vtkOrientedImageData()
        node.GetBinaryLabelmapRepresentation(segmentation.GetNthSegmentID(n), image)
        x0, x1, y0, y1, z0, z1 = image.GetExtent()
        shape = (z1 - z0 + 1, y1 - y0 + 1, x1 - x0 + 1)
        values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)
        index = np.argwhere(values)[:, ::-1] + [x0, y0, z0]
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        affine = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
        ras = index @ affine[:3, :3].T + affine[:3, 3]
        answers[path].append({
            "id": segmentation.GetNthSegmentID(n), "name": segment.GetName(), "colour": segment.GetColor(),
            "terminology": str(terminology), "points": (ras * [-1, -1, 1]).tolist(),
            "layer": segmentation.GetLayerIndex(segmentation.GetNthSegmentID(n)),
        })
with open(sys.argv[1], "w") as file:
    json.dump(answers, file)
"""


def by_slicer(paths: Sequence[Path], folder: Path) -> Mapping[str, list[dict]]:
    """Return what Slicer's own storage node reads of ``.seg.nrrd`` files, in a process of its own."""
    pytest.importorskip("slicer", reason="reads .seg.nrrd as 3D Slicer does: pip install slicer-core")
    answer = folder / "slicer.json"
    command = [sys.executable, "-c", _SLICER, str(answer), *map(str, paths)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    answers: dict[str, list[dict]] = json.loads(answer.read_text())
    return answers
