"""The panel: installation, models, table, rulers, export, parameters."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import qt
import SimpleITK as sitk
import slicer
from images import balls, oblique
from support import User, ras_of_lps, two_balls, volume_node

from Testing.slicer_shell import dialogs
from Testing.slicer_shell.testing import count_nodes, process_events


def measured(user: User) -> User:
    """A user with two accepted lesions."""
    image, one, other = two_balls()
    user.open(volume_node(image))
    for centre in (one, other):
        user.panel.next_lesion()
        user.mark(centre)
        user.panel.accept()
        user.wait()
    return user


def cells(user: User) -> list[list[str]]:
    table = user.panel.ui.lesionTable
    return [
        [table.item(row, column).text() for column in range(table.columnCount)]
        for row in range(table.rowCount)
    ]


# Numbers


def test_the_table_shows_what_is_measured(user: User) -> None:
    measured(user)
    rows = cells(user)
    ball = float((user.written() > 0).sum()) / 1000
    assert [row[0] for row in rows] == ["Lesion 1", "Lesion 2"]
    for row in rows:
        assert float(row[1]) == pytest.approx(ball, rel=0.02)
        assert 12 <= float(row[3]) <= float(row[2]) <= 17  # a ball of 7 mm radius
        assert float(row[4]) == pytest.approx(100, abs=5)


def test_an_unaccepted_mask_is_measured_too(user: User) -> None:
    image, one, _ = two_balls()
    user.open(volume_node(image))
    user.mark(one)
    before = float(cells(user)[0][1])
    user.mark((one[0] + 5, one[1], one[2]), positive=False)
    assert float(cells(user)[0][1]) < before


def test_diameters_are_measured_on_the_chosen_plane(user: User) -> None:
    empty = balls(size=(64, 64, 64), direction=oblique(20))
    centre = empty.TransformIndexToPhysicalPoint((32, 32, 32))
    image = balls(size=(64, 64, 64), direction=oblique(20), centres=[centre], radius=6)
    above = empty.TransformIndexToPhysicalPoint((32, 32, 42))
    image = sitk.Maximum(image, balls(size=(64, 64, 64), direction=oblique(20), centres=[above], radius=6))
    user.open(volume_node(image))
    user.mark(ras_of_lps(centre))
    axial = float(cells(user)[0][2])
    user.panel.ui.planeSelector.setCurrentIndex(1)
    process_events(10)
    assert float(cells(user)[0][2]) > axial + 6  # two balls on top of each other are long in coronal slices


def test_the_diameters_are_drawn_in_the_world_and_can_be_switched_off(user: User) -> None:
    measured(user)
    assert count_nodes("vtkMRMLMarkupsLineNode") == 0
    user.panel.ui.rulersCheckBox.click()
    process_events(20)
    lines = [slicer.mrmlScene.GetNthNodeByClass(n, "vtkMRMLMarkupsLineNode") for n in range(2)]
    lengths = [line.GetMeasurement("length").GetValue() for line in lines]
    row = cells(user)[1]
    assert lengths == pytest.approx([float(row[2]), float(row[3])], abs=0.06)
    assert all(line.GetLocked() and not line.GetSaveWithScene() for line in lines)
    user.panel.ui.rulersCheckBox.click()
    process_events(20)
    assert count_nodes("vtkMRMLMarkupsLineNode") == 0


def test_the_table_can_be_copied_and_saved(user: User, tmp_path: Path) -> None:
    measured(user)
    user.panel.ui.copyButton.click()
    lines = slicer.app.clipboard().text().splitlines()
    assert len(lines) == 3 and lines[1].split("\t") == cells(user)[0]
    dialogs.answer_next(str(tmp_path / "lesions"))
    user.panel.ui.csvButton.click()
    with (tmp_path / "lesions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["segment"] for row in rows] == ["Lesion 1", "Lesion 2"]
    for row, shown in zip(rows, cells(user), strict=True):
        assert float(row["volume_ml"]) == pytest.approx(float(shown[1]), abs=0.006)
        assert float(row["axial_long_mm"]) == pytest.approx(float(shown[2]), abs=0.06)
        assert float(row["coronal_long_mm"]) > 0 and float(row["sagittal_short_mm"]) > 0


def test_a_table_that_cannot_be_saved_is_said_to_be(user: User, tmp_path: Path) -> None:
    measured(user)
    (tmp_path / "lesions.csv").mkdir()
    dialogs.answer_next(str(tmp_path / "lesions.csv"))
    user.panel.ui.csvButton.click()
    assert dialogs.shown[-1].kind != "file" and dialogs.shown[-1].text
    assert [path.name for path in tmp_path.iterdir()] == ["lesions.csv"]


# Export


def test_exported_files_hold_the_segments_where_they_lie(user: User, tmp_path: Path) -> None:
    measured(user)
    dialogs.answer_next(str(tmp_path / "lesions.seg.nrrd"), str(tmp_path / "lesions.nii.gz"))
    user.panel.ui.nrrdButton.click()
    user.panel.ui.niftiButton.click()
    first, second = (user.written(segment_id) > 0 for segment_id in user.segment_ids())
    labels = sitk.ReadImage(str(tmp_path / "lesions.nii.gz"))
    array = sitk.GetArrayFromImage(labels)
    assert np.array_equal(array == 1, first) and np.array_equal(array == 2, second)
    node = slicer.util.loadSegmentation(str(tmp_path / "lesions.seg.nrrd"))
    inside = node.GetSegmentation()
    assert [inside.GetNthSegment(n).GetName() for n in range(2)] == ["Lesion 1", "Lesion 2"]
    again = slicer.util.arrayFromSegmentBinaryLabelmap(node, inside.GetNthSegmentID(1), user.editor.volume)
    assert np.array_equal(again > 0, second)
    assert inside.GetNthSegment(0).GetColor() == pytest.approx(
        user.segmentation.GetSegmentation().GetNthSegment(0).GetColor(), abs=0.01
    )


def test_dicom_is_refused_for_a_volume_from_elsewhere_and_nrrd_is_named(user: User, tmp_path: Path) -> None:
    measured(user)
    dialogs.answer_next(str(tmp_path / "lesions.dcm"))
    user.panel.ui.dicomButton.click()
    assert "NRRD" in dialogs.shown[-1].text and not (tmp_path / "lesions.dcm").exists()


def test_dicom_is_written_with_the_series_that_was_loaded(
    user: User, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pydicom = pytest.importorskip("pydicom")
    from MSAMLogic.dicom import find_series, read_series

    folder = data_folder / "dicom"
    series = next(s for s in find_series(folder) if not s.problem)
    image, source, _ = read_series(series)
    files = {str(frame.header.SOPInstanceUID): frame.path for frame in series.frames}

    class Database:
        def fileForInstance(self, uid: str) -> str:
            return str(files.get(uid, ""))

        def fileValue(self, path: str, tag: str) -> str:
            return str(pydicom.dcmread(path, stop_before_pixels=True).SeriesInstanceUID)

    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    volume = volume_node(image, "CT")
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    user.open(volume)
    user.panel.next_lesion()
    voxels = np.zeros(tuple(reversed(image.GetSize())), np.uint8)
    k, j, i = (n // 2 for n in voxels.shape)
    voxels[k - 1 : k + 2, j - 6 : j + 6, i - 9 : i + 9] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        voxels, user.segmentation, user.lesion.segment_id, volume
    )
    dialogs.answer_next(str(tmp_path / "lesions.dcm"))
    user.panel.ui.dicomButton.click()
    written = pydicom.dcmread(tmp_path / "lesions.dcm")
    assert written.Modality == "SEG" and written.PatientID == source.headers[0].PatientID
    assert written.pixel_array.sum() == voxels.sum()
    assert written.SegmentSequence[0].SegmentLabel == "Lesion 1"


# Models and installation


def test_models_come_from_the_registry_with_size_and_licence(user: User) -> None:
    image, _, _ = two_balls()
    user.open(volume_node(image))
    from MSAMLogic import weights

    selector = user.panel.ui.modelSelector
    titles = [selector.itemText(n) for n in range(selector.count)]
    assert titles == [entry.title for entry in weights.models()]
    details = user.panel.ui.modelDetails.text
    assert "MB" in details and weights.find_model("default").licence in details


def test_another_model_makes_the_clicks_of_the_lesion_again(user: User) -> None:
    image, one, _ = two_balls()
    user.open(volume_node(image))
    user.mark(one)
    loads, before = user.loads, user.mask()
    user.panel.ui.modelSelector.setCurrentIndex(1)
    user.wait()
    assert user.loads == loads + 1 and user.editor.model != "default"
    assert np.array_equal(user.mask(), before) and len(user.markers()) == 1


def test_a_gpu_that_runs_out_of_memory_is_said_and_nothing_is_lost(user: User) -> None:
    image, one, _ = two_balls()
    user.predictor.device = SimpleNamespace(type="cuda")
    user.open(volume_node(image))
    user.mark(one)
    assert "NVIDIA GPU" in user.panel.ui.modelDetails.text
    decode = user.predictor.decode

    def out_of_memory(*args: Any) -> Any:
        user.predictor.device = SimpleNamespace(type="cpu")  # as TorchPredictor does
        return decode(*args)

    user.predictor.decode = out_of_memory
    user.mark((one[0] + 5, one[1], one[2]), positive=False)
    assert "ran out of memory" in user.status and "processor" in user.panel.ui.modelDetails.text
    assert len(user.lesion.update.clicks) == 2 and user.mask().any()


class Missing:
    """An installer to which something is missing until it is installed."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.is_missing = True

    def missing_packages(self) -> list[str]:
        return []

    def is_torch_missing(self) -> bool:
        return self.is_missing

    def install(self) -> bool:
        from SlicerMSAMLib.installer import InstallationError

        if self.fails:
            raise InstallationError("The disk is full. Free some space.")
        self.is_missing = False
        return True


