"""The command msam, with a predictor whose answers can be foreseen in place of a network."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from images import balls, centroid, oblique
from predictors import ThresholdPredictor
from typer.testing import CliRunner

from MSAMLogic import __version__, weights
from MSAMLogic.capabilities import Capabilities
from MSAMLogic.cli import app, parse_click
from MSAMLogic.errors import ClickError
from MSAMLogic.evaluation.baselines import ClassicalSession, RegionGrowing
from MSAMLogic.geometry import ImageGrid, lps_from_ras
from MSAMLogic.predictor import load_model
from MSAMLogic.training.cases import Case, read_cases, split_by_patient
from MSAMLogic.training.loaded_case import LoadedCase

ROOT = Path(__file__).resolve().parents[1]
CENTRE = (-12.0, 34.0, 56.5)  # LPS


class Runs:
    """Runs the command in this process and notes which models it loads."""

    def __init__(self) -> None:
        self.loaded: list[tuple[str, str]] = []
        self.precisions: list[str] = []

    def load_model(
        self, name: str = "default", device: str = "auto", precision: str = "auto"
    ) -> ThresholdPredictor:
        self.loaded.append((name, device))
        self.precisions.append(precision)
        return ThresholdPredictor()

    def __call__(self, *arguments: object) -> Any:
        plain = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
        return CliRunner().invoke(app, list(map(str, arguments)), env=plain)


@pytest.fixture
def msam(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runs:
    runs = Runs()
    monkeypatch.setattr("MSAMLogic.predictor.load_model", runs.load_model)
    monkeypatch.setenv("MSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return runs


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """An oblique scan with one bright ball round ``CENTRE``."""
    options: dict[str, Any] = {"size": (40, 40, 20), "spacing": (1.0, 1.0, 2.0), "direction": oblique()}
    matrix = np.array(options["direction"]).reshape(3, 3) * options["spacing"]
    origin = np.array(CENTRE) - matrix @ [20, 19, 9]
    sitk.WriteImage(balls(centres=[CENTRE], origin=origin.tolist(), **options), str(tmp_path / "scan.nrrd"))
    return tmp_path / "scan.nrrd"


def text(*point: float) -> str:
    return ",".join(f"{v:g}" for v in point)


RAS = text(*lps_from_ras(CENTRE))


def voxels(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def assert_one_line_of_error(result: Any) -> str:
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    line: str = result.stderr
    assert line.startswith("msam: ") and line.count("\n") == 1 and line.endswith("\n")
    return line


# Clicks


def test_a_click_is_ras_and_with_lps_the_same_lesion_is_found(msam: Runs, scan: Path) -> None:
    ras = msam("segment", scan, "--click", RAS, "-o", "ras.nrrd")
    lps = msam("segment", scan, "--click", text(*CENTRE), "--lps", "--output", "lps.nrrd")
    assert (ras.exit_code, lps.exit_code) == (0, 0)
    assert np.array_equal(voxels(Path("ras.nrrd")), voxels(Path("lps.nrrd")))
    mask = sitk.ReadImage("ras.nrrd")
    assert np.linalg.norm(centroid(mask) - CENTRE) < 1
    assert ImageGrid.of(mask).matches(ImageGrid.of(sitk.ReadImage(str(scan))))
    count = voxels(Path("ras.nrrd")).sum()
    assert ras.stdout == f"ras.nrrd: {count} voxels, {2 * count / 1000:.2f} ml\n"
    assert ras.stderr.startswith("click 1 (lesion): ")


def test_a_background_click_takes_away(msam: Runs, scan: Path) -> None:
    x, y, z = CENTRE
    wrong = (x + 5, y, z)
    msam("segment", scan, "--click", RAS, "-o", "one.nrrd")
    msam("segment", scan, "--click", RAS + ",+", "-o", "plus.nrrd")
    assert np.array_equal(voxels(Path("one.nrrd")), voxels(Path("plus.nrrd")))
    result = msam(
        "segment", scan, "--click", RAS, "--click", text(*lps_from_ras(wrong)) + ",-", "-o", "b.nrrd"
    )
    assert result.exit_code == 0 and "click 2 (background): " in result.stderr
    mask = sitk.ReadImage("b.nrrd")
    index = mask.TransformPhysicalPointToIndex(wrong)
    assert sitk.ReadImage("one.nrrd")[index] == 1 and mask[index] == 0


@pytest.mark.parametrize(
    ("given", "point", "positive"),
    [
        ("-12,3,4", (12.0, -3.0, 4.0), True),
        ("1.5,-2,+3e1,-", (-1.5, 2.0, 30.0), False),
        (" 1 , 2 , 3 , + ", (-1.0, -2.0, 3.0), True),
    ],
)
def test_a_click_is_three_numbers_and_perhaps_a_sign(
    given: str, point: tuple[float, float, float], positive: bool
) -> None:
    assert parse_click(given, is_lps=False) == (point, positive)
    assert parse_click(given, is_lps=True) == (lps_from_ras(point), positive)


def test_a_click_may_start_with_a_minus_sign(msam: Runs, scan: Path) -> None:
    assert text(*CENTRE).startswith("-12,") and RAS.startswith("12,-34,")
    for arguments in (["--click", text(*CENTRE)], [f"--click={text(*CENTRE)}"]):
        assert msam("segment", scan, *arguments, "--lps", "-o", "mask.nrrd").exit_code == 0
        assert voxels(Path("mask.nrrd")).any()


BAD_CLICKS = ["", "1,2", "1,2,3,4", "a,b,c", "1,2,3,", "1 2 3", "nan,1,2", "1,inf,2", "1,2,3,+,-", "1;2;3"]


@pytest.mark.parametrize("given", BAD_CLICKS)
def test_what_is_no_click_is_said_before_anything_is_read(msam: Runs, given: str) -> None:
    with pytest.raises(ClickError):
        parse_click(given, is_lps=True)
    line = assert_one_line_of_error(
        msam("segment", "missing.nrrd", "--click", "1,2,3", "--click", given, "-o", "m.nrrd")
    )
    assert f"'{given}' is no click; write R,A,S" in line
    assert msam.loaded == []


@pytest.mark.parametrize(
    ("clicks", "complaint"),
    [
        (["900,0,0"], "outside the image"),
        ([text(*CENTRE)], "change the sign of the first two"),  # LPS without --lps
        ([RAS + ",-"], "must be positive"),
    ],
)
def test_a_click_that_cannot_be_used_leaves_no_file(
    msam: Runs, scan: Path, clicks: list[str], complaint: str
) -> None:
    options = list(itertools.chain.from_iterable(("--click", click) for click in clicks))
    line = assert_one_line_of_error(msam("segment", scan, *options, "-o", "mask.nrrd"))
    assert complaint in line
    assert not Path("mask.nrrd").exists()


# Evaluation


@pytest.fixture
def data(scan: Path) -> Path:
    """A data set of one case: the scan and its ball."""
    image = sitk.ReadImage(str(scan))
    sitk.WriteImage(image > 50, str(scan.parent / "mask.nrrd"))
    columns = ("case", "source", "patient", "modality", "image", "mask")
    row = ("case1", "source1", "patient1", "MR", "scan.nrrd", "mask.nrrd")
    (scan.parent / "cases.tsv").write_text("\t".join(columns) + "\n" + "\t".join(row) + "\n")
    return scan.parent


def test_one_model_is_measured_without_naming_it(msam: Runs, data: Path) -> None:
    result = msam("evaluate", data)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("| source | lesions | Dice")
    assert "| source1 | 1 |" in result.stdout and msam.loaded == [("default", "auto")]


def test_models_are_measured_at_the_precision_that_is_asked_for(msam: Runs, data: Path) -> None:
    msam("evaluate", data)
    msam("evaluate", data, "--precision", "float32")
    assert msam.precisions == ["auto", "float32"]


def test_a_precision_that_is_none_is_refused(msam: Runs, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("MSAMLogic.predictor.load_model", load_model)
    line = assert_one_line_of_error(msam("evaluate", data, "--precision", "int7"))
    assert "int7" in line and "float32" in line


def test_several_models_ablations_and_baselines_share_a_table(
    msam: Runs, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "MSAMLogic.evaluation.baselines.classical_sessions",
        lambda: {"region growing": ClassicalSession(RegionGrowing())},
    )
    models = ("--model", "default", "--model", "elsewhere/old.safetensors")
    result = msam(
        "evaluate", data, *models, "--baselines", "--without", "all-clicks", "--csv", "new/lesions.csv"
    )
    assert result.exit_code == 0, result.stderr
    methods = [line.split(" | ")[0][2:] for line in result.stdout.splitlines()[2:] if "source1" in line]
    assert methods == ["default", "old.safetensors", "default without all-clicks", "region growing"]
    assert [name for name, _ in msam.loaded] == ["default", "elsewhere/old.safetensors"]
    assert len(Path("new/lesions.csv").read_text().splitlines()) == 5


def test_the_sheet_of_an_evaluation_is_written(msam: Runs, data: Path) -> None:
    assert msam("evaluate", data, "--sheet", "new/sheet.png").exit_code == 0
    assert Path("new/sheet.png").read_bytes().startswith(b"\x89PNG")


def test_lesions_that_are_too_small_are_clicked_where_that_is_asked_for(msam: Runs, data: Path) -> None:
    line = assert_one_line_of_error(msam("evaluate", data, "--smallest", "100000"))
    assert "no lesion large enough" in line
    assert "| source1 | 1 |" in msam("evaluate", data, "--smallest", "1", "--lesions", "5").stdout


def test_lesions_of_a_case_are_clicked_in_one_session(msam: Runs, data: Path) -> None:
    assert "No case has two lesions" in assert_one_line_of_error(msam("evaluate", data, "--together"))
    far = sitk.ReadImage(str(data / "mask.nrrd"))
    far[0:4, 0:4, 0:4] = 1
    sitk.WriteImage(far, str(data / "mask.nrrd"))
    result = msam("evaluate", data, "--together", "--smallest", "1")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("| method | source | cases | lesions | Dice in one session |")
    assert "| default | source1 | 1 | 2 |" in result.stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--without", "salt"), "no ingredient 'salt'"),
        (("--together", "--varied", "2"), "leave --varied"),
        (("--together", "--csv", "lesions.csv"), "leave --varied"),
        (("--smallest", "0", "--sheet", "sheet.png"), "--sheet, out"),
        (("--lesions", "9", "--sheet", "sheet.png"), "--sheet, out"),
        (("--without", "all-clicks+finer-look"), "has no finer-look"),
        (("--baselines",), "slicer-msam[baselines]"),
        (("--sheet", "sheet.png"), "slicer-msam[demo]"),
    ],
)
def test_what_cannot_be_measured_or_drawn_is_said_before_the_first_click(
    msam: Runs, data: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], complaint: str
) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    def clicked(*_: object, **__: object) -> None:
        raise AssertionError("nothing should be clicked")

    monkeypatch.setattr("MSAMLogic.packages.distribution", missing)
    monkeypatch.setattr("MSAMLogic.evaluation.report.run_clicks", clicked)
    assert complaint in assert_one_line_of_error(msam("evaluate", data, *options))
    assert not Path("sheet.png").exists()


def test_training_samples_are_drawn_without_the_patients_kept_aside(
    msam: Runs, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = (data / "cases.tsv").read_text()
    more = [table.splitlines()[1].replace("t1", f"t{n}").replace("case1", f"case{n}") for n in (2, 3)]
    (data / "cases.tsv").write_text(table + "\n".join(more) + "\n")
    loaded: list[str] = []

    def load(case: Case) -> LoadedCase:
        loaded.append(case.name)
        return LoadedCase(case)

    monkeypatch.setattr("MSAMLogic.training.gallery.LoadedCase", load)
    Path("config.yaml").write_text("data: .\noutput: runs\npatch_spacings: [0.5, 2.0]\n")
    result = msam("samples", "config.yaml", "new/samples.png", "--columns", 1)
    assert result.exit_code == 0, result.stderr
    assert Path("new/samples.png").read_bytes().startswith(b"\x89PNG")
    training, kept_aside = split_by_patient(read_cases(data))
    assert sorted(loaded) == [case.name for case in training] and len(kept_aside) == 1


# Files


def test_a_segmentation_gets_the_name_of_the_segment(msam: Runs, scan: Path) -> None:
    options = ("--click", RAS, "-o", "new/mask.seg.nrrd", "--name", "Nodule 3")
    assert msam("segment", scan, *options).exit_code == 0
    mask = sitk.ReadImage("new/mask.seg.nrrd")
    assert mask.GetMetaData("Segment0_Name") == "Nodule 3" and sitk.GetArrayFromImage(mask).any()


def test_a_missing_image_is_named(msam: Runs) -> None:
    line = assert_one_line_of_error(msam("segment", "missing.nrrd", "--click", "1,2,3", "-o", "m.nrrd"))
    assert "'missing.nrrd'" in line and msam.loaded == []


def test_an_unknown_format_is_refused_before_the_model_is_loaded(msam: Runs, scan: Path) -> None:
    line = assert_one_line_of_error(msam("segment", scan, "--click", RAS, "-o", "mask.png"))
    assert "'mask.png'" in line and ".nii.gz" in line
    assert msam.loaded == []


def test_an_output_that_cannot_be_written_is_named(msam: Runs, scan: Path) -> None:
    Path("file").write_text("no folder")
    result = msam("segment", scan, "--click", RAS, "-o", "file/mask.nrrd")
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    timing, line = result.stderr.splitlines()
    assert timing.startswith("click 1") and line.startswith("msam: ") and line.endswith(": file")


def test_a_given_mask_is_corrected(msam: Runs, scan: Path) -> None:
    image = sitk.ReadImage(str(scan))
    given = sitk.Cast(sitk.BinaryDilate(image > 50, [2, 2, 1]), sitk.sitkUInt8)
    sitk.WriteImage(given, "given.nii.gz")
    wrong = sitk.ReadImage("given.nii.gz").TransformContinuousIndexToPhysicalPoint([28.0, 19.0, 9.0])
    result = msam(
        "segment",
        scan,
        "--start",
        "given.nii.gz",
        "--click",
        text(*lps_from_ras(wrong)) + ",-",
        "-o",
        "m.mha",
    )
    assert result.exit_code == 0, result.output
    before, after = sitk.GetArrayFromImage(given), voxels(Path("m.mha"))
    assert before[9, 19, 28] == 1 and after[9, 19, 28] == 0
    assert after[9, 19, 12] == 1
    line = assert_one_line_of_error(
        msam("segment", scan, "--start", "other.nrrd", "--click", RAS, "-o", "m.mha")
    )
    assert "'other.nrrd'" in line


def test_a_lesion_that_goes_on_is_said_to(msam: Runs) -> None:
    values = np.full((20, 20, 150), 100, np.int16)
    values[:, :3] = 0
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((3.0, 3.0, 3.0))
    sitk.WriteImage(image, "long.nrrd")
    result = msam("segment", "long.nrrd", "--click", "225,30,30", "--lps", "-o", "mask.nrrd")
    assert result.exit_code == 0 and "goes on beyond" in result.stderr


def test_an_error_of_the_file_system_is_one_line(msam: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(name: str) -> None:
        raise OSError(28, "No space left on device", "/there")

    monkeypatch.setattr(weights, "find_model", full)
    line = assert_one_line_of_error(msam("download", "default"))
    assert line == "msam: No space left on device: /there\n"


def test_ctrl_c_ends_without_a_traceback(msam: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "models", interrupted)
    result = msam("models")
    assert (result.exit_code, result.stderr) == (130, "msam: stopped\n")


# Models


def test_model_and_device_are_passed_on(msam: Runs, scan: Path) -> None:
    msam("segment", scan, "--click", RAS, "-o", "m.nrrd")
    msam("segment", scan, "--click", RAS, "-o", "m.nrrd", "--model", "mine.pth", "--device", "cpu")
    assert msam.loaded == [("default", "auto"), ("mine.pth", "cpu")]


def test_an_unknown_model_lists_the_known_ones(
    msam: Runs, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, device: str) -> None:
        weights.find_model(name)

    monkeypatch.setattr("MSAMLogic.predictor.load_model", load)
    for arguments in (("segment", scan, "--click", RAS, "-o", "m.nrrd", "--model", "x"), ("download", "x")):
        line = assert_one_line_of_error(msam(*arguments))
        assert "'x'" in line and "default, sam-med3d-turbo" in line


def test_models_are_listed_with_what_is_needed_to_choose(msam: Runs) -> None:
    result = msam("models")
    assert result.exit_code == 0
    listed, _ = result.stdout.replace("\n    ", " ").split("\n\nSystems:\n")
    blocks = {block.split()[0]: block for block in listed.splitlines()}
    assert list(blocks) == ["default", "sam-med3d-turbo"]
    for block in blocks.values():
        assert "Apache-2.0" in block and "trained on: " in block and "Not a medical device" in block
    assert "fetch it with: msam download sam-med3d-turbo" in blocks["sam-med3d-turbo"]
    assert "msam-compact" in blocks["default"]


def test_the_four_systems_are_listed_with_what_they_take_and_their_weights(msam: Runs) -> None:
    _, systems = msam("models").stdout.replace("\n    ", " ").split("\n\nSystems:\n")
    blocks = {block.split()[0]: block for block in systems.splitlines()}
    assert list(blocks) == ["M-SAM", "SAM-Med3D", "3DSAM-adapter", "MaskSAM"]
    for name, network, takes, models in (
        ("M-SAM", "msam-vit-b", "the newest click", "default"),
        ("M-SAM", "msam-compact", "all clicks at once", "default"),
        ("SAM-Med3D", "sam-med3d-vit-b", "all clicks at once", "sam-med3d-turbo"),
        ("3DSAM-adapter", "3dsam-adapter", "clicks for the lesion only", "none"),
        ("MaskSAM", "masksam", "no clicks: finds lesions", "none"),
    ):
        assert f"network {network}: takes {takes}" in blocks[name] and f"models: {models} " in blocks[name]
    for name in ("3DSAM-adapter", "MaskSAM"):
        assert "sam_vit_b_01ec64.pth (Segment Anything, Meta AI, Apache-2.0)" in blocks[name]


class Limited(ThresholdPredictor):
    """Takes no clicks, or none for the background."""

    def __init__(self, **limits: bool) -> None:
        super().__init__(Capabilities(32, 16, (1.5,), 1.5, all_clicks=True, **limits))


def test_a_model_that_takes_no_clicks_is_not_clicked_and_the_right_command_is_named(
    msam: Runs, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("MSAMLogic.predictor.load_model", lambda *_: Limited(takes_clicks=False))
    result = msam("segment", scan, "--click", RAS, "-o", "mask.nrrd", "--model", "finder.safetensors")
    line = assert_one_line_of_error(result)
    assert "finder.safetensors" in line and "msam propose" in line and not Path("mask.nrrd").exists()


def test_a_background_click_is_refused_by_a_model_that_takes_none(
    msam: Runs, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("MSAMLogic.predictor.load_model", lambda *_: Limited(background_clicks=False))
    assert msam("segment", scan, "--click", RAS, "-o", "one.nrrd").exit_code == 0
    result = msam("segment", scan, "--click", RAS, "--click", f"{RAS},-", "-o", "two.nrrd")
    assert result.exit_code == 1 and not Path("two.nrrd").exists()
    assert result.stderr.splitlines()[-1].startswith("msam: This model takes clicks for the lesion only")


def test_a_model_for_lesion_clicks_only_is_measured_beside_others(
    msam: Runs, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sprawling(Limited):
        def decode(self, *arguments: Any) -> Any:
            answer = super().decode(*arguments)
            logits = answer.logits.copy()
            logits[:6] = 5.0  # too much, so that the protocol would click against it
            return answer._replace(logits=logits)

    models = {"one": Sprawling(background_clicks=False), "both": Sprawling(background_clicks=True)}
    monkeypatch.setattr("MSAMLogic.predictor.load_model", lambda name, *_: models[name])
    result = msam("evaluate", data, "--model", "one", "--model", "both")
    assert result.exit_code == 0, result.stderr
    signs = {name: {int(s) for _, labels in model.seen for s in labels} for name, model in models.items()}
    assert signs == {"one": {1}, "both": {0, 1}}


def test_a_wrong_training_configuration_is_one_line(msam: Runs) -> None:
    assert "missing.yaml cannot be read" in assert_one_line_of_error(msam("train", "missing.yaml"))
    Path("config.yaml").write_text("data: .\noutput: out\ncolour: blue\n")
    line = assert_one_line_of_error(msam("train", "config.yaml"))
    assert "config.yaml" in line and "colour" in line and "https:" not in line


# Help and start


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((), ["segment", "export", "series", "models", "download", "train", "--version", "medical device"]),
        (
            ("segment",),
            ["--click", "R,A,S", "--lps", "--start", "--model", "--device", "--name", "-o", ".seg.nrrd"],
        ),
        (("segment",), [".dcm", "--series", "--region", "--type", "--report", "--measurements"]),
        (("export",), [".seg.nrrd", "--scan", "--fractional", "--report", "--measurements", "--model"]),
        (("series",), ["--series", "A folder with DICOM files"]),
        (("models",), ["whether their weights are on this computer"]),
        (("download",), ["A name that 'msam models' lists", "cache folder"]),
        (("train",), ["configs/default.yaml", "go on with a run that was stopped"]),
        (("evaluate",), ["cases.tsv", "--model", "--most", "--all-patients", "--baselines", "--without"]),
        (("samples",), ["configs/default.yaml", "PNG", "--seed"]),
    ],
)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_says_what_a_command_needs(
    msam: Runs, command: tuple[str, ...], words: list[str], option: str
) -> None:
    result = msam(*command, option)
    assert result.exit_code == 0
    shown = " ".join(result.stdout.replace("│", " ").split())
    assert [word for word in words if word not in shown] == []


def test_every_command_has_a_line_of_help(msam: Runs) -> None:
    shown = msam("--help").stdout
    for command in app.registered_commands:
        assert command.callback is not None and command.callback.__doc__ is not None
        assert command.callback.__doc__.splitlines()[0][:40] in shown
    assert {c.callback.__name__ for c in app.registered_commands if c.callback} >= {"segment", "models"}


def test_what_is_missing_or_unknown_is_a_wrong_use(msam: Runs) -> None:
    for arguments in (
        (),
        ("segment",),
        ("segment", "scan.nrrd", "-o", "m.nrrd"),
        ("segmnt",),
        ("models", "-x"),
    ):
        result = msam(*arguments)
        assert result.exit_code == 2 and "Traceback" not in result.output


def test_version_is_printed(msam: Runs) -> None:
    result = msam("--version")
    assert (result.exit_code, result.stdout) == (0, f"msam {__version__}\n")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_the_module_is_the_command() -> None:
    assert python("-m", "MSAMLogic.cli", "--version").stdout == f"msam {__version__}\n"
    failed = python("-m", "MSAMLogic.cli", "segment", "missing.nrrd", "--click", "-1,2,3", "-o", "mask.nrrd")
    assert failed.returncode == 1 and failed.stdout == ""
    assert failed.stderr == "msam: There is no file or folder 'missing.nrrd'; check the path.\n"


LIGHT: dict[str, Callable[[], tuple[str, str]]] = {
    "the package": lambda: ("import MSAMLogic", "torch SimpleITK typer scipy"),
    "the command": lambda: ("import MSAMLogic.cli", "torch scipy"),
    "the session": lambda: ("from MSAMLogic import InteractiveSession, Click", "torch typer"),
    "the list of models": lambda: ("from MSAMLogic import weights; weights.models()", "torch SimpleITK"),
    "export and reading": lambda: ("import MSAMLogic.export, MSAMLogic.reading", "torch"),
}


@pytest.mark.parametrize("name", LIGHT)
def test_importing_loads_no_more_than_is_needed(name: str) -> None:
    statement, heavy = LIGHT[name]()
    code = f"import sys; {statement}; print(*(set(sys.modules) & set({heavy.split()})))"
    result = python("-c", code)
    assert (result.returncode, result.stdout, result.stderr) == (0, "\n", "")


def test_a_session_works_where_torch_is_not_installed() -> None:
    code = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Block())
sys.path.insert(0, "Testing")
from MSAMLogic.session import InteractiveSession
from predictors import ThresholdPredictor
from images import balls, middle
image = balls(centres=[middle(balls())])
session = InteractiveSession(ThresholdPredictor())
session.set_image(image)
print(max(session.click(middle(image)).GetSize()) > 10)
try:
    import torch
except ModuleNotFoundError:
    print("blocked")
"""
    result = python("-c", code)
    assert (result.stdout, result.stderr) == ("True\nblocked\n", "")


def test_train_takes_budget_and_folders_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    class Trainer:
        def __init__(self, config: Any, log: Any) -> None:
            seen.append(config)

        def run(self) -> None:
            """Train nothing."""

    monkeypatch.setattr("MSAMLogic.training.trainer.Trainer", Trainer)
    config = tmp_path / "config.yaml"
    config.write_text("data: here\noutput: out\nminutes: 90\n")
    changes = ["--minutes", "25", "--data", "packed", "--output", "elsewhere"]
    for given in ([], changes):
        done = CliRunner().invoke(app, ["train", str(config), *given])
        assert done.exit_code == 0, done.output
    assert (seen[0].minutes, seen[0].data, seen[0].output) == (90, tmp_path / "here", tmp_path / "out")
    assert (seen[1].minutes, seen[1].data, seen[1].output) == (25, Path("packed"), Path("elsewhere"))


def test_the_data_of_an_experiment_is_named_in_its_file() -> None:
    experiment = Path(__file__).parents[1] / "configs" / "experiments" / "m-sam" / "table1_kits19.yaml"
    done = CliRunner().invoke(app, ["train", str(experiment), "--data", "packed"])
    assert done.exit_code == 1 and "layout of its own" in done.output
