"""What a module may rely on in the stand-in for Slicer's shell."""

from __future__ import annotations

import numpy as np
import pytest
import qt
import slicer
import vtk
from slicer.parameterNodeWrapper import parameterNodeWrapper

from Testing.slicer_shell import dialogs, packaging, unhandled
from Testing.slicer_shell.testing import (
    click_at_ras,
    compound_screenshot,
    count_nodes,
    count_observers,
    drag,
    move_to_ras,
    press_key,
    process_events,
    screenshot,
    scroll,
    show_slice_at,
    slice_view,
    start_placing,
    stop_placing,
)

VIEWS = ("Red", "Yellow", "Green")


@pytest.fixture
def volume(scene: object) -> object:
    """A volume with unlike spacings and an origin, shown in the three views."""
    generator = np.random.default_rng(0)
    node = slicer.util.addVolumeFromArray(generator.integers(0, 500, (30, 50, 60)).astype(np.int16))
    node.SetName("volume")
    node.SetSpacing(1.0, 1.5, 2.0)
    node.SetOrigin(-20.0, 10.0, -5.0)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    process_events()
    return node


@pytest.fixture
def points(scene: object) -> object:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    node.CreateDefaultDisplayNodes()
    return node


def last_point(node: object) -> np.ndarray:
    position = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(node.GetNumberOfDefinedControlPoints() - 1, position)
    return np.array(position)


def zoom_and_pan(name: str, factor: float, shift: float) -> None:
    node = slice_view(name).mrmlSliceNode()
    width, height, depth = node.GetFieldOfView()
    node.SetFieldOfView(width * factor, height * factor, depth)
    node.SetXYZOrigin(shift, -shift, 0)
    process_events()


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize(("factor", "shift"), [(1.0, 0.0), (0.4, 7.0), (2.0, -11.0)])
def test_click_places_a_point_where_it_lands(
    volume: object, points: object, name: str, factor: float, shift: float
) -> None:
    zoom_and_pan(name, factor, shift)
    start_placing(points)
    wanted = np.array([8.3, 41.7, 21.9])
    pointed = click_at_ras(name, wanted)
    assert points.GetNumberOfDefinedControlPoints() == 1
    np.testing.assert_allclose(last_point(points), pointed, atol=1e-6)
    assert np.all(np.abs(last_point(points) - wanted) <= np.array(volume.GetSpacing()) / 2)


def test_hovering_in_place_mode_defines_no_point(volume: object, points: object) -> None:
    start_placing(points)
    move_to_ras("Red", (8, 40, 20))
    assert points.GetNumberOfDefinedControlPoints() == 0


def test_click_outside_place_mode_places_nothing(volume: object, points: object) -> None:
    click_at_ras("Red", (8, 40, 20))
    assert points.GetNumberOfControlPoints() == 0


def test_dragging_moves_a_point(volume: object, points: object) -> None:
    start_placing(points)
    click_at_ras("Red", (8, 40, 21))
    stop_placing()
    released = drag("Red", last_point(points), (14, 30, 21))
    assert points.GetNumberOfDefinedControlPoints() == 1
    np.testing.assert_allclose(last_point(points)[:2], released[:2], atol=0.5)


def test_delete_key_removes_the_point_under_the_mouse(volume: object, points: object) -> None:
    start_placing(points)
    click_at_ras("Red", (8, 40, 21))
    stop_placing()
    move_to_ras("Red", last_point(points))
    press_key(qt.Qt.Key_Delete, widget=slice_view("Red"))
    assert points.GetNumberOfControlPoints() == 0


def test_wheel_moves_the_slice(volume: object) -> None:
    node = slice_view("Red").mrmlSliceNode()
    before = node.GetSliceOffset()
    scroll("Red", 2)
    assert node.GetSliceOffset() == pytest.approx(before + 2 * 2.0)


def test_nodes_get_items_in_the_subject_hierarchy(volume: object, points: object) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    assert hierarchy.GetItemByDataNode(volume)
    item = hierarchy.GetItemByDataNode(points)
    assert hierarchy.GetItemName(item) == "points"
    before = hierarchy.GetNumberOfItems()
    slicer.mrmlScene.RemoveNode(points)
    assert hierarchy.GetNumberOfItems() == before - 1


