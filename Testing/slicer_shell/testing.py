"""Helpers for tests: the user's mouse and keyboard, pictures, counts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtTest, QtWidgets

from .observers import count_observers
from .slice_view import qMRMLSliceView

__all__ = [
    "click_at_pixel",
    "click_at_ras",
    "compound_screenshot",
    "count_nodes",
    "count_observers",
    "drag",
    "move_to_ras",
    "pixel_of_ras",
    "press_key",
    "process_events",
    "ras_of_pixel",
    "screenshot",
    "scroll",
    "show_slice_at",
    "slice_view",
    "start_placing",
    "stop_placing",
]

NO_MODIFIER = QtCore.Qt.KeyboardModifier.NoModifier
LEFT = QtCore.Qt.MouseButton.LeftButton


def process_events(milliseconds: int = 0) -> None:
    """Let Qt work for a while; without a time, until nothing is left to do now."""
    slicer.app.processEvents()
    end = time.monotonic() + milliseconds / 1000
    while time.monotonic() < end:
        slicer.app.processEvents(QtCore.QEventLoop.AllEvents, 5)
        time.sleep(0.001)


def slice_view(name: str) -> qMRMLSliceView:
    """The view that the user calls Red, Yellow or Green."""
    return slicer.app.layoutManager().sliceWidget(name).sliceView()


def show_slice_at(name: str, ras: Sequence[float]) -> None:
    """Move a view's slice through a point, as scrolling does, without panning."""
    slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode().JumpSliceByOffsetting(*ras)
    process_events()


def pixel_of_ras(name: str, ras: Sequence[float]) -> QtCore.QPoint:
    """The widget's pixel whose centre is nearest to the point's projection onto the slice."""
    view = slice_view(name)
    x, y = _xy_of_ras(name, ras)
    # XY counts pixels from the bottom, with the origin in the middle of the first.
    return QtCore.QPoint(round(x), view.height - 1 - round(y))


def ras_of_pixel(name: str, pixel: QtCore.QPoint) -> tuple[float, float, float]:
    """The point on the slice under the middle of a widget's pixel."""
    node = slice_view(name).mrmlSliceNode()
    xy = (pixel.x(), slice_view(name).height - 1 - pixel.y(), 0.0, 1.0)
    return tuple(node.GetXYToRAS().MultiplyPoint(xy)[:3])


def _xy_of_ras(name: str, ras: Sequence[float]) -> tuple[float, float]:
    inverse = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(slice_view(name).mrmlSliceNode().GetXYToRAS(), inverse)
    return inverse.MultiplyPoint((*ras, 1.0))[:2]


def click_at_ras(
    name: str,
    ras: Sequence[float],
    button: Any = LEFT,
    modifiers: Any = NO_MODIFIER,
    jump: bool = True,
) -> tuple[float, float, float]:
    """Scroll a view to a point and click on it.

    Returns:
        The point that the clicked pixel stands for: the slice's nearest to the one asked for.
    """
    if jump:
        show_slice_at(name, ras)
    pixel = pixel_of_ras(name, ras)
    if not slice_view(name).rect.contains(pixel):
        raise ValueError(f"{tuple(ras)} is outside of what {name} shows: pixel {pixel.x()}, {pixel.y()}")
    click_at_pixel(name, pixel, button, modifiers)
    return ras_of_pixel(name, pixel)


def click_at_pixel(name: str, pixel: QtCore.QPoint, button: Any = LEFT, modifiers: Any = NO_MODIFIER) -> None:
    """Move the mouse to a pixel, press and release."""
    view = slice_view(name)
    _enter(view, pixel)
    _move(view, pixel, modifiers=modifiers)
    QtTest.QTest.mousePress(view, button, modifiers, pixel)
    QtTest.QTest.mouseRelease(view, button, modifiers, pixel)
    process_events()


def move_to_ras(name: str, ras: Sequence[float]) -> None:
    """Hover."""
    pixel = pixel_of_ras(name, ras)
    _enter(slice_view(name), pixel)
    _move(slice_view(name), pixel)
    process_events()


