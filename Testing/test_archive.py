"""The way of a real scan: click, segmentation, a real archive, and back, the same to the last voxel."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from archive import running_archive
from pydicom import dcmread
from readers import assert_same_voxels, by_dcmqi, by_highdicom, by_pydicom, points_of, problems_of
from typer.testing import CliRunner

from MSAMLogic.cli import app
from MSAMLogic.reading import read_image


def middle_of_contour(path: Path) -> np.ndarray:
    """Return LPS millimetres of the middle of the experts' contours (RTSTRUCT)."""
    (structure,) = dcmread(path).ROIContourSequence
    points = [np.reshape(contour.ContourData, (-1, 3)) for contour in structure.ContourSequence]
    return np.concatenate(points).astype(float).mean(axis=0)


def test_a_lesion_goes_from_a_click_to_the_archive_and_back(tmp_path: Path, data_folder: Path) -> None:
    case = data_folder / "dicom" / "STS_008_CT"
    slices = sorted((case / "image").iterdir())
    click = ",".join(f"{v:.3f}" for v in middle_of_contour(case / "mask" / "RS.dcm"))
    out = {name: tmp_path / name for name in ("lesion.dcm", "report.dcm", "lesion.csv", "lesion.seg.nrrd")}
    command = ["segment", str(case), "--click", click, "--lps", "--region", "thigh"]
    options = ["--report", str(out["report.dcm"]), "--measurements", str(out["lesion.csv"])]
    for arguments in (["-o", str(out["lesion.dcm"]), *options], ["-o", str(out["lesion.seg.nrrd"])]):
        result = CliRunner().invoke(app, [*command, *arguments])
        assert result.exit_code == 0, result.output

    expected = points_of(sitk.ReadImage(str(out["lesion.seg.nrrd"])))
    assert len(expected) > 1000  # there is a tumour
    sent = dcmread(out["lesion.dcm"])
    report = dcmread(out["report.dcm"])
    (tmp_path / "server").mkdir()
    with running_archive(tmp_path / "server") as archive:
        archive.send([*slices, out["lesion.dcm"], out["report.dcm"]])
        keys = {"StudyInstanceUID": sent.StudyInstanceUID, "SeriesInstanceUID": "", "Modality": ""}
        found = [dcmread(path, force=True) for path in archive.find(tmp_path / "found", "SERIES", **keys)]
        series = {match.Modality: match.SeriesInstanceUID for match in found}
        assert set(series) == {"CT", "SEG", "SR"}  # all in the patient's study
        back = {
            modality: archive.retrieve(
                tmp_path / modality, StudyInstanceUID=sent.StudyInstanceUID, SeriesInstanceUID=uid
            )
            for modality, uid in series.items()
        }

    (path,) = back["SEG"]
    received = dcmread(path)
    assert received.SOPInstanceUID == sent.SOPInstanceUID
    assert np.array_equal(received.pixel_array, sent.pixel_array)
    assert received == sent  # every attribute
    assert dcmread(back["SR"][0]) == report
    dcmqi, _ = by_dcmqi(path, tmp_path / "dcmqi")
    for points in (by_pydicom(path), by_highdicom(path), dcmqi):
        assert_same_voxels(points[1], expected)
    assert problems_of(path) == [] and problems_of(back["SR"][0]) == []
    # The scan that came back is the scan that was sent, and the lesion lies on it.
    scan, original = read_image(tmp_path / "CT"), read_image(case)
    assert np.array_equal(sitk.GetArrayFromImage(scan), sitk.GetArrayFromImage(original))
    assert scan.GetOrigin() == original.GetOrigin()
    with out["lesion.csv"].open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert int(row["voxel_count"]) == len(expected)
    assert "lesion.dcm" in str(out) and not any("STS_008" in p.name for p in tmp_path.rglob("*"))
