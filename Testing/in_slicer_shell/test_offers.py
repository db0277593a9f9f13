"""The panel offers what the loaded model takes, and the user's own weights files beside the registry's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
import slicer
from support import HeldPredictor, User, directly, two_balls, volume_node

from MSAMLogic import weights
from MSAMLogic.capabilities import Capabilities
from Testing.slicer_shell import dialogs
from Testing.slicer_shell.testing import click_at_ras, press_key, process_events


def limited(**limits: bool) -> HeldPredictor:
    predictor = HeldPredictor()
    predictor.capabilities = Capabilities(32, 16, (1.5,), 1.5, all_clicks=True, **limits)
    return predictor


def beside(centre: tuple[float, float, float], shift: float) -> tuple[float, float, float]:
    return (centre[0] + shift, centre[1], centre[2])


def models(user: User) -> list[str]:
    selector = user.panel.ui.modelSelector
    return [selector.itemText(n) for n in range(selector.count)]


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(bytes(2_000_000))
    return path


# What a model takes


def test_a_model_for_lesion_clicks_only_has_no_background_button_and_says_why(user: User) -> None:
    user.predictor = limited(background_clicks=False)
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.wait()
    ui = user.panel.ui
    assert ui.lesionButton.enabled and not ui.backgroundButton.enabled
    assert "for the lesion only" in ui.backgroundButton.toolTip
    press_key(qt.Qt.Key_P)
    press_key(qt.Qt.Key_T)
    assert "for the lesion only" in user.status and user.panel.clicking.positive
    click_at_ras("Red", centre)
    user.wait()
    assert user.mask().any() and [positive for _, positive in user.markers()] == [True]


def test_what_a_usual_model_takes_is_offered_with_its_usual_tooltips(user: User) -> None:
    image, _, _ = two_balls()
    user.open(volume_node(image))
    user.wait()
    ui = user.panel.ui
    assert ui.lesionButton.enabled and ui.backgroundButton.enabled
    assert "must leave out" in ui.backgroundButton.toolTip
    press_key(qt.Qt.Key_T)
    assert not user.panel.clicking.positive


def test_changing_to_a_model_for_lesion_clicks_only_ends_background_clicking(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.wait()
    user.panel.clicking.start_placing(False)
    user.predictor = limited(background_clicks=False)
    user.panel.ui.modelSelector.setCurrentIndex(1)
    user.wait()
    assert user.panel.clicking.positive and user.panel.ui.lesionButton.checked
    click_at_ras("Red", centre)
    user.wait()
    assert [positive for _, positive in user.markers()] == [True] and user.mask().any()


def test_a_model_without_clicks_cannot_be_clicked_and_the_panel_says_what_to_do(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.wait()
    user.panel.clicking.start_placing(True)
    user.predictor = limited(takes_clicks=False)
    user.panel.ui.modelSelector.setCurrentIndex(1)
    user.wait()
    ui = user.panel.ui
    assert not ui.lesionButton.enabled and not ui.backgroundButton.enabled
    assert "Propose lesions" in ui.lesionButton.toolTip and "Propose lesions" in user.status
    assert not user.panel.clicking.is_placing
    press_key(qt.Qt.Key_P)
    assert not user.panel.clicking.is_placing and "takes no clicks" in user.status
    user.mark(centre)  # as a script could
    assert "takes no clicks" in user.status and user.markers() == []
    user.predictor = HeldPredictor()
    ui.modelSelector.setCurrentIndex(0)
    user.wait()
    assert ui.lesionButton.enabled and ui.backgroundButton.enabled
    user.mark(centre)
    assert user.mask().any()


def test_clicks_that_a_model_cannot_make_again_are_kept_and_its_first_click_starts_from_the_mask(
    user: User,
) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    user.mark(beside(centre, 6), positive=False)
    user.panel.accept()
    user.wait()
    accepted, segment_id = user.written() > 0, user.lesion.segment_id
    user.predictor = limited(background_clicks=False)
    user.panel.ui.modelSelector.setCurrentIndex(1)
    user.wait()
    assert "for the lesion only" in user.status and np.array_equal(user.written(segment_id) > 0, accepted)
    user.predictor = HeldPredictor()
    user.panel.ui.modelSelector.setCurrentIndex(0)
    user.wait()
    assert [positive for _, positive in user.markers()] == [True, False]  # they were not lost
    user.predictor = limited(background_clicks=False)
    user.panel.ui.modelSelector.setCurrentIndex(1)
    user.wait()
    start = user.editor
    from SlicerMSAMLib import segment_access

    mask = segment_access.read_segment(start.segmentation, segment_id, start.volume)
    user.mark(beside(centre, -3))
    expected = directly(limited(background_clicks=False), image, [(beside(centre, -3), True)], start=mask)
    assert np.array_equal(user.mask(), expected)
    user.panel.undo()
    user.wait()
    assert np.array_equal(user.mask(), accepted)


# Own weights files


def test_a_file_of_one_s_own_is_chosen_loaded_and_offered_again(user: User, weights_file: Path) -> None:
    image, centre, _ = two_balls()
    loaded: list[str] = []
    user.panel.load_predictor = lambda name, job: loaded.append(name) or user.predictor
    user.open(volume_node(image))
    user.wait()
    known = len(models(user))
    dialogs.answer_next(str(weights_file))
    user.panel.ui.modelFileButton.click()
    user.wait()
    assert models(user)[known:] == ["mine"]
    assert user.panel.ui.modelSelector.currentIndex == known
    assert (
        "2 MB" in user.panel.ui.modelDetails.text and str(weights_file) in user.panel.ui.modelDetails.toolTip
    )
    assert loaded[-1] == str(weights_file)
    assert user.panel.logic.getParameterNode().modelName == str(weights_file)
    user.mark(centre)
    assert user.mask().any()


def test_own_files_come_back_in_the_next_session_while_they_are_there(
    user: User, weights_file: Path, tmp_path: Path
) -> None:
    from SlicerMSAMLib.model_choice import keep_files, kept_files

    keep_files("SlicerMSAM/ClickModelFiles", [str(weights_file), str(tmp_path / "gone.pth")])
    user.open()
    assert models(user) == [*(entry.title for entry in weights.models()), "mine"]
    slicer.app.userSettings().setValue("SlicerMSAM/ClickModelFiles", "no list")
    assert kept_files("SlicerMSAM/ClickModelFiles") == []


def test_a_registered_model_that_takes_no_clicks_is_offered_for_proposals_alone(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = json.loads((weights.registry_folder() / "models.json").read_text(encoding="utf-8"))
    finder = dict(listed["models"][0], name="finder", title="Finder", architecture="masksam", file="f.pth")
    listed["models"].append(finder)
    (tmp_path / "models.json").write_text(json.dumps(listed), encoding="utf-8")
    monkeypatch.setenv("MSAM_MODEL_WEIGHTS", str(tmp_path))
    user.open()
    assert "Finder" not in models(user) and len(models(user)) == 2
    assert user.panel.ui.proposalModelSelector.currentText == "Finder"
    assert user.panel.logic.getParameterNode().proposalModelName == "finder"


def test_asking_for_a_file_and_choosing_none_changes_nothing(user: User) -> None:
    user.open()
    before = models(user)
    dialogs.answer_next("")
    user.panel.ui.modelFileButton.click()
    assert models(user) == before and user.editor.model == "default"


@pytest.mark.parametrize("folder", ["/no/such/folder/", "C:\\no\\such\\folder\\"])
def test_a_scene_that_names_a_missing_file_says_so(user: User, folder: str) -> None:
    image, centre, _ = two_balls()
    user.panel.load_predictor = None
    user.panel.installer = type("Here", (), {"missing_packages": list, "is_torch_missing": bool})()
    user.open(volume_node(image))
    user.panel.logic.getParameterNode().modelName = f"{folder}gone.safetensors"
    process_events(20)
    assert user.panel.ui.modelSelector.currentText == "gone"
    assert "missing" in user.panel.ui.modelDetails.text
    user.mark(centre)
    assert "There is no weights file" in user.status and user.markers() == []


def test_a_file_s_name_goes_into_exports_without_its_folder(
    user: User, weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from SlicerMSAMLib import exporting

    named: list[Any] = []
    record: Callable[..., object] = lambda *arguments: named.append(arguments[3])  # noqa: E731
    monkeypatch.setattr(exporting, "export", record)
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    dialogs.answer_next(str(weights_file), str(tmp_path / "lesions.dcm"))
    user.panel.ui.modelFileButton.click()
    user.mark(centre)
    user.panel.accept()
    user.wait()
    user.panel.ui.dicomButton.click()
    assert named[0].name == "M-SAM mine"