def drag(
    name: str,
    rasFrom: Sequence[float],
    rasTo: Sequence[float],
    button: Any = LEFT,
    modifiers: Any = NO_MODIFIER,
    steps: int = 5,
) -> tuple[float, float, float]:
    """Press at one point, move to another, release there; the slice stays.

    Returns:
        The point that the last pixel stands for.
    """
    view = slice_view(name)
    first, last = pixel_of_ras(name, rasFrom), pixel_of_ras(name, rasTo)
    _enter(view, first)
    _move(view, first, modifiers=modifiers)
    QtTest.QTest.mousePress(view, button, modifiers, first)
    process_events()
    for step in range(1, steps + 1):
        between = first + (last - first) * (step / steps)
        _move(view, between, button, modifiers)
        process_events()
    QtTest.QTest.mouseRelease(view, button, modifiers, last)
    process_events()
    return ras_of_pixel(name, last)


def scroll(name: str, steps: int) -> None:
    """Turn the mouse wheel over the middle of a view; positive steps are away from the user."""
    view = slice_view(name)
    middle = view.rect.center()
    _enter(view, middle)
    for _ in range(abs(steps)):
        event = QtGui.QWheelEvent(
            QtCore.QPointF(middle),
            QtCore.QPointF(view.mapToGlobal(middle)),
            QtCore.QPoint(),
            QtCore.QPoint(0, 120 if steps > 0 else -120),
            QtCore.Qt.MouseButton.NoButton,
            NO_MODIFIER,
            QtCore.Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QtWidgets.QApplication.sendEvent(view, event)
    process_events()


def _enter(view: Any, pixel: QtCore.QPoint) -> None:
    position = QtCore.QPointF(pixel)
    event = QtGui.QEnterEvent(position, position, QtCore.QPointF(view.mapToGlobal(pixel)))
    QtWidgets.QApplication.sendEvent(view, event)


def _move(view: Any, pixel: QtCore.QPoint, button: Any = None, modifiers: Any = NO_MODIFIER) -> None:
    # QTest.mouseMove moves the cursor of the platform, which carries neither buttons nor modifiers.
    held = button if button is not None else QtCore.Qt.MouseButton.NoButton
    event = QtGui.QMouseEvent(
        QtCore.QEvent.Type.MouseMove,
        QtCore.QPointF(pixel),
        QtCore.QPointF(view.mapToGlobal(pixel)),
        QtCore.Qt.MouseButton.NoButton,
        held,
        modifiers,
    )
    QtWidgets.QApplication.sendEvent(view, event)


def press_key(key: Any, modifiers: Any = NO_MODIFIER, widget: Any = None) -> None:
    """Press and release a key where the focus is, or in the given widget; shortcuts see it too."""
    window = slicer.app.mainWindow()
    if not window.isActiveWindow:
        window.activateWindow()
        process_events()
    receiver = widget or slicer.app.focusWidget() or window
    QtTest.QTest.keyClick(receiver, key, modifiers)
    process_events()


def start_placing(markupsNode: Any, persistent: bool = True) -> None:
    """Switch to place mode for a markups node, as the place button does."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetReferenceActivePlaceNodeClassName(markupsNode.GetClassName())
    selection.SetActivePlaceNodeID(markupsNode.GetID())
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetPlaceModePersistence(int(persistent))
    interaction.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.Place)
    process_events()


def stop_placing() -> None:
    """Switch back to looking."""
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.ViewTransform)
    process_events()


def screenshot(what: Any, path: str | Path) -> Path:
    """Write a view, given by name, or a widget as PNG."""
    process_events(20)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = slice_view(what).image() if isinstance(what, str) else what.grab()
    if not picture.save(str(path)):
        raise OSError(f"could not write {path}")
    return path


def compound_screenshot(path: str | Path) -> Path:
    """Write the whole window as PNG: panel and three views."""
    for name in slicer.app.layoutManager().sliceViewNames():
        slice_view(name).forceRender()
    return screenshot(slicer.app.mainWindow(), path)


def count_nodes(className: str = "vtkMRMLNode") -> int:
    """How many nodes of a class, or of all, the scene has."""
    return slicer.mrmlScene.GetNumberOfNodesByClass(className)
