"""Preview, acceptance, neighbours, many lesions, one history."""

from __future__ import annotations

import numpy as np
import pytest
import qt
import SimpleITK as sitk
import slicer
from images import balls
from predictors import CorrectingPredictor, obey
from support import HeldPredictor, User, directly, two_balls, volume_node

from MSAMLogic.geometry import ImageGrid
from Testing.slicer_shell.testing import press_key, process_events


def beside(centre: tuple[float, float, float], shift: float) -> tuple[float, float, float]:
    return (centre[0] + shift, centre[1], centre[2])


def refined(user: User, centre: tuple[float, float, float]) -> None:
    """One click for the lesion and two against it."""
    user.mark(centre)
    user.mark(beside(centre, 6), positive=False)
    user.mark(beside(centre, -6), positive=False)


# Preview and acceptance


def test_the_mask_is_a_preview_until_it_is_accepted(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    assert user.mask().any() and not user.written().any()
    assert user.editor.preview.is_shown and user.panel.ui.acceptButton.enabled
    assert not user.editor.preview.node.GetSaveWithScene() and user.editor.preview.node.GetHideFromEditors()
    press_key(qt.Qt.Key_Return)
    user.wait()
    assert np.array_equal(user.written() > 0, user.mask())
    assert not user.editor.preview.is_shown and not user.panel.ui.acceptButton.enabled


def test_the_mask_is_that_of_a_session_with_the_same_clicks(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    refined(user, centre)
    assert np.array_equal(user.mask(), directly(HeldPredictor(), image, user.markers()))


def test_with_a_network_that_corrects_too(user: User) -> None:
    image, centre, _ = two_balls()
    user.predictor = CorrectingPredictor(lambda correction: obey(correction, 3.0))
    user.open(volume_node(image))
    user.mark(centre)
    for shift in (5, -5):
        user.mark(beside(centre, shift), positive=False)
    assert len(user.predictor.corrections) == 2
    expected = directly(CorrectingPredictor(lambda correction: obey(correction, 3.0)), image, user.markers())
    assert np.array_equal(user.mask(), expected)
    whole = user.mask().sum()
    user.panel.undo()
    user.wait()
    assert user.mask().sum() > whole


def test_a_preview_leaves_the_accepted_mask_as_it_is_and_stands_out(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    user.panel.accept()
    accepted = user.written()
    user.mark(beside(centre, 6), positive=False)
    assert np.array_equal(user.written(), accepted) and user.editor.preview.is_shown
    assert user.segmentation.GetDisplayNode().GetSegmentVisibility(user.lesion.segment_id)
    own = user.lesion.segment.GetColor()
    shown = user.editor.preview.node.GetSegmentation().GetNthSegment(0).GetColor()
    assert all(a > b for a, b in zip(shown, own, strict=True))
    user.panel.undo()
    user.wait()
    assert not user.editor.preview.is_shown


class OpenSegmentEditor:
    """Stands for the Segment Editor's panel with a segmentation open: its own logic and undo states."""

    def __init__(self, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
        self.editor = self
        self.history = slicer.vtkSegmentationHistory()
        self.history.SetSegmentation(segmentation.GetSegmentation())
        self._segmentation = segmentation

    def segmentationNode(self) -> slicer.vtkMRMLSegmentationNode:
        return self._segmentation

    def saveStateForUndo(self) -> None:
        self.history.SaveState()

    def undo(self) -> None:
        self.history.RestorePreviousState()


def test_accepting_is_one_step_of_the_segment_editor_s_undo(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    user.panel.accept()
    monkeypatch.setattr(
        slicer.modules, "SegmentEditorWidget", OpenSegmentEditor(user.segmentation), raising=False
    )
    first = user.written()
    refined(user, centre)
    user.panel.accept()
    assert (user.written() != first).any()
    slicer.modules.SegmentEditorWidget.undo()
    assert np.array_equal(user.written(), first)


def test_the_segment_editor_s_masking_settings_are_respected(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    settings = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
    settings.UnRegister(None)
    settings.SetSingletonTag("SegmentEditor")
    settings = slicer.mrmlScene.AddNode(settings)
    settings.SetAndObserveSegmentationNode(user.segmentation)
    settings.SetSourceVolumeIntensityMask(True)
    settings.SetSourceVolumeIntensityMaskRange(500, 1000)
    user.panel.accept()
    assert user.mask().any() and not user.written().any()
    settings.SetSourceVolumeIntensityMaskRange(50, 150)
    user.mark(beside(centre, 6), positive=False)
    user.panel.accept()
    bright = sitk.GetArrayFromImage(image) == 100
    assert user.written().any() and not (user.written().astype(bool) & ~bright).any()
    slicer.mrmlScene.RemoveNode(settings)


def test_only_what_changed_is_written(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    user.panel.accept()
    user.mark(beside(centre, 6), positive=False)
    extents = []
    logic = user.editor.writer.logic

    class Watched:
        def __getattr__(self, name: str) -> object:
            if name == "ModifySegmentByLabelmap":
                return lambda *args: (extents.append(args[4]), logic.ModifySegmentByLabelmap(*args))
            return getattr(logic, name)

    monkeypatch.setattr(user.editor.writer, "_logic", Watched())
    before = user.written()
    user.panel.accept()
    changed = np.argwhere(before.astype(bool) != user.written().astype(bool))
    (k0, j0, i0), (k1, j1, i1) = changed.min(axis=0), changed.max(axis=0)
    boxes = np.array(extents)
    union = [f(boxes[:, n]) for n, f in enumerate((np.min, np.max) * 3)]
    assert union == [i0, i1, j0, j1, k0, k1]


def test_accepting_into_an_empty_segment_looks_at_no_more_than_the_mask(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An empty segment has no place; taken for a voxel at the world's origin, it would span half a metre.
    image, centre, _ = two_balls(origin=(300.0, -300.0, 200.0))
    user.open(volume_node(image))
    user.mark(centre)
    looked_at = []
    reference = ImageGrid.reference
    monkeypatch.setattr(
        ImageGrid,
        "reference",
        lambda self, region, *rest: looked_at.append(region.size) or reference(self, region, *rest),
    )
    user.panel.accept()
    assert looked_at and all(
        np.prod(size) <= user.lesion.update.mask.GetNumberOfPixels() for size in looked_at
    )
    assert np.array_equal(user.written() > 0, user.mask())


# Neighbours


def touching() -> tuple[sitk.Image, tuple[float, float, float], np.ndarray, np.ndarray]:
    """A ball, its centre, and the voxels of its two halves."""
    image, centre, _ = two_balls()
    ball = sitk.GetArrayFromImage(image) == 100
    middle = image.GetSize()[0] // 2
    ball[:, :, middle:] = False
    i = image.GetSize()[0] // 2 - image.GetSize()[0] // 5
    left, right = ball.copy(), ball.copy()
    left[:, :, i:] = False
    right[:, :, :i] = False
    return image, centre, left, right


@pytest.mark.parametrize("shared", [True, False], ids=["shared labelmap", "labelmaps of their own"])
def test_a_touching_neighbour_is_left_alone(user: User, shared: bool) -> None:
    image, centre, left, right = touching()
    volume = volume_node(image)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Two halves")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    inside = segmentation.GetSegmentation()
    for name, half in (("left", left), ("right", right)):
        inside.AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(half.astype(np.uint8), segmentation, name, volume)
    if shared:
        inside.CollapseBinaryLabelmaps(False)
        assert inside.GetNumberOfLayers() == 1
    user.open(volume)
    user.panel.ui.segmentationSelector.setCurrentNode(segmentation)
    process_events(10)
    user.editor.select_segment("right")
    user.mark(centre)  # the network answers with the whole ball, the neighbour's half included
    user.panel.accept()
    assert np.array_equal(user.written("left") > 0, left)
    assert np.array_equal(user.written("right") > 0, user.mask())
    assert (user.mask() & left).sum() > 0.5 * left.sum()  # it would have been taken from the neighbour


def test_an_existing_segment_is_refined_from_its_mask(user: User) -> None:
    image, centre, left, _ = touching()
    volume = volume_node(image)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "By hand")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.GetSegmentation().AddEmptySegment("left", "left")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    slicer.util.updateSegmentBinaryLabelmapFromArray(left.astype(np.uint8), segmentation, "left", volume)
    user.open(volume)
    user.panel.ui.segmentationSelector.setCurrentNode(segmentation)
    process_events(10)
    where = beside(centre, 5)  # a background click in the mask's half: RAS x grows as LPS x falls
    user.mark(where, positive=False)
    start = sitk.GetImageFromArray(left.astype(np.uint8))
    start.CopyInformation(image)
    expected = directly(HeldPredictor(), image, [(where, False)], start)
    assert np.array_equal(user.mask(), expected) and 0 < expected.sum() < left.sum()
    user.panel.undo()
    user.wait()
    assert np.array_equal(user.mask(), left) and not user.panel.ui.undoButton.enabled


def test_what_somebody_else_painted_is_not_lost(user: User) -> None:
    image, centre, _other = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    user.panel.accept()
    painted = user.written().copy()
    k, j, i = np.argwhere(sitk.GetArrayFromImage(image) == 100)[-1]
    painted[k, j, i - 2 : i + 1] = 1  # in the Segment Editor, say, and at the other ball
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        painted, user.segmentation, user.lesion.segment_id, user.editor.volume
    )
    user.mark(beside(centre, 6), positive=False)
    mask = user.mask()
    assert mask[k, j, i] and mask.sum() < painted.sum()


# History


def test_undo_and_redo_bring_back_mask_and_markers_together(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    states = []
    for shift, positive in ((0, True), (6, False), (-6, False), (0, True)):
        user.mark(beside(centre, shift), positive)
        states.append((user.mask(), user.markers()))
    for mask, markers in reversed(states[:-1]):
        press_key(qt.Qt.Key_Z, qt.Qt.ControlModifier)
        user.wait()
        assert np.array_equal(user.mask(), mask) and len(user.markers()) == len(markers)
        for (point, sign), (expected, expected_sign) in zip(user.markers(), markers, strict=True):
            assert point == pytest.approx(expected, abs=1e-3) and sign is expected_sign
    for mask, markers in states[1:]:
        press_key(qt.Qt.Key_Y, qt.Qt.ControlModifier)
        user.wait()
        assert np.array_equal(user.mask(), mask) and len(user.markers()) == len(markers)
    press_key(qt.Qt.Key_R)
    user.wait()
    assert not user.mask().any() and user.markers() == []
    user.panel.undo()
    user.wait()
    assert np.array_equal(user.mask(), states[-1][0]) and len(user.markers()) == 4


def test_nothing_to_undo_is_said_and_nothing_breaks(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.panel.undo()
    user.mark(centre)
    user.panel.undo()
    user.panel.undo()
    user.wait()
    assert "nothing to undo" in user.status and user.markers() == []


# Many lesions


def test_the_next_lesion_has_its_own_clicks_and_the_first_comes_back(user: User) -> None:
    image, one, other = two_balls()
    user.open(volume_node(image))
    refined(user, one)
    first_mask, first_id = user.mask(), user.lesion.segment_id
    press_key(qt.Qt.Key_E)
    user.wait()
    assert user.lesion.segment_id != first_id and user.markers() == []
    assert np.array_equal(user.written(first_id) > 0, first_mask)  # accepted on the way
    user.mark(other)
    second_mask = user.mask()
    assert not (second_mask & first_mask).any()
    user.panel.ui.lesionTable.selectRow(0)
    user.wait()
    assert user.lesion.segment_id == first_id and len(user.markers()) == 3
    assert np.array_equal(user.mask(), first_mask)
    user.panel.undo()
    user.wait()
    assert len(user.markers()) == 2
    user.panel.ui.lesionTable.selectRow(1)
    user.wait()
    assert np.array_equal(user.mask(), second_mask) and len(user.markers()) == 1


def test_next_lesion_waits_for_the_clicks_on_their_way(user: User) -> None:
    image, one, _ = two_balls()
    user.open(volume_node(image))
    user.mark(one)
    first_id = user.lesion.segment_id
    user.predictor.may_go_on.clear()
    user.place(beside(one, 6), positive=False)
    user.panel.next_lesion()
    assert user.lesion.segment_id != first_id
    user.predictor.may_go_on.set()
    user.wait()
    expected = directly(HeldPredictor(), image, [(one, True), (beside(one, 6), False)])
    assert np.array_equal(user.written(first_id) > 0, expected)


def test_next_lesion_makes_no_second_empty_segment(user: User) -> None:
    image, _, _ = two_balls()
    user.open(volume_node(image))
    for _ in range(3):
        user.panel.next_lesion()
        user.wait()
    assert len(user.segment_ids()) == 1


def test_new_segments_have_names_colours_and_the_terminology_of_a_lesion(user: User) -> None:
    image, one, other = two_balls()
    user.open(volume_node(image))
    for centre in (one, other):
        user.panel.next_lesion()
        user.mark(centre)
    segments = [user.segmentation.GetSegmentation().GetSegment(n) for n in user.segment_ids()]
    assert [segment.GetName() for segment in segments] == ["Lesion 1", "Lesion 2"]
    assert segments[0].GetColor() != segments[1].GetColor()
    entry = slicer.vtkSlicerTerminologyEntry()
    assert slicer.modules.terminologies.logic().DeserializeTerminologyEntry(
        segments[0].GetTerminology(), entry
    )
    assert entry.GetTypeObject().GetCodeValue() == "52988006"
    text = slicer.vtk.reference("") if hasattr(slicer, "vtk") else None
    if text is not None:
        assert segments[0].GetTag("DICOM.SegmentAlgorithmType", text) and str(text) == "SEMIAUTOMATIC"


def test_two_volumes_of_different_geometry_do_not_mix(user: User) -> None:
    image, one, _ = two_balls()
    small = balls(size=(50, 40, 30), spacing=(1.5, 1.5, 3.0), origin=(200, 100, -50), centres=[])
    centre = small.TransformIndexToPhysicalPoint((25, 20, 15))
    small = balls(
        size=(50, 40, 30), spacing=(1.5, 1.5, 3.0), origin=(200, 100, -50), centres=[centre], radius=9
    )
    first, second = volume_node(image, "First"), volume_node(small, "Second")
    user.open(first)
    user.mark(one)
    mask = user.mask()
    user.panel.ui.volumeSelector.setCurrentNode(second)
    user.panel.ui.segmentationSelector.setCurrentNode(None)
    process_events(10)
    where = (-centre[0], -centre[1], centre[2])
    user.mark(where)
    assert np.array_equal(user.mask(), directly(HeldPredictor(), small, [(where, True)]))
    assert slicer.util.getNode("First lesions") is not user.segmentation
    user.panel.ui.volumeSelector.setCurrentNode(first)
    user.panel.ui.segmentationSelector.setCurrentNode(slicer.util.getNode("First lesions"))
    user.wait()
    assert np.array_equal(user.mask(), mask) and len(user.markers()) == 1


def test_a_volume_whose_voxels_changed_is_looked_at_again(user: User) -> None:
    image, one, other = two_balls()
    volume = volume_node(image)
    user.open(volume)
    user.mark(one)
    slicer.util.arrayFromVolume(volume)[:] = sitk.GetArrayFromImage(balls(size=image.GetSize()))
    brighter = sitk.GetArrayFromImage(image)
    slicer.util.updateVolumeFromArray(volume, np.ascontiguousarray(brighter[:, :, ::-1]))
    user.panel.next_lesion()
    user.mark(other)
    flipped = sitk.GetImageFromArray(brighter[:, :, ::-1])
    flipped.CopyInformation(image)
    assert np.array_equal(user.mask(), directly(HeldPredictor(), flipped, [(other, True)]))
