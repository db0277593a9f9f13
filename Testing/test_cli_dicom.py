"""The command msam with DICOM: series chosen, results for an archive, masks brought to other formats."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import PATIENT, uid, write_series
from images import balls
from predictors import ThresholdPredictor
from pydicom import dcmread
from readers import assert_same_voxels, by_pydicom, points_of, problems_of
from typer.testing import CliRunner

from MSAMLogic import weights
from MSAMLogic.cli import app
from MSAMLogic.errors import WeightsError
from MSAMLogic.export import Algorithm, Segment, read_segments_nrrd, write_segments_nrrd
from MSAMLogic.export.results import describe_model

CENTRE = (-12.0, 34.0, 56.5)  # LPS
OPTIONS: dict[str, Any] = {"size": (40, 36, 20), "spacing": (1.0, 1.0, 2.0)}
ORIGIN = (-32.0, 15.0, 38.5)
SECRETS = [value for keyword, value in PATIENT.items() if keyword != "PatientSex"]


def a_scan() -> sitk.Image:
    return balls(centres=[CENTRE], origin=ORIGIN, **OPTIONS)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Work in an empty folder with a predictor that can be foreseen; return the models that are loaded."""
    names: list[str] = []

    def load(name: str = "default", device: str = "auto") -> ThresholdPredictor:
        names.append(name)
        return ThresholdPredictor()

    monkeypatch.setattr("MSAMLogic.predictor.load_model", load)
    monkeypatch.setenv("MSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return names


@pytest.fixture
def scan(loaded: list[str], tmp_path: Path) -> Path:
    write_series(tmp_path / "scan", a_scan())
    return tmp_path / "scan"


def msam(*arguments: object) -> Any:
    plain = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner().invoke(app, list(map(str, arguments)), env=plain)


def segment(scan: Path, output: str, *options: object) -> Any:
    click = ",".join(f"{v:g}" for v in CENTRE)
    return msam("segment", scan, "--click", click, "--lps", "-o", output, *options)


def said_in_one_line(result: Any) -> str:
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    line: str = result.stderr
    assert line.startswith("msam: ") and line.count("\n") == 1
    assert not any(value in line for value in SECRETS)
    return line


def lesion() -> sitk.Image:
    return sitk.Cast(a_scan() > 50, sitk.sitkUInt8)


# Segment


def test_a_dicom_scan_is_segmented_for_the_archive(scan: Path) -> None:
    result = segment(
        scan,
        "out.dcm",
        *("--name", "Nodule", "--type", "nodule", "--region", "lung"),
        *("--report", "report.dcm", "--measurements", "table.csv"),
        *("--series-description", "Follow-up", "--series-number", 31),
    )
    assert result.exit_code == 0, result.output
    assert np.linalg.norm(by_pydicom(Path("out.dcm"))[1].mean(axis=0) - CENTRE) < 0.5
    assert segment(scan, "out.nrrd").exit_code == 0
    assert_same_voxels(by_pydicom(Path("out.dcm"))[1], points_of(sitk.ReadImage("out.nrrd")))
    file = dcmread("out.dcm")
    (item,) = file.SegmentSequence
    assert item.SegmentLabel == "Nodule"
    assert item.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Nodule"
    assert item.AnatomicRegionSequence[0].CodeMeaning == "Lung"
    (algorithm,) = item.SegmentationAlgorithmIdentificationSequence
    entry = weights.find_model("default")
    assert entry.sha256 is not None
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (entry.title, entry.sha256[:12])
    assert (file.SeriesDescription, file.SeriesNumber) == ("Follow-up", 31)
    assert problems_of(Path("out.dcm")) == [] and problems_of(Path("report.dcm")) == []
    with open("table.csv", encoding="utf-8", newline="") as table:
        (row,) = csv.DictReader(table)
    assert row["segment"] == "Nodule" and float(row["axial_long_mm"]) == pytest.approx(16, abs=2)
    assert not any(value in result.output for value in SECRETS)


def test_the_same_names_go_into_a_segmentation_nrrd(scan: Path) -> None:
    assert (
        segment(scan, "out.seg.nrrd", "--name", "Nodule", "--type", "nodule", "--region", "lung").exit_code
        == 0
    )
    (found,) = read_segments_nrrd(Path("out.seg.nrrd"))
    assert found.region is not None
    assert (found.name, found.type.meaning, found.region.meaning) == ("Nodule", "Nodule", "Lung")


def test_what_cannot_be_written_is_refused_before_a_model_is_loaded(scan: Path, loaded: list[str]) -> None:
    sitk.WriteImage(a_scan(), "scan.nrrd")
    assert ".seg.nrrd" in said_in_one_line(segment(Path("scan.nrrd"), "out.dcm"))
    for output, options, complaint in (
        ("out.nrrd", ("--report", "r.dcm"), "mask's name end in .dcm"),
        ("out.dcm", ("--report", "r.pdf"), "'r.pdf' is no name for a DICOM report"),
        ("out.dcm", ("--report", "./out.dcm"), "names of their own"),
        ("out.nrrd", ("--measurements", "t.xls"), "'t.xls' is no name for a table"),
        ("out.nrrd", ("--region", "lnug"), "'lnug' is no coded name"),
        ("out.nrrd", ("--type", "lnug"), "'lnug' is no coded name"),
        ("out.nrrd", ("--series", "2"), "no such series"),
    ):
        assert complaint in said_in_one_line(segment(scan, output, *options))
    assert loaded == [] and sorted(p.name for p in Path.cwd().iterdir()) == ["scan", "scan.nrrd"]


def test_what_the_user_should_know_of_a_scan_is_said(scan: Path) -> None:
    slices = sorted(scan.iterdir())
    (scan / "copy.dcm").write_bytes(slices[0].read_bytes())
    result = segment(scan, "out.nrrd")
    assert result.exit_code == 0
    assert result.stderr.startswith("msam: 1 slice is there twice")


def test_a_lesion_is_found_where_it_is_under_a_tilted_gantry(loaded: list[str], tmp_path: Path) -> None:
    tilt = np.eye(3)
    tilt[1, 2] = np.tan(np.deg2rad(20))
    tilt[:, 2] /= np.linalg.norm(tilt[:, 2])
    direction = tuple(tilt.ravel().tolist())
    write_series(
        tmp_path / "scan", balls(centres=[CENTRE], origin=(-32, 8, 38.5), direction=direction, **OPTIONS)
    )
    result = segment(tmp_path / "scan", "out.dcm", "--measurements", "table.csv")
    assert result.exit_code == 0 and "tilted by 20.0 degrees" in result.stderr
    assert np.linalg.norm(by_pydicom(Path("out.dcm"))[1].mean(axis=0) - CENTRE) < 0.5


# Series


def test_series_are_listed_and_chosen(scan: Path) -> None:
    write_series(scan / "more", a_scan() * 0, series="2")
    listed = msam("series", scan)
    assert listed.exit_code == 0
    numbers = {line: n for n, line in enumerate(listed.stdout.split("\n")[1::2], start=1)}
    wanted = numbers[f"    {uid('series', '1')}"]
    assert "CT, 20 slices of 40×36" in listed.stdout
    assert "holds 2 DICOM series" in said_in_one_line(segment(scan, "out.dcm"))
    for choice in (str(wanted), uid("series", "1")):
        assert segment(scan, "out.dcm", "--series", choice).exit_code == 0
        assert np.linalg.norm(by_pydicom(Path("out.dcm"))[1].mean(axis=0) - CENTRE) < 0.5
    next((scan / "more").iterdir()).unlink()
    sorted((scan / "more").iterdir())[5].unlink()
    assert "cannot be read as a volume: " in msam("series", scan).stdout


def test_a_folder_without_series_is_said(loaded: list[str], tmp_path: Path) -> None:
    assert "holds no DICOM series" in said_in_one_line(msam("series", tmp_path))
    assert "There is no folder" in said_in_one_line(msam("series", tmp_path / "missing"))


# Export


def two_segments() -> list[Segment]:
    ball = lesion()
    half = sitk.Cast(ball, sitk.sitkUInt8)
    half[20:, :, :] = 0
    return [Segment(ball, "Whole"), Segment(half, "Half", (0.0, 0.5, 1.0))]


def test_a_segmentation_is_exported_with_its_segments(scan: Path) -> None:
    write_segments_nrrd(Path("in.seg.nrrd"), two_segments())
    result = msam(
        "export",
        "in.seg.nrrd",
        "--scan",
        scan,
        "-o",
        "out.dcm",
        "--report",
        "r.dcm",
        "--measurements",
        "t.csv",
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == "out.dcm: Whole, Half\n"
    found = by_pydicom(Path("out.dcm"))
    for number, given in enumerate(two_segments(), start=1):
        assert_same_voxels(found[number], points_of(given.mask))
    assert [item.SegmentLabel for item in dcmread("out.dcm").SegmentSequence] == ["Whole", "Half"]
    assert len(Path("t.csv").read_text().splitlines()) == 3
    assert problems_of(Path("out.dcm")) == [] and problems_of(Path("r.dcm")) == []


def test_a_label_map_is_exported_with_a_segment_for_each_value(loaded: list[str]) -> None:
    whole, half = two_segments()
    sitk.WriteImage(whole.mask * 3 + half.mask * 4, "in.nii.gz")
    assert msam("export", "in.nii.gz", "-o", "out.seg.nrrd", "--name", "Node").stdout.endswith(
        "Node 1, Node 2\n"
    )
    first, second = read_segments_nrrd(Path("out.seg.nrrd"))
    assert_same_voxels(points_of(second.mask), points_of(half.mask), within=0.01)
    assert first.colour != second.colour
    assert msam("export", "out.seg.nrrd", "-o", "back.nrrd").exit_code == 0
    back = sitk.GetArrayFromImage(sitk.ReadImage("back.nrrd"))
    given = sitk.GetArrayFromImage(sitk.ReadImage("in.nii.gz"))
    assert np.array_equal(back, np.searchsorted([3, 7], given, side="right"))


def test_fractions_are_exported_on_request(scan: Path) -> None:
    sitk.WriteImage(sitk.Cast(lesion(), sitk.sitkFloat32) * 0.25, "in.nrrd")
    assert "is no label map" in said_in_one_line(msam("export", "in.nrrd", "--scan", scan, "-o", "out.dcm"))
    assert msam("export", "in.nrrd", "--scan", scan, "-o", "out.dcm", "--fractional").exit_code == 0
    file = dcmread("out.dcm")
    assert file.SegmentationType == "FRACTIONAL" and set(np.unique(file.pixel_array)) == {0, 64}


def test_what_cannot_be_exported_is_said(scan: Path) -> None:
    sitk.WriteImage(lesion(), "in.nrrd")
    sitk.WriteImage(lesion() * 0, "empty.nrrd")
    sitk.WriteImage(lesion()[1:20, :, :], "part.nrrd")
    shifted = lesion()
    shifted.SetOrigin((0.3, 0.3, 0.3))
    sitk.WriteImage(shifted, "shifted.nrrd")
    write_segments_nrrd(Path("in.seg.nrrd"), two_segments())
    for arguments, complaint in (
        (("in.nrrd", "-o", "out.dcm"), "not DICOM"),
        (("in.nrrd", "-o", "out.nii.gz", "--measurements", "t.csv"), "need the scan"),
        (("in.nrrd", "-o", "out.nii.gz", "--fractional"), "Fractions are for DICOM"),
        (("empty.nrrd", "-o", "out.seg.nrrd"), "holds no segment"),
        (("shifted.nrrd", "-o", "out.dcm", "--scan", scan), "does not lie on the scan's voxels"),
        (("in.seg.nrrd", "-o", "out.nii.gz"), "overlap"),
        (("missing.seg.nrrd", "-o", "out.nii.gz"), "no file or folder"),
        (("in.nrrd", "-o", "out.dcm", "--scan", scan, "--model", "x"), "no model 'x'"),
    ):
        assert complaint in said_in_one_line(msam("export", *arguments))
    assert not any(Path(name).exists() for name in ("out.dcm", "out.nii.gz", "out.seg.nrrd", "t.csv"))
    assert msam("export", "part.nrrd", "-o", "out.nii.gz", "--scan", scan).exit_code == 0
    assert sitk.ReadImage("out.nii.gz").GetSize() == OPTIONS["size"]


# What drew it


def test_a_model_is_named_with_the_start_of_its_hash(loaded: list[str], tmp_path: Path) -> None:
    (tmp_path / "Trained by Jane").mkdir()
    path = tmp_path / "Trained by Jane" / "mine.safetensors"
    path.write_bytes(b"weights")
    assert describe_model(str(path)) == Algorithm("mine", weights.file_sha256(path)[:12])
    assert describe_model("sam-med3d-turbo") == Algorithm("SAM-Med3D-turbo", "unknown")
    with pytest.raises(WeightsError):
        describe_model("missing.safetensors")