def test_points_follow_a_volume_under_a_transform(volume: object, points: object) -> None:
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 30.0)
    transform.SetMatrixTransformToParent(matrix)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    slicer.util.resetSliceViews()
    start_placing(points)
    pointed = click_at_ras("Red", (38, 40, 21))
    np.testing.assert_allclose(last_point(points), pointed, atol=1e-6)


def test_views_show_volume_segmentation_and_points(volume: object, points: object, tmp_path: object) -> None:
    show_slice_at("Red", (8, 40, 21))
    plain = picture_of("Red")
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentID = segmentation.GetSegmentation().AddEmptySegment("lesion", "lesion", (1.0, 0.0, 0.0))
    mask = np.zeros((30, 50, 60), np.uint8)
    mask[10:16, 15:25, 20:35] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, segmentID, volume)
    process_events(50)
    overlaid = picture_of("Red")
    changed = np.any(overlaid != plain, axis=2)
    assert 0.02 < changed.mean() < 0.6
    assert overlaid[changed][:, 0].mean() > overlaid[changed][:, 2].mean()
    np.testing.assert_array_equal(
        slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentID, volume), mask
    )
    for name in VIEWS:
        assert screenshot(name, tmp_path / f"{name}.png").stat().st_size > 1000
    assert compound_screenshot(tmp_path / "all.png").stat().st_size > 5000


def picture_of(name: str) -> np.ndarray:
    view = slice_view(name)
    view.forceRender()
    picture = view.image().convertToFormat(qt.QImage.Format_RGB888)
    rows = np.frombuffer(picture.constBits(), np.uint8).reshape(picture.height(), picture.bytesPerLine())
    return rows[:, : 3 * picture.width()].reshape(picture.height(), picture.width(), 3).astype(int)


def test_patch_written_by_the_segment_editor_logic_keeps_the_neighbour(volume: object) -> None:
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name in ("first", "second"):
        segmentation.GetSegmentation().AddEmptySegment(name, name)
    mask = np.zeros((30, 50, 60), np.uint8)
    mask[5:10, 5:10, 5:10] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "first", volume)
    editorNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editorNode.SetOverwriteMode(editorNode.OverwriteNone)
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    logic.SetSegmentEditorNode(editorNode)
    logic.SetSegmentationNode(segmentation)
    logic.SetSourceVolumeNode(volume)
    logic.SetCurrentSegmentID("second")
    patch = slicer.vtkOrientedImageData()
    patch.SetExtent(8, 14, 8, 14, 8, 14)
    patch.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    patch.GetPointData().GetScalars().Fill(1)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    patch.SetImageToWorldMatrix(matrix)
    logic.ModifySegmentByLabelmap(
        segmentation, "second", patch, logic.ModificationModeSet, [8, 14, 8, 14, 8, 14], False, False
    )
    first = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "first", volume)
    second = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "second", volume)
    np.testing.assert_array_equal(first, mask)
    assert second[8:15, 8:15, 8:15].all()
    assert second.sum() == 7**3
    logic.SetSegmentEditorNode(None)
    logic.SetMRMLScene(None)


def test_bundle_brings_back_what_it_was_saved_with(volume: object, points: object, tmp_path: object) -> None:
    points.AddControlPoint(1.0, 2.0, 3.0)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("lesion", "lesion")
    voxels = slicer.util.arrayFromVolume(volume).copy()
    mask = (voxels > 400).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "lesion", volume)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    volume = slicer.util.getNode("volume")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), voxels)
    loaded = slicer.util.getNode("segmentation")
    np.testing.assert_array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(loaded, "lesion", volume), mask)
    np.testing.assert_allclose(last_point(slicer.util.getNode("points")), (1, 2, 3))