def test_without_pytorch_the_panel_opens_offers_it_and_goes_on(user: User) -> None:
    user.panel.installer = Missing()
    image, one, _ = two_balls()
    load, user.panel.load_predictor = user.panel.load_predictor, None
    user.open(volume_node(image))
    assert user.panel.ui.installFrame.isVisible() and user.editor is None
    assert not user.panel.ui.lesionButton.enabled and not user.panel.ui.acceptButton.enabled
    slicer.util.selectModule("")
    slicer.util.selectModule("SlicerMSAM")
    user.panel.load_predictor = None
    user.panel.ui.installButton.click()
    process_events(10)
    assert not user.panel.ui.installFrame.isVisible() and user.editor is not None
    user.editor._loaded._load = load
    user.mark(one)
    assert user.mask().any()


def test_a_failed_installation_says_what_to_do(user: User) -> None:
    user.panel.installer = Missing(fails=True)
    user.panel.load_predictor = None
    user.open()
    user.panel.ui.installButton.click()
    assert "Free some space" in dialogs.shown[-1].text
    assert user.panel.ui.installFrame.isVisible()


def test_pytorch_is_not_offered_when_it_is_there(user: User) -> None:
    user.open()
    assert not user.panel.ui.installFrame.isVisible()


def installer_with(present: set[str], monkeypatch: pytest.MonkeyPatch, torch_logic: Any = None) -> Any:
    import sys

    from SlicerMSAMLib.installer import Installer

    if torch_logic is not None:
        monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=torch_logic))
    return Installer(is_here=lambda name: name in present)


