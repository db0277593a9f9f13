"""Scenes: saved and opened again, and the whole path on a real case with the default network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
import SimpleITK as sitk
import slicer
from support import HeldPredictor, User, directly, ras_of_lps, two_balls, volume_node

from Testing.slicer_shell.testing import click_at_ras, process_events


def beside(centre: tuple[float, float, float], shift: float) -> tuple[float, float, float]:
    return (centre[0] + shift, centre[1], centre[2])


def save_and_reopen(user: User, path: Path) -> None:
    """Save the scene, close it, open it again, and go back to the module."""
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    process_events(20)
    assert user.lesion is None
    slicer.util.loadScene(str(path))
    process_events(20)
    user.wait()


def click_pattern(user: User, centre: tuple[float, float, float]) -> None:
    for shift, positive in ((0, True), (6, False), (-6, False)):
        user.mark(beside(centre, shift), positive)


def test_lesions_clicks_and_history_survive_a_scene_file(user: User, tmp_path: Path) -> None:
    image, one, other = two_balls()
    user.open(volume_node(image))
    click_pattern(user, one)
    first = user.mask()
    user.panel.next_lesion()
    user.mark(other)
    second = user.mask()  # not accepted
    save_and_reopen(user, tmp_path / "scene.mrb")
    assert user.editor.volume is not None and len(user.segment_ids()) == 2
    assert np.array_equal(user.mask(), second) and len(user.markers()) == 1
    assert user.editor.preview.is_shown  # it still waits to be accepted
    user.panel.ui.lesionTable.selectRow(0)
    user.wait()
    assert np.array_equal(user.mask(), first) and len(user.markers()) == 3
    assert np.array_equal(user.written() > 0, first) and not user.editor.preview.is_shown
    user.panel.undo()
    user.wait()
    expected = directly(HeldPredictor(), image, [(one, True), (beside(one, 6), False)])
    assert np.array_equal(user.mask(), expected)  # and it goes on, click by click


def test_an_accepted_mask_under_a_preview_is_saved_as_it_was(user: User, tmp_path: Path) -> None:
    image, one, _ = two_balls()
    volume = volume_node(image)
    user.open(volume)
    user.mark(one)
    user.panel.accept()
    accepted = user.written()
    user.mark(beside(one, 6), positive=False)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.util.selectModule("")
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    opened = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    segment_id = opened.GetSegmentation().GetNthSegmentID(0)
    assert opened.GetDisplayNode().GetSegmentVisibility(segment_id)
    scan = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(opened, segment_id, scan), accepted)


def test_the_module_s_own_nodes_are_not_in_the_scene_file(user: User, tmp_path: Path) -> None:
    image, one, _ = two_balls()
    user.open(volume_node(image))
    user.mark(one)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.util.selectModule("")
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 0
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_a_refined_segment_starts_from_its_mask_again_after_reopening(user: User, tmp_path: Path) -> None:
    image, one, _ = two_balls()
    volume = volume_node(image)
    user.open(volume)
    user.panel.next_lesion()
    start = sitk.GetArrayFromImage(image) == 100
    start[:, :, 45:] = False
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        start.astype(np.uint8), user.segmentation, user.lesion.segment_id, volume
    )
    user.mark(beside(one, 5), positive=False)
    refined = user.mask()
    assert 0 < refined.sum() < start.sum()
    save_and_reopen(user, tmp_path / "scene.mrb")
    assert np.array_equal(user.mask(), refined) and len(user.markers()) == 1
    user.panel.undo()
    user.wait()
    assert np.array_equal(user.mask(), start)


def test_a_segment_that_was_edited_elsewhere_keeps_the_edit_after_reopening(
    user: User, tmp_path: Path
) -> None:
    image, one, other = two_balls()
    volume = volume_node(image)
    user.open(volume)
    user.mark(one)
    user.panel.accept()
    painted = user.written().copy()
    painted[sitk.GetArrayFromImage(image) == 100] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        painted, user.segmentation, user.lesion.segment_id, volume
    )
    save_and_reopen(user, tmp_path / "scene.mrb")
    assert user.markers() == [] and not user.editor.preview.is_shown
    user.mark(beside(other, 4), positive=False)
    assert user.mask().sum() > 0.5 * painted.sum()


def test_a_scene_with_a_transformed_volume_goes_on_where_it_was(user: User, tmp_path: Path) -> None:
    from support import linear_transform

    image, one, _ = two_balls()
    volume = volume_node(image)
    transform = linear_transform()
    volume.SetAndObserveTransformNodeID(transform.GetID())
    user.open(volume)
    click = user.editor.world_of((-one[0], -one[1], one[2]))
    user.mark(click)
    user.panel.accept()
    mask = user.mask()
    save_and_reopen(user, tmp_path / "scene.mrb")
    assert np.array_equal(user.mask(), mask) and np.array_equal(user.written() > 0, mask)
    assert user.markers()[0][0] == pytest.approx(click, abs=1e-3)


# The whole path on a real case


@pytest.fixture(scope="module")
def default_model() -> Any:
    pytest.importorskip("torch")
    from MSAMLogic import load_model

    return load_model("default", device="cpu")


def nodule_case(data: Path) -> tuple[sitk.Image, sitk.Image]:
    """Return a validation patient's scan with a lung nodule, and the nodule."""
    from MSAMLogic.evaluation.protocol import lesions
    from MSAMLogic.training.cases import read_cases, split_by_patient

    _, validation = split_by_patient(read_cases(data))
    case = next(case for case in validation if case.source == "lidc")
    return sitk.ReadImage(str(case.image_path)), lesions(sitk.ReadImage(str(case.mask_path)))[0]


