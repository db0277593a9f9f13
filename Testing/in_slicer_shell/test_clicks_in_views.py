"""Mouse clicks at pixels of the three views land where they were aimed at, and in the mask."""

from __future__ import annotations

import numpy as np
import pytest
import qt
import slicer
import vtk
from images import AXIAL, CORONAL, LEFT_HANDED, SAGITTAL, balls, middle, oblique
from support import User, linear_transform, ras_of_lps, volume_node, whole

from Testing.slicer_shell.testing import click_at_ras, drag, press_key, process_events, show_slice_at

VIEWS = ("Red", "Yellow", "Green")
GRIDS = {
    "axial": {"direction": AXIAL},
    "coronal": {"direction": CORONAL},
    "sagittal": {"direction": SAGITTAL},
    "left-handed": {"direction": LEFT_HANDED},
    "oblique": {"direction": oblique(25)},
    "thick oblique slices": {"size": (90, 90, 20), "spacing": (0.7, 0.7, 4.0), "direction": oblique(35)},
}


def one_ball(**options: object) -> tuple[object, tuple[float, float, float]]:
    centre = middle(balls(**options))
    return balls(centres=[centre], radius=8, **options), ras_of_lps(centre)


def voxel_of(volume: slicer.vtkMRMLScalarVolumeNode, world: tuple[float, float, float]) -> np.ndarray:
    """Return the fractional voxel (i, j, k) of a world point, by Slicer's own transforms."""
    to_local = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, volume.GetParentTransformNode(), to_local)
    matrix = vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(matrix)
    return np.array(matrix.MultiplyPoint((*to_local.TransformPoint(world), 1.0))[:3])


def check_click(user: User, world: tuple[float, float, float]) -> None:
    """The newest click lies within half a voxel of where it was aimed at, and the mask contains it."""
    volume = user.editor.volume
    user.wait()
    aimed = voxel_of(volume, world)
    click = user.lesion.update.clicks[-1]
    reached = voxel_of(volume, user.editor.world_of(click.point))
    assert np.abs(reached - aimed).max() <= 0.5
    i, j, k = np.rint(reached).astype(int)
    assert whole(user.lesion.update.mask, volume)[k, j, i]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", GRIDS)
def test_a_click_lands_in_the_mask_on_any_grid_and_in_any_view(user: User, name: str, view: str) -> None:
    image, centre = one_ball(**GRIDS[name])
    user.open(volume_node(image))
    user.panel.clicking.start_placing(True)
    click_at_ras(view, centre)
    check_click(user, centre)


@pytest.mark.parametrize("view", VIEWS)
def test_a_click_lands_under_zoom_and_pan(user: User, view: str) -> None:
    image, centre = one_ball(direction=oblique(15))
    user.open(volume_node(image))
    show_slice_at(view, centre)
    node = slicer.app.layoutManager().sliceWidget(view).mrmlSliceNode()
    width, height, depth = node.GetFieldOfView()
    node.SetFieldOfView(0.4 * width, 0.4 * height, depth)
    x, y, z = node.GetXYZOrigin()
    node.SetXYZOrigin(x + 6, y - 4, z)
    process_events(20)
    user.panel.clicking.start_placing(True)
    click_at_ras(view, centre, jump=False)
    check_click(user, centre)


@pytest.mark.parametrize("view", VIEWS)
def test_a_click_lands_in_a_volume_under_a_linear_transform(user: User, view: str) -> None:
    image, centre = one_ball(direction=oblique(15))
    volume = volume_node(image)
    transform = linear_transform()
    volume.SetAndObserveTransformNodeID(transform.GetID())
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    to_world = vtk.vtkGeneralTransform()
    transform.GetTransformToWorld(to_world)
    world = to_world.TransformPoint(centre)
    user.open(volume)
    user.panel.clicking.start_placing(True)
    click_at_ras(view, world)
    check_click(user, world)
    user.panel.accept()
    user.wait()
    voxels = user.written()
    assert np.array_equal(voxels > 0, user.mask())