def test_without_the_pytorch_extension_the_user_is_told_where_to_find_it(
    monkeypatch: pytest.MonkeyPatch, module: object
) -> None:
    from SlicerMSAMLib.installer import PACKAGES, InstallationError

    installer = installer_with(set(PACKAGES), monkeypatch)
    assert installer.is_torch_missing() and not installer.missing_packages()
    with pytest.raises(InstallationError, match="Extensions Manager"):
        installer.install()


@pytest.mark.parametrize("agrees", [True, False])
def test_pytorch_is_installed_by_its_extension_with_consent(
    monkeypatch: pytest.MonkeyPatch, module: object, agrees: bool
) -> None:
    from SlicerMSAMLib.installer import PACKAGES

    present = set(PACKAGES)
    asked = []

    class Logic:
        def installTorch(self, askConfirmation: bool, torchVersionRequirement: str) -> object:
            asked.append((askConfirmation, torchVersionRequirement))
            if not agrees:
                return None
            present.add("torch")
            return "torch"

    installer = installer_with(present, monkeypatch, Logic)
    assert installer.install() is agrees
    assert asked == [(True, ">=2.3")]


def test_a_failing_pytorch_installation_names_the_reason(
    monkeypatch: pytest.MonkeyPatch, module: object
) -> None:
    from SlicerMSAMLib.installer import PACKAGES, InstallationError

    class Logic:
        def installTorch(self, **options: object) -> object:
            raise RuntimeError("no space left on device")

    with pytest.raises(InstallationError, match="no space left on device"):
        installer_with(set(PACKAGES), monkeypatch, Logic).install()