def test_a_real_lesion_from_the_first_click_to_the_reopened_scene(
    user: User, data_folder: Path, default_model: Any, tmp_path: Path
) -> None:
    from MSAMLogic.evaluation.protocol import next_click

    image, lesion = nodule_case(data_folder)
    user.predictor = default_model
    user.open(volume_node(image, "Nodule"))
    user.panel.clicking.start_placing(True)
    click = next_click(lesion, lesion * 0)
    assert click is not None
    click_at_ras("Red", ras_of_lps(click.point))
    user.wait()
    masks = [user.mask()]
    for view in ("Yellow", "Green"):
        present = sitk.GetImageFromArray(user.mask().astype(np.uint8))
        present.CopyInformation(lesion)
        click = next_click(lesion, present)
        if click is None:
            break
        user.panel.clicking.start_placing(click.positive)
        click_at_ras(view, ras_of_lps(click.point))
        user.wait()
        masks.append(user.mask())
    clicks = [(ras_of_lps(click.point), click.positive) for click in user.lesion.update.clicks]
    assert len(clicks) == len(masks) > 1
    for count, mask in enumerate(masks, start=1):
        assert np.array_equal(mask, directly(default_model, image, clicks[:count]))
    user.panel.undo()
    user.wait()
    assert np.array_equal(user.mask(), masks[-2])
    user.panel.redo()
    user.wait()
    assert np.array_equal(user.mask(), masks[-1])
    user.panel.accept()
    assert np.array_equal(user.written() > 0, masks[-1])
    user.panel.next_lesion()
    user.panel.clicking.stop_placing()
    save_and_reopen(user, tmp_path / "nodule.mrb")
    user.panel.ui.lesionTable.selectRow(0)
    user.wait()
    assert np.array_equal(user.mask(), masks[-1]) and np.array_equal(user.written() > 0, masks[-1])
    user.panel.undo()
    user.wait()
    assert np.array_equal(user.mask(), masks[-2])
    truth = sitk.GetArrayFromImage(lesion) > 0
    overlap = 2 * (masks[-1] & truth).sum() / (masks[-1].sum() + truth.sum())
    assert overlap > 0.5


def test_the_table_selects_by_mouse(user: User) -> None:
    from Testing.slicer_shell.testing import QtTest

    image, one, other = two_balls()
    user.open(volume_node(image))
    user.mark(one)
    user.panel.next_lesion()
    user.mark(other)
    table = user.panel.ui.lesionTable
    rectangle = table.visualItemRect(table.item(0, 0))
    QtTest.QTest.mouseClick(table.viewport(), qt.Qt.LeftButton, qt.Qt.NoModifier, rectangle.center())
    user.wait()
    assert user.lesion.segment_id == user.segment_ids()[0]