def test_nodes_are_written_and_read(volume: object, points: object, tmp_path: object) -> None:
    points.AddControlPoint(1.0, 2.0, 3.0)
    assert slicer.util.saveNode(volume, str(tmp_path / "scan.nrrd"))
    assert slicer.util.saveNode(points, str(tmp_path / "clicks.mrk.json"))
    read = slicer.util.loadVolume(str(tmp_path / "scan.nrrd"))
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(read), slicer.util.arrayFromVolume(volume))
    assert read.GetName() == "scan"
    np.testing.assert_allclose(
        last_point(slicer.util.loadMarkups(str(tmp_path / "clicks.mrk.json"))), (1, 2, 3)
    )
    with pytest.raises(RuntimeError, match="Failed to load"):
        slicer.util.loadVolume(str(tmp_path / "missing.nrrd"))


def test_module_is_entered_left_and_cleaned_up(example: object) -> None:
    slicer.util.selectModule("ShellExample")
    widget = slicer.modules.ShellExampleWidget
    assert slicer.util.selectedModule() == "ShellExample"
    assert slicer.modules.shellexample.widgetRepresentation().self() is widget
    slicer.util.selectModule("")
    slicer.app.moduleManager().unload("ShellExample")
    assert widget.calls == ["enter", "exit", "cleanup"]
    assert not hasattr(slicer.modules, "shellexample")
    slicer.app.moduleManager().load(example.path)


def test_startup_is_announced_to_modules(example: object) -> None:
    slicer.app.startupCompleted.emit()
    assert slicer.modules.ShellExampleInstance.started == 1


def test_self_test_runs_through_the_module(example: object) -> None:
    slicer.selfTests["ShellExample"]()


def test_widgets_and_parameters_follow_each_other(example: object, volume: object) -> None:
    slicer.util.selectModule("ShellExample")
    widget = slicer.modules.ShellExampleWidget
    ui, parameters = widget.ui, widget.parameters
    assert (ui.countBox.value, ui.noteEdit.text, ui.enabledBox.checked) == (3, "hello", True)
    assert ui.qualityBox.currentText == "FINE"
    ui.countBox.value = 7
    ui.noteEdit.text = "from the panel"
    ui.enabledBox.checked = False
    ui.thresholdBox.value = 0.25
    ui.qualityBox.currentIndex = 0
    ui.inputSelector.setCurrentNode(volume)
    assert (parameters.count, parameters.note, parameters.enabled) == (7, "from the panel", False)
    assert parameters.threshold == 0.25
    assert parameters.quality.name == "FAST"
    assert parameters.inputVolume is volume
    parameters.note = "from the code"
    parameters.inputVolume = None
    assert ui.noteEdit.text == "from the code"
    assert ui.inputSelector.currentNode() is None
    node = parameters.parameterNode
    observers = count_observers(node)
    slicer.util.selectModule("")
    assert count_observers(node) == observers - 1
    ui.countBox.value = 9
    assert parameters.count == 7


def test_closing_the_scene_while_the_module_is_shown(example: object, volume: object) -> None:
    slicer.util.selectModule("ShellExample")
    slicer.modules.ShellExampleWidget.ui.inputSelector.setCurrentNode(volume)
    slicer.mrmlScene.Clear(0)
    process_events()
    assert slicer.modules.ShellExampleWidget.parameters.inputVolume is None
    assert count_nodes("vtkMRMLScalarVolumeNode") == 0


def test_buttons_and_shortcuts(example: object) -> None:
    slicer.util.selectModule("ShellExample")
    widget = slicer.modules.ShellExampleWidget
    qt.QTest.mouseClick(widget.ui.applyButton, qt.Qt.LeftButton)
    press_key(qt.Qt.Key_P)
    assert widget.calls == ["enter", "apply", "shortcut"]
    assert widget.ui.statusLabel.text == "applied 3"
    assert widget.ui.box.collapsed
    slicer.util.selectModule("")
    press_key(qt.Qt.Key_P)
    assert widget.calls == ["enter", "apply", "shortcut", "exit"]


