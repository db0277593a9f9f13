"""A slice view: the real displayable managers and interactor style in a Qt widget that renders offscreen.

VTK renders with EGL into memory and the widget paints the picture, so neither an X server nor a window that
Qt and VTK share is needed. Mouse and key events go to the real interactor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtk.util.numpy_support import vtk_to_numpy

# Slicer limits a view to 60 renderings a second.
RENDER_DELAY_MILLISECONDS = 16

_PRESS = {
    QtCore.Qt.LeftButton: "LeftButtonPressEvent",
    QtCore.Qt.MiddleButton: "MiddleButtonPressEvent",
    QtCore.Qt.RightButton: "RightButtonPressEvent",
}
_RELEASE = {button: name.replace("Press", "Release") for button, name in _PRESS.items()}
_DOUBLE_CLICK = {button: name.replace("Press", "DoubleClick") for button, name in _PRESS.items()}


class qMRMLSliceView(QtWidgets.QWidget):
    """What `sliceWidget.sliceView()` gives in Slicer."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMouseTracking(True)
        self.setFocusPolicy(QtCore.Qt.WheelFocus)
        self.setMinimumSize(64, 64)
        self.setAttribute(QtCore.Qt.WA_OpaquePaintEvent)
        self._image: QtGui.QImage | None = None
        self._sliceNode = None
        self._sliceLogic = None
        self._renderingPaused = 0
        self.renderCount = 0

        self._renderWindow = vtk.vtkRenderWindow()
        self._renderWindow.SetOffScreenRendering(1)
        self._renderWindow.SetMultiSamples(0)
        # Two layers, as in CTK's light box: slice and displayable managers below, annotation above.
        self._renderer = vtk.vtkRenderer()
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        self._renderWindow.AddRenderer(self._renderer)

        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._sliceActor = vtk.vtkActor2D()
        self._sliceActor.SetMapper(self._mapper)
        self._sliceActor.GetProperty().SetDisplayLocationToBackground()
        self._sliceActor.SetVisibility(False)
        self._renderer.AddViewProp(self._sliceActor)

        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._renderWindow)
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        # A genuine render per request would make the click wait for three pictures.
        self._interactor.EnableRenderOff()
        self._interactor.Initialize()
        self._timers: dict[int, QtCore.QTimer] = {}
        self._interactor.AddObserver("CreateTimerEvent", self._on_create_timer)
        self._interactor.AddObserver("DestroyTimerEvent", self._on_destroy_timer)

        self._renderTimer = QtCore.QTimer(self)
        self._renderTimer.setSingleShot(True)
        self._renderTimer.timeout.connect(self.forceRender)

        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        # A first rendering makes the context that picking needs.
        self._renderWindow.SetSize(64, 64)
        self._renderWindow.Render()
        self._displayableManagers = factory.InstantiateDisplayableManagers(self._renderer)
        self._displayableManagers.AddObserver("UpdateEvent", lambda *_: self.scheduleRender())
        self._interactorStyle = slicer.vtkMRMLSliceViewInteractorStyle()
        self._interactorStyle.SetInteractor(self._interactor)
        self._interactorStyle.SetDisplayableManagers(self._displayableManagers)

    # What Slicer's class offers.

    def mrmlSliceNode(self) -> Any:
        return self._sliceNode

    def setMRMLSliceNode(self, node: Any) -> None:
        self._sliceNode = node
        self._displayableManagers.SetMRMLDisplayableNode(node)

    def renderWindow(self) -> Any:
        return self._renderWindow

    def interactor(self) -> Any:
        return self._interactor

    def interactorObserver(self) -> Any:
        return self._interactorStyle

    def displayableManagerByClassName(self, className: str) -> Any:
        return self._displayableManagers.GetDisplayableManagerByClassName(className)

    def convertDeviceToXYZ(self, xy: Any) -> list[float]:
        xyz = [0.0, 0.0, 0.0]
        self._crosshair_manager().ConvertDeviceToXYZ(xy[0], xy[1], xyz)
        return xyz

    def convertRASToXYZ(self, ras: Any) -> list[float]:
        xyz = [0.0, 0.0, 0.0]
        self._crosshair_manager().ConvertRASToXYZ(list(ras), xyz)
        return xyz

    def convertXYZToRAS(self, xyz: Any) -> list[float]:
        ras = [0.0, 0.0, 0.0]
        self._crosshair_manager().ConvertXYZToRAS(list(xyz), ras)
        return ras

    def setViewCursor(self, cursor: QtGui.QCursor) -> None:
        self.setCursor(cursor)

    def unsetViewCursor(self) -> None:
        self.unsetCursor()

    def scheduleRender(self) -> None:
        if not self._renderTimer.isActive():
            self._renderTimer.start(RENDER_DELAY_MILLISECONDS)

    def forceRender(self) -> None:
        if self._renderingPaused:
            return
        self._renderTimer.stop()
        if self._sliceLogic is not None:
            self._update_slice_image()
        self._renderWindow.Render()
        self.renderCount += 1
        self._image = self._read_pixels()
        self.update()

    def pauseRender(self) -> None:
        self._renderingPaused += 1

    def resumeRender(self) -> None:
        self._renderingPaused = max(self._renderingPaused - 1, 0)
        if not self._renderingPaused:
            self.scheduleRender()

    # The stand-in's own part.

    def set_slice_logic(self, sliceLogic: Any) -> None:
        """The logic whose blended picture is shown; Slicer connects the two in qMRMLSliceControllerWidget."""
        self._sliceLogic = sliceLogic
        self._interactorStyle.SetSliceLogic(sliceLogic)
        sliceLogic.AddObserver("ModifiedEvent", lambda *_: self.scheduleRender())

    def image(self) -> QtGui.QImage:
        """What the view shows now, rendered if something changed since."""
        if self._image is None or self._renderTimer.isActive():
            self.forceRender()
        assert self._image is not None
        return self._image

    def release(self) -> None:
        """Let go of the scene before VTK and Python tear down, in the order that does not crash."""
        self._renderTimer.stop()
        for timer in self._timers.values():
            timer.stop()
        self._interactorStyle.SetDisplayableManagers(None)
        self._interactorStyle.SetInteractor(None)
        self._displayableManagers.SetMRMLDisplayableNode(None)
        self._renderWindow.Finalize()

    def _crosshair_manager(self) -> Any:
        return self._displayableManagers.GetDisplayableManagerByClassName(
            "vtkMRMLCrosshairDisplayableManager"
        )

    def _update_slice_image(self) -> None:
        connection = self._sliceLogic.GetImageDataConnection()
        if connection is None:
            self._mapper.SetInputConnection(None)
            self._sliceActor.SetVisibility(False)
            return
        self._mapper.SetInputConnection(connection)
        self._sliceActor.SetVisibility(True)

    def _read_pixels(self) -> QtGui.QImage:
        width, height = self._renderWindow.GetSize()
        pixels = vtk.vtkUnsignedCharArray()
        self._renderWindow.GetPixelData(0, 0, width - 1, height - 1, 1, pixels, 0)
        rows = vtk_to_numpy(pixels).reshape(height, width, 3)[::-1]
        rows = np.ascontiguousarray(rows)
        return QtGui.QImage(rows.data, width, height, 3 * width, QtGui.QImage.Format_RGB888).copy()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        # The picture first: an exception while a painter is open takes the process down.
        image = self.image()
        painter = QtGui.QPainter(self)
        painter.drawImage(0, 0, image)
        painter.end()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        width, height = event.size().width(), event.size().height()
        self._renderWindow.SetSize(width, height)
        self._interactor.UpdateSize(width, height)
        self._interactor.ConfigureEvent()
        if self._sliceLogic is not None:
            self._sliceLogic.ResizeSliceNode(width, height)
        self._image = None
        self.scheduleRender()

    # Events, as QVTKInteractorAdapter hands them on.

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        self._set_event(event)
        self._interactor.InvokeEvent(_PRESS.get(event.button(), "NoEvent"))

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:
        self._set_event(event)
        self._interactor.InvokeEvent(_RELEASE.get(event.button(), "NoEvent"))

    def mouseDoubleClickEvent(self, event: QtGui.QMouseEvent) -> None:
        self._set_event(event, repeat=1)
        self._interactor.InvokeEvent(_PRESS.get(event.button(), "NoEvent"))
        self._interactor.InvokeEvent(_DOUBLE_CLICK.get(event.button(), "NoEvent"))

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        self._set_event(event)
        self._interactor.InvokeEvent("MouseMoveEvent")

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        self._set_event(event)
        forward = event.angleDelta().y() > 0
        self._interactor.InvokeEvent("MouseWheelForwardEvent" if forward else "MouseWheelBackwardEvent")

    def enterEvent(self, event: QtGui.QEnterEvent) -> None:
        self._set_event(event)
        self._interactor.InvokeEvent("EnterEvent")

    def leaveEvent(self, event: QtCore.QEvent) -> None:
        self._interactor.InvokeEvent("LeaveEvent")

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:
        self._set_key(event)
        self._interactor.InvokeEvent("KeyPressEvent")
        self._interactor.InvokeEvent("CharEvent")

    def keyReleaseEvent(self, event: QtGui.QKeyEvent) -> None:
        self._set_key(event)
        self._interactor.InvokeEvent("KeyReleaseEvent")

    def _set_event(self, event: Any, repeat: int = 0) -> None:
        position = event.position()
        modifiers = event.modifiers() if hasattr(event, "modifiers") else QtCore.Qt.NoModifier
        self._interactor.SetEventInformationFlipY(
            int(position.x()),
            int(position.y()),
            int(bool(modifiers & QtCore.Qt.ControlModifier)),
            int(bool(modifiers & QtCore.Qt.ShiftModifier)),
            chr(0),
            repeat,
            None,
        )
        self._interactor.SetAltKey(int(bool(modifiers & QtCore.Qt.AltModifier)))

    def _set_key(self, event: QtGui.QKeyEvent) -> None:
        text = event.text()
        name = QtGui.QKeySequence(event.key()).toString()
        named = {"Del": "Delete", "Esc": "Escape", "Backspace": "BackSpace"}
        self._interactor.SetKeyEventInformation(
            int(bool(event.modifiers() & QtCore.Qt.ControlModifier)),
            int(bool(event.modifiers() & QtCore.Qt.ShiftModifier)),
            text[0] if text and text.isascii() else chr(0),
            event.count(),
            named.get(name, name.lower() if len(name) == 1 else name),
        )

    def _on_create_timer(self, interactor: Any, event: str) -> None:
        # The generic interactor leaves timers to its toolkit; Slicer's style uses one at a time.
        timer = QtCore.QTimer(self)
        timer.timeout.connect(lambda: self._interactor.InvokeEvent("TimerEvent"))
        timer.start(10)
        self._timers[len(self._timers)] = timer

    def _on_destroy_timer(self, interactor: Any, event: str) -> None:
        for timer in self._timers.values():
            timer.stop()
        self._timers.clear()