def test_a_click_under_a_non_linear_transform_is_refused_with_the_reason(user: User) -> None:
    image, centre = one_ball()
    volume = volume_node(image)
    grid = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "Warp")
    spline = vtk.vtkBSplineTransform() if hasattr(vtk, "vtkBSplineTransform") else None
    if spline is None:
        thin_plate = vtk.vtkThinPlateSplineTransform()
        points = vtk.vtkPoints()
        for point in ((0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50)):
            points.InsertNextPoint(point)
        moved = vtk.vtkPoints()
        moved.DeepCopy(points)
        moved.SetPoint(1, 55, 5, 0)
        thin_plate.SetSourceLandmarks(points)
        thin_plate.SetTargetLandmarks(moved)
        slicer.mrmlScene.RemoveNode(grid)
        grid = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "Warp")
        grid.SetAndObserveTransformToParent(thin_plate)
    user.open(volume)
    volume.SetAndObserveTransformNodeID(grid.GetID())
    assert not grid.IsTransformToWorldLinear()
    user.mark(centre)
    assert "non-linear transform 'Warp'" in user.status and "Harden" in user.status
    assert user.markers() == [] and user.segmentation is None


def test_a_click_outside_the_volume_is_refused_and_leaves_no_marker(user: User) -> None:
    image, centre = one_ball()
    user.open(volume_node(image))
    user.mark(centre)
    before = user.mask()
    user.mark((centre[0] + 500, centre[1], centre[2]))
    assert "outside the image" in user.status
    assert len(user.markers()) == 1 and np.array_equal(user.mask(), before)


def test_a_marker_that_is_dragged_recomputes_the_mask(user: User) -> None:
    image, centre = one_ball()
    user.open(volume_node(image))
    user.mark(centre)
    beside = (centre[0] + 6.0, centre[1], centre[2])
    user.mark(beside, positive=False)
    before = user.mask()
    target = (centre[0] - 6.0, centre[1], centre[2])
    show_slice_at("Red", centre)
    reached = drag("Red", beside, target)
    user.wait()
    clicks = user.lesion.update.clicks
    assert [click.positive for click in clicks] == [True, False]
    assert ras_of_lps(clicks[1].point) == pytest.approx(reached, abs=0.5)
    assert (user.mask() != before).any()
    user.panel.undo()
    user.wait()
    assert np.array_equal(user.mask(), before) and user.markers()[1][0] == pytest.approx(beside, abs=1e-3)


def test_a_marker_that_is_deleted_takes_its_effect_with_it(user: User) -> None:
    image, centre = one_ball()
    user.open(volume_node(image))
    user.mark(centre)
    before = user.mask()
    user.mark((centre[0] + 6.0, centre[1], centre[2]), positive=False)
    assert (user.mask() != before).any()
    background = next(node for node in user.editor.clicks.nodes if node.GetNumberOfControlPoints() == 1)
    background = user.editor.clicks._node(False)
    background.RemoveNthControlPoint(0)
    user.wait()
    assert np.array_equal(user.mask(), before) and [sign for _, sign in user.markers()] == [True]


def test_keys_start_placing_switch_the_sign_and_stop(user: User) -> None:
    image, centre = one_ball()
    user.open(volume_node(image))
    press_key(qt.Qt.Key_P)
    assert user.panel.ui.lesionButton.checked and not user.panel.ui.backgroundButton.checked
    click_at_ras("Red", centre)
    user.wait()
    press_key(qt.Qt.Key_T)
    assert user.panel.ui.backgroundButton.checked and not user.panel.ui.lesionButton.checked
    click_at_ras("Red", (centre[0] + 5, centre[1], centre[2]))
    user.wait()
    assert [sign for _, sign in user.markers()] == [True, False]
    press_key(qt.Qt.Key_Escape)
    assert not user.editor.clicks.is_placing and not user.panel.ui.backgroundButton.checked
    click_at_ras("Red", centre)
    user.wait()
    assert len(user.markers()) == 2


def test_markers_are_small_coloured_by_sign_and_can_be_hidden(user: User) -> None:
    image, centre = one_ball()
    user.open(volume_node(image))
    user.mark(centre)
    user.mark((centre[0] + 5, centre[1], centre[2]), positive=False)
    lesion, background = (user.editor.clicks._node(sign).GetDisplayNode() for sign in (True, False))
    assert lesion.GetSelectedColor()[1] > 0.6 > lesion.GetSelectedColor()[0]
    assert background.GetSelectedColor()[0] > 0.6 > background.GetSelectedColor()[1]
    assert lesion.GetGlyphScale() < 2 and lesion.GetVisibility()
    user.panel.ui.clicksCheckBox.click()
    process_events(10)
    assert not lesion.GetVisibility() and not background.GetVisibility()
    assert len(user.markers()) == 2