def test_box_folded_in_the_ui_file_hides_its_contents(scene: object, tmp_path: object) -> None:
    source = """<ui version="4.0"><widget class="QWidget" name="form">
     <layout class="QVBoxLayout" name="all"><item>
      <widget class="ctkCollapsibleButton" name="box">
       <property name="text"><string>More</string></property>
       <property name="collapsed"><bool>true</bool></property>
       <layout class="QVBoxLayout" name="inner">
        <item><widget class="QCheckBox" name="check"/></item>
        <item><widget class="QTableWidget" name="table"/></item>
       </layout>
      </widget>
     </item></layout></widget></ui>"""
    (tmp_path / "folded.ui").write_text(source)
    form = slicer.util.loadUI(str(tmp_path / "folded.ui"))
    ui = slicer.util.childWidgetVariables(form)
    form.show()
    process_events(20)
    assert type(ui.check) is qt.QCheckBox
    assert ui.box.collapsed
    assert not ui.check.visible
    folded = ui.box.height
    qt.QTest.mouseClick(ui.box, qt.Qt.LeftButton, qt.Qt.NoModifier, qt.QPoint(10, 10))
    process_events(20)
    assert not ui.box.collapsed
    assert ui.check.visible
    assert ui.box.height > folded
    form.delete()


def test_node_selector_follows_the_scene(scene: object) -> None:
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLSegmentationNode"]
    selector.baseName = "mask"
    selector.renameEnabled = True
    seen = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    selector.setMRMLScene(slicer.mrmlScene)
    assert selector.currentNode() is None
    node = selector.addNode()
    assert selector.currentNode() is node
    assert node.GetName() == "mask"
    node.SetName("renamed")
    assert selector.comboBox().currentText == "renamed"
    slicer.mrmlScene.RemoveNode(node)
    assert selector.currentNode() is None
    assert seen == [node, None]
    selector.setMRMLScene(None)


def test_segment_selector_follows_the_segmentation(scene: object) -> None:
    selector = slicer.qMRMLSegmentSelectorWidget()
    selector.setMRMLScene(slicer.mrmlScene)
    seen = []
    selector.connect("currentSegmentChanged(QString)", seen.append)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    selector.setCurrentNode(node)
    node.GetSegmentation().AddEmptySegment("one", "one")
    node.GetSegmentation().AddEmptySegment("two", "two")
    assert selector.currentSegmentID() == "one"
    selector.setCurrentSegmentID("two")
    node.GetSegmentation().RemoveSegment("two")
    assert seen == ["one", "two", "one"]
    selector.setMRMLScene(None)
    selector.setCurrentNode(None)


def test_dialogs_are_recorded_and_answered(scene: object) -> None:
    slicer.util.errorDisplay("it went wrong", detailedText="why")
    dialogs.answer_next(qt.QMessageBox.Cancel, qt.QMessageBox.Yes, "/some/file.nrrd")
    assert not slicer.util.confirmOkCancelDisplay("sure?")
    assert slicer.util.confirmYesNoDisplay("really?")
    assert qt.QFileDialog.getSaveFileName(None, "Save", "/some") == ("/some/file.nrrd")
    assert [each.text for each in dialogs.shown] == ["it went wrong", "sure?", "really?", "/some"]
    assert dialogs.shown[0].detailedText == "why"


def test_packages_are_asked_for_and_never_installed(scene: object) -> None:
    slicer.packaging.pip_ensure(["numpy", "no-such-package>=2"], requester="Example")
    assert packaging.asked == [("ensure", ("no-such-package>=2",))]
    dialogs.answer_next(qt.QMessageBox.Cancel)
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure("no-such-package")
    slicer.util.pip_install("no-such-package")
    assert packaging.asked[1:] == [("install", ("no-such-package",))]


def test_place_mode_starts_through_the_markups_logic(volume: object, points: object) -> None:
    logic = slicer.modules.markups.logic()
    logic.SetActiveList(points)
    assert logic.StartPlaceMode(False)
    click_at_ras("Yellow", (8, 40, 21))
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    assert points.GetNumberOfDefinedControlPoints() == 1


def test_genuine_utilities_work(scene: object) -> None:
    with slicer.util.WaitCursor(), slicer.util.RenderBlocker():
        assert qt.QApplication.overrideCursor() is not None
    with pytest.raises(OSError), slicer.util.tryWithErrorDisplay("it failed"):
        raise OSError("disk")
    assert "it failed" in dialogs.shown[-1].text
    slicer.util.delayDisplay("a moment", 450)
    assert slicer.util.tempDirectory().startswith(slicer.app.temporaryPath)
    assert slicer.util.showStatusMessage("working")
    assert slicer.util.mainWindow().statusBar().currentMessage() == "working"
    progress = slicer.util.createProgressDialog(labelText="wait", maximum=10)
    progress.value = 3
    assert not progress.wasCanceled
    progress.close()
    assert slicer.util.getModuleLogic("Markups").IsA("vtkSlicerMarkupsLogic")


