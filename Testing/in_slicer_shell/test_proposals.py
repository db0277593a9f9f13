"""Proposing lesions: a model that takes no clicks finds them, they become segments, clicks refine them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from images import oblique
from support import HeldPredictor, User, directly, linear_transform, two_balls, volume_node
from test_lesions import OpenSegmentEditor

from MSAMLogic.capabilities import Capabilities
from Testing.slicer_shell import dialogs
from Testing.slicer_shell.testing import click_at_ras, count_nodes, process_events


@dataclass(frozen=True, eq=False)
class Proposal:
    """What MSAMLogic.proposals gives for each lesion."""

    mask: sitk.Image
    name: str
    score: float


class Finder:
    """A model that takes no clicks."""

    capabilities = Capabilities(32, 16, takes_clicks=False, classes=("Metastasis", "Cyst"))


class FakeSearch:
    """Finds bright parts window by window, each window only when it may; the first is a metastasis."""

    def __init__(self, windows: int = 4) -> None:
        self.windows = windows
        self.names = ("Metastasis", "Cyst")
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_waiting = threading.Event()
        self.searched: list[sitk.Image] = []
        self.was_stopped = False
        self.threads: set[str] = set()

    def __call__(
        self,
        model: Any,
        image: sitk.Image,
        modality: str | None = None,
        on_progress: Callable[[float], object] | None = None,
    ) -> list[Proposal]:
        assert not model.capabilities.takes_clicks
        self.threads.add(threading.current_thread().name)
        for window in range(self.windows):
            self.is_waiting.set()
            assert self.may_go_on.wait(20)
            if on_progress is not None:
                try:
                    on_progress((window + 1) / self.windows)
                except BaseException:
                    self.was_stopped = True
                    raise
        self.searched.append(image)
        parts = sitk.ConnectedComponent(image > 50)
        shape = sitk.LabelShapeStatisticsImageFilter()
        shape.Execute(parts)
        found = []
        for label in shape.GetLabels():
            box = shape.GetBoundingBox(label)
            mask = sitk.RegionOfInterest(sitk.Cast(parts == label, sitk.sitkUInt8), box[3:], box[:3])
            found.append(Proposal(mask, self.names[(label - 1) % len(self.names)], 0.8))
        return found


class Finding(User):
    """A user with a model that finds lesions."""

    def __init__(self) -> None:
        super().__init__(HeldPredictor())
        self.search = FakeSearch()
        self.finder: Any = Finder()
        self.found_with: list[str] = []
        self.panel.propose = self.search
        self.panel.load_predictor = self._load_either

    def _load_either(self, name: str, job: Any) -> Any:
        if name.startswith("/"):
            self.found_with.append(name)
            return self.finder
        return self.predictor

    def choose_finder(self, path: Path) -> None:
        path.write_bytes(b"weights")
        dialogs.answer_next(str(path))
        self.panel.ui.proposalFileButton.click()
        process_events(10)

    def propose(self) -> None:
        self.panel.ui.proposeButton.click()

    def names(self) -> list[str]:
        inside = self.segmentation.GetSegmentation()
        return [inside.GetNthSegment(n).GetName() for n in range(inside.GetNumberOfSegments())]


@pytest.fixture
def finding(module: object, tmp_path: Path) -> Finding:
    user = Finding()
    user.open()
    user.choose_finder(tmp_path / "finder.safetensors")
    return user


def bright(volume: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    return slicer.util.arrayFromVolume(volume) > 50


# What is offered


def test_without_a_model_the_button_says_how_to_get_one(user: User) -> None:
    image, _, _ = two_balls()
    user.open(volume_node(image))
    user.wait()
    ui = user.panel.ui
    assert not ui.proposeButton.enabled and "msam train" in ui.proposeButton.toolTip
    assert not ui.proposalModelSelector.enabled and ui.proposalFileButton.enabled
    assert ui.proposalModelSelector.currentText == "None yet"


def test_without_a_volume_there_is_nothing_to_search(finding: Finding) -> None:
    button = finding.panel.ui.proposeButton
    assert not button.enabled and "volume" in button.toolTip
    image, _, _ = two_balls()
    finding.open(volume_node(image))
    finding.wait()
    assert button.enabled and "whole volume" in button.toolTip


def test_the_model_that_finds_is_chosen_apart_and_comes_back(finding: Finding, tmp_path: Path) -> None:
    parameters = finding.panel.logic.getParameterNode()
    assert parameters.proposalModelName == str(tmp_path / "finder.safetensors")
    assert parameters.modelName == "default"
    slicer.mrmlScene.Clear(0)  # another scene, the same settings
    process_events(20)
    again = finding.panel.logic.getParameterNode()
    assert again.proposalModelName == str(tmp_path / "finder.safetensors")
    assert finding.panel.ui.proposalModelSelector.currentText == "finder"


def test_a_model_that_takes_clicks_is_refused_as_a_finder(finding: Finding) -> None:
    finding.finder = HeldPredictor()
    image, _, _ = two_balls()
    finding.open(volume_node(image))
    finding.propose()
    finding.wait()
    assert "finds nothing by itself" in finding.status and finding.segmentation is None


# Proposals become segments


def test_proposals_become_segments_with_names_colours_and_measurements(finding: Finding) -> None:
    image, _, _ = two_balls()
    volume = volume_node(image)
    finding.open(volume)
    finding.propose()
    finding.wait()
    assert finding.names() == ["Metastasis 1", "Cyst 1"] and finding.search.threads == {"MSAM inference"}
    first, second = (finding.written(segment_id) > 0 for segment_id in finding.segment_ids())
    assert first.any() and second.any() and not (first & second).any()
    assert np.array_equal(first | second, bright(volume))
    inside = finding.segmentation.GetSegmentation()
    segments = [inside.GetNthSegment(n) for n in range(2)]
    assert segments[0].GetColor() != segments[1].GetColor()
    for segment in segments:
        tag = vtk.reference("")
        assert segment.GetTag("DICOM.SegmentAlgorithmType", tag) and str(tag) == "AUTOMATIC"
        assert "52988006" in segment.GetTerminology()
    table = finding.panel.ui.lesionTable
    assert [table.item(row, 0).text() for row in range(table.rowCount)] == finding.names()
    volumes = [float(table.item(row, 1).text()) for row in range(2)]
    assert volumes == pytest.approx([first.sum() / 1000, second.sum() / 1000], abs=0.006)
    assert "Proposed: 2" in finding.status


def test_names_stay_unique_beside_what_is_there(finding: Finding) -> None:
    image, centre, _ = two_balls()
    finding.open(volume_node(image))
    finding.mark(centre)
    finding.panel.accept()
    finding.wait()
    accepted = finding.written()
    finding.search.names = ("Lesion", "Lesion {x}")
    for _ in range(2):
        finding.propose()
        finding.wait()
    assert finding.names() == ["Lesion 1", "Lesion 2", "Lesion {x} 1", "Lesion 3", "Lesion {x} 2"]
    assert np.array_equal(finding.written(finding.segment_ids()[0]), accepted)
    assert finding.lesion.segment_id == finding.segment_ids()[0]  # what was selected stays selected


def test_what_is_being_clicked_stays_as_it_is(finding: Finding) -> None:
    image, centre, _ = two_balls()
    finding.open(volume_node(image))
    finding.mark(centre)
    before, lesion = finding.mask(), finding.lesion
    finding.propose()
    finding.wait()
    assert finding.lesion is lesion and np.array_equal(finding.mask(), before)
    assert finding.editor.preview.is_shown and len(finding.markers()) == 1


@pytest.mark.parametrize("is_moved", [False, True])
def test_on_oblique_and_moved_volumes_proposals_lie_on_the_lesions(finding: Finding, is_moved: bool) -> None:
    image, _, _ = two_balls(direction=oblique(25), spacing=(0.9, 1.1, 1.6))
    volume = volume_node(image)
    if is_moved:
        volume.SetAndObserveTransformNodeID(linear_transform().GetID())
    finding.open(volume)
    finding.propose()
    finding.wait()
    first, second = (finding.written(segment_id) > 0 for segment_id in finding.segment_ids())
    assert np.array_equal(first | second, bright(volume))


def test_a_segmentation_in_other_coordinates_gets_them_where_they_are(finding: Finding) -> None:
    image, _, _ = two_balls()
    volume = volume_node(image)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Elsewhere")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.SetAndObserveTransformNodeID(linear_transform(degrees=0, shift=(5.0, -3.0, 2.0)).GetID())
    finding.open(volume)
    finding.panel.ui.segmentationSelector.setCurrentNode(segmentation)
    finding.propose()
    finding.wait()
    from SlicerMSAMLib.segment_access import read_segment
    from support import whole

    masks = [whole(read_segment(segmentation, each, volume), volume) for each in finding.segment_ids()]
    assert len(masks) == 2 and np.array_equal(masks[0] | masks[1], bright(volume))


def test_a_volume_under_a_bent_transform_is_refused_with_the_reason(finding: Finding) -> None:
    image, _, _ = two_balls()
    volume = volume_node(image)
    finding.open(volume)
    finding.wait()
    bent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "Bent")
    bent.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    volume.SetAndObserveTransformNodeID(bent.GetID())
    finding.propose()
    finding.wait()
    assert "non-linear transform" in finding.status and finding.search.searched == []


def test_nothing_found_is_said_and_makes_no_segmentation(finding: Finding) -> None:
    finding.panel.proposals._propose = lambda *_, **__: []
    image, _, _ = two_balls()
    finding.open(volume_node(image))
    finding.propose()
    finding.wait()
    assert "No lesion was found" in finding.status and finding.segmentation is None


def test_all_proposals_are_one_step_of_the_segment_editor_s_undo(
    finding: Finding, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, centre, _ = two_balls()
    finding.open(volume_node(image))
    finding.mark(centre)
    finding.panel.accept()
    finding.wait()
    monkeypatch.setattr(
        slicer.modules, "SegmentEditorWidget", OpenSegmentEditor(finding.segmentation), raising=False
    )
    accepted = finding.written()
    finding.propose()
    finding.wait()
    assert len(finding.names()) == 3
    slicer.modules.SegmentEditorWidget.undo()
    process_events(10)
    assert finding.names() == ["Lesion 1"] and np.array_equal(finding.written(), accepted)


# Refinement


def test_a_click_refines_a_proposal_from_its_mask_and_undo_brings_the_proposal_back(
    finding: Finding,
) -> None:
    image, _, _ = two_balls()
    volume = volume_node(image)
    finding.open(volume)
    finding.propose()
    finding.wait()
    row = 1
    finding.panel.ui.lesionTable.selectRow(row)
    process_events(10)
    segment_id = finding.segment_ids()[row]
    assert finding.lesion.segment_id == segment_id
    proposed = finding.written(segment_id) > 0
    k, j, i = (float(v) for v in np.argwhere(proposed).mean(axis=0))
    to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(to_ras)
    x, y, z, _ = to_ras.MultiplyPoint((i, j, k, 1.0))
    finding.panel.clicking.start_placing(False)
    clicked = click_at_ras("Red", (x + 5, y, z))
    finding.wait()
    from SlicerMSAMLib.segment_access import read_segment

    start = read_segment(finding.segmentation, segment_id, volume)
    assert np.array_equal(finding.mask(), directly(HeldPredictor(), image, [(clicked, False)], start=start))
    assert 0 < finding.mask().sum() < proposed.sum()
    finding.panel.undo()
    finding.wait()
    assert np.array_equal(finding.mask(), proposed) and finding.markers() == []
    finding.panel.redo()
    finding.wait()
    finding.panel.accept()
    finding.wait()
    assert 0 < (finding.written(segment_id) > 0).sum() < proposed.sum()
    tag = vtk.reference("")
    assert finding.lesion.segment.GetTag("DICOM.SegmentAlgorithmType", tag) and str(tag) == "SEMIAUTOMATIC"


# Never frozen, and nothing left when it ends early


def test_the_event_loop_lives_while_lesions_are_looked_for_and_progress_is_shown(finding: Finding) -> None:
    image, _, _ = two_balls()
    finding.open(volume_node(image))
    finding.wait()
    finding.search.may_go_on.clear()
    finding.propose()
    gaps, last = [], time.monotonic()
    end = last + 0.6
    while last < end:
        process_events()
        gaps.append(time.monotonic() - last)
        last = time.monotonic()
    ui = finding.panel.ui
    assert max(gaps) < 0.3 and finding.search.is_waiting.is_set()
    assert "Looking for lesions" in finding.status and ui.cancelButton.isVisible()
    assert ui.progressBar.isVisible() and ui.progressBar.maximum == 100
    assert not ui.proposeButton.enabled and not ui.undoButton.enabled
    finding.search.may_go_on.set()
    finding.wait()
    assert not ui.cancelButton.isVisible() and ui.proposeButton.enabled and len(finding.names()) == 2


def test_cancel_ends_the_search_at_once_and_leaves_nothing(finding: Finding) -> None:
    image, centre, _ = two_balls()
    finding.open(volume_node(image))
    finding.wait()
    nodes = count_nodes()
    finding.search.may_go_on.clear()
    finding.propose()
    finding.wait_until(finding.search.is_waiting.is_set)
    finding.wait_until(lambda: finding.panel.ui.cancelButton.isVisible())
    start = time.monotonic()
    finding.panel.ui.cancelButton.click()
    process_events()
    assert time.monotonic() - start < 0.3 and not finding.panel.ui.cancelButton.isVisible()
    finding.search.may_go_on.set()
    finding.wait_until(lambda: finding.search.was_stopped)
    process_events(50)
    assert finding.search.searched == [] and finding.segmentation is None and count_nodes() == nodes
    finding.mark(centre)
    assert finding.mask().any()
    finding.propose()
    finding.wait()
    assert len(finding.names()) == 3


def test_clicks_made_meanwhile_wait_and_count(finding: Finding) -> None:
    image, centre, _ = two_balls()
    finding.open(volume_node(image))
    finding.wait()
    finding.search.may_go_on.clear()
    finding.propose()
    finding.wait_until(finding.search.is_waiting.is_set)
    finding.place(centre)
    process_events(20)
    finding.search.may_go_on.set()
    finding.wait()
    assert finding.names() == ["Lesion 1", "Metastasis 1", "Cyst 1"] and finding.mask().any()
    table = finding.panel.ui.lesionTable
    finding.wait_until(lambda: all(float(table.item(row, 1).text() or 0) > 0 for row in range(3)))


def test_proposals_that_a_click_kept_from_being_measured_are_measured_after_it(
    finding: Finding, monkeypatch: pytest.MonkeyPatch
) -> None:
    from SlicerMSAMLib import segment_measurements

    image, centre, _ = two_balls()
    finding.open(volume_node(image))
    may_measure, measure = threading.Event(), segment_measurements.measure

    def slowly(*arguments: Any) -> Any:
        assert may_measure.wait(20)
        return measure(*arguments)

    monkeypatch.setattr(segment_measurements, "measure", slowly)
    finding.propose()
    finding.wait_until(lambda: finding.segmentation is not None)
    finding.place(centre)
    may_measure.set()
    finding.wait()
    measured = [finding.editor.measurements_of(segment_id) for segment_id in finding.segment_ids()]
    assert len(measured) == 2 and None not in measured


@pytest.mark.parametrize(
    "event", ["close the scene", "another volume", "remove the volume", "leave for good"]
)
def test_a_search_whose_volume_goes_is_dropped(finding: Finding, event: str) -> None:
    image, _, _ = two_balls()
    volume, other = volume_node(image), volume_node(image, "Other")
    finding.open(volume)
    finding.wait()
    finding.search.may_go_on.clear()
    finding.propose()
    finding.wait_until(finding.search.is_waiting.is_set)
    if event == "close the scene":
        slicer.mrmlScene.Clear(0)
    elif event == "another volume":
        finding.panel.ui.volumeSelector.setCurrentNode(other)
    elif event == "remove the volume":
        slicer.mrmlScene.RemoveNode(volume)
    else:
        threading.Timer(0.2, finding.search.may_go_on.set).start()  # closing waits for the thread
        finding.panel.close()
    process_events(10)
    finding.search.may_go_on.set()
    finding.wait_until(lambda: finding.search.was_stopped)
    process_events(50)
    assert finding.search.searched == [] and count_nodes("vtkMRMLSegmentationNode") == 0
    assert not finding.panel.proposals.is_busy and not finding.panel.ui.cancelButton.isVisible()


def test_the_segmentation_that_was_chosen_at_the_start_gets_the_lesions(finding: Finding) -> None:
    image, _, _ = two_balls()
    finding.open(volume_node(image))
    finding.panel.next_lesion()
    first = finding.segmentation
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Other")
    finding.search.may_go_on.clear()
    finding.propose()
    finding.wait_until(finding.search.is_waiting.is_set)
    finding.panel.ui.segmentationSelector.setCurrentNode(other)
    finding.search.may_go_on.set()
    finding.wait()
    assert first.GetSegmentation().GetNumberOfSegments() == 3
    assert other.GetSegmentation().GetNumberOfSegments() == 0 and finding.segmentation is other


def test_lesions_of_a_volume_that_was_changed_meanwhile_are_dropped(finding: Finding) -> None:
    image, _, _ = two_balls()
    volume = volume_node(image)
    finding.open(volume)
    finding.wait()
    finding.search.may_go_on.clear()
    finding.propose()
    finding.wait_until(finding.search.is_waiting.is_set)
    volume.SetSpacing(2.0, 2.0, 2.0)
    finding.search.may_go_on.set()
    finding.wait()
    assert "changed meanwhile" in finding.status and finding.segmentation is None


def test_a_search_that_fails_says_why_and_can_be_tried_again(finding: Finding) -> None:
    image, _, _ = two_balls()
    finding.open(volume_node(image))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of order")

    finding.panel.proposals._propose = broken
    finding.propose()
    finding.wait()
    assert "out of order" in finding.status and finding.segmentation is None
    finding.panel.proposals._propose = finding.search
    finding.propose()
    finding.wait()
    assert len(finding.names()) == 2 and "out of order" not in finding.status


def test_the_finder_is_loaded_once(finding: Finding) -> None:
    image, _, _ = two_balls()
    finding.open(volume_node(image))
    for _ in range(2):
        finding.propose()
        finding.wait()
    assert len(finding.found_with) == 1