# The panel itself


def test_the_panel_fits_a_small_screen(user: User) -> None:
    image, one, _ = two_balls()
    slicer.app.mainWindow().resize(1280, 800)
    user.open(volume_node(image))
    user.mark(one)
    hint = user.panel.widget.minimumSizeHint
    hint = hint() if callable(hint) else hint
    assert hint.height() <= 740 and hint.width() <= 420


def test_screenshots_show_mask_and_clicks_before_and_after_a_correction(user: User, tmp_path: Path) -> None:
    from PySide6.QtGui import QImage

    from Testing.slicer_shell.testing import compound_screenshot, show_slice_at

    folder = Path(os.environ.get("MSAM_SCREENSHOTS", tmp_path))  # set it to look at them
    image, one, _ = two_balls()
    slicer.app.mainWindow().resize(1280, 800)
    user.open(volume_node(image))
    for view in ("Red", "Yellow", "Green"):
        show_slice_at(view, one)

    def take(name: str) -> np.ndarray:
        process_events(50)
        picture = QImage(str(compound_screenshot(folder / f"{name}.png")))
        picture = picture.convertToFormat(QImage.Format.Format_RGB888)
        rows = np.frombuffer(picture.constBits(), np.uint8).reshape(picture.height(), -1)
        return rows[:, : 3 * picture.width()].reshape(picture.height(), picture.width(), 3).astype(int)

    def coloured(picture: np.ndarray) -> int:
        views = picture[:, 400:]  # right of the panel; a scan has no colour
        return int((np.ptp(views, axis=-1) > 60).sum())

    before = take("before_the_first_click")
    user.mark(one)
    first = take("after_the_first_click")
    user.mark((one[0] + 5, one[1], one[2]), positive=False)
    corrected = take("after_a_correction")
    assert before.shape[1] >= 1280 and coloured(before) == 0
    assert coloured(first) > 300 and coloured(corrected) > 300
    assert (first[:, 400:] != corrected[:, 400:]).any(axis=-1).sum() > 300


def test_every_control_says_what_it_does(user: User) -> None:
    user.open()
    ui = user.panel.ui
    for name in dir(ui):
        widget = getattr(ui, name)
        if name.endswith(("Button", "CheckBox", "Selector", "Table")) and hasattr(widget, "toolTip"):
            explained = widget.toolTip or name in ("lesionsButton", "clicksCheckBox", "rulersCheckBox")
            assert explained, name


def test_choices_are_kept_in_the_scene(user: User) -> None:
    image, one, _ = two_balls()
    volume = volume_node(image)
    user.open(volume)
    user.mark(one)
    parameters = user.panel.logic.getParameterNode()
    assert parameters.inputVolume is volume and parameters.segmentation is user.segmentation
    assert parameters.segmentID == user.lesion.segment_id and parameters.modelName == "default"


def test_sample_scans_are_registered_with_their_hashes(module: object) -> None:
    from Testing.slicer_shell.sample_data import registered

    ours = [source for source in registered if source["category"] == "MSAM"]
    assert {source["nodeNames"] for source in ours} == {"MRBrainTumor1", "CTChest"}
    for source in ours:
        sha256 = source["checksums"].removeprefix("SHA256:")
        assert len(sha256) == 64 and source["uris"].endswith(sha256)


def test_accepting_with_the_return_key_does_not_press_a_focused_button(user: User) -> None:
    from Testing.slicer_shell.testing import press_key

    image, one, _ = two_balls()
    user.open(volume_node(image))
    user.mark(one)
    user.panel.ui.resetButton.setFocus()
    press_key(qt.Qt.Key_Return)
    user.wait()
    assert user.written().any() and len(user.markers()) == 1