def test_qt_follows_pythonqt(scene: object) -> None:
    button = qt.QPushButton("text")
    button.name = "theButton"
    button.toolTip = "tip"
    clicks = []
    button.connect("clicked()", lambda: clicks.append("no argument"))
    button.connect("clicked(bool)", clicks.append)
    button.click()
    assert clicks == ["no argument", False]
    assert (button.text, button.objectName, button.toolTip) == ("text", "theButton", "tip")
    assert button.disconnect("clicked(bool)", clicks.append)
    button.click()
    assert clicks == ["no argument", False, "no argument"]
    with pytest.raises(ValueError, match="no signal"):
        button.connect("clocked()", lambda: None)
    assert qt.QTimer().singleShot is False
    qt.QTimer.singleShot(0, lambda: clicks.append("later"))
    process_events(20)
    assert clicks[-1] == "later"


def test_exceptions_in_slots_and_observers_are_kept(scene: object) -> None:
    def fail(*arguments: object) -> None:
        raise KeyError("in a callback")

    button = qt.QPushButton()
    button.connect("clicked()", fail)
    button.click()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    node.AddObserver("ModifiedEvent", fail)
    node.Modified()
    assert [type(each) for each in unhandled.take()] == [KeyError, KeyError]


def test_settings_do_not_reach_the_users_own(scene: object) -> None:
    slicer.app.userSettings().setValue("Shell/count", 3)
    assert slicer.util.settingsValue("Shell/count", 0, converter=int) == 3
    assert slicer.app.userSettings().fileName().startswith(slicer.app.temporaryPath)


def test_terminology_of_a_segment(scene: object) -> None:
    logic = slicer.modules.terminologies.logic()
    entry = slicer.vtkSlicerTerminologyEntry()
    context = "Segmentation category and type - 3D Slicer General Anatomy list"
    text = f"{context}~SCT^49755003^Morphologically Altered Structure~SCT^108369006^Neoplasm~^^~~^^~^^"
    assert logic.DeserializeTerminologyEntry(text, entry)
    assert entry.GetTypeObject().GetCodeMeaning() == "Neoplasm"
    assert logic.IsTerminologyContextLoaded(context)


def test_parameter_node_refuses_the_wrong_type(scene: object) -> None:
    @parameterNodeWrapper
    class Parameters:
        count: int = 2
        volume: slicer.vtkMRMLScalarVolumeNode

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    parameters = Parameters(node)
    with pytest.raises(TypeError):
        parameters.count = "three"
    with pytest.raises(TypeError):
        parameters.volume = node
    assert parameters.count == 2
    slicer.mrmlScene.RemoveNode(node)


def test_sample_data_takes_slicers_arguments_only() -> None:
    from SampleData import SampleDataLogic

    SampleDataLogic.registerCustomSampleDataSource(
        category="Test", sampleName="One", uris="http://localhost/a", fileNames="a.nrrd", nodeNames="a"
    )
    with pytest.raises(TypeError, match="no arguments"):
        SampleDataLogic.registerCustomSampleDataSource(sampleName="Two", url="http://localhost/b")


def test_observers_are_counted(scene: object) -> None:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    before = count_observers(node), count_observers(node, "ModifiedEvent")
    tag = node.AddObserver("ModifiedEvent", lambda *_: None)
    assert (count_observers(node), count_observers(node, "ModifiedEvent")) == (before[0] + 1, before[1] + 1)
    node.RemoveObserver(tag)
    assert count_observers(node) == before[0]


def test_an_attribute_that_qt_does_not_have_is_noticed(scene: object) -> None:
    from Testing.slicer_shell.pythonqt import invented_attributes

    button = qt.QPushButton()
    button.tootlip = "misspelt"
    assert invented_attributes(button) == ["QPushButton '': tootlip"]
