"""qMRML widgets without logic of their own: the base class and aliases of it."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from .ui_loader import register


@register
class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene and tells when it changes."""

    mrmlSceneChanged = QtCore.Signal(object)
    slicerSignals = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}  # noqa: RUF012

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


@register
class qSlicerWidget(qMRMLWidget):
    """Slicer's own name for the same."""
