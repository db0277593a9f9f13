"""A slice view with its logic: what `layoutManager.sliceWidget(name)` gives."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtWidgets

from .slice_view import qMRMLSliceView


class qMRMLSliceWidget(QtWidgets.QWidget):
    """Holds a slice view; the controller bar with its slider is not here."""

    def __init__(
        self, sliceNode: Any, applicationLogic: Any, parent: QtWidgets.QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName("qMRMLSliceWidget" + sliceNode.GetLayoutName())
        self._sliceNode = sliceNode
        self._sliceLogic = slicer.vtkMRMLSliceLogic()
        self._sliceLogic.SetMRMLApplicationLogic(applicationLogic)
        self._sliceLogic.SetMRMLScene(sliceNode.GetScene())
        self._sliceLogic.SetSliceNode(sliceNode)
        applicationLogic.GetSliceLogics().AddItem(self._sliceLogic)
        self._view = qMRMLSliceView(self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._view)
        self._view.set_slice_logic(self._sliceLogic)
        self._view.setMRMLSliceNode(sliceNode)
        scene = sliceNode.GetScene()
        self._scene = scene
        self._sceneTags = [
            scene.AddObserver(scene.StartBatchProcessEvent, lambda *_: self._view.pauseRender()),
            scene.AddObserver(scene.EndBatchProcessEvent, self._on_batch_end),
        ]

    def sliceLogic(self) -> Any:
        return self._sliceLogic

    def sliceView(self) -> qMRMLSliceView:
        return self._view

    def mrmlSliceNode(self) -> Any:
        return self._sliceNode

    def mrmlSliceCompositeNode(self) -> Any:
        return self._sliceLogic.GetSliceCompositeNode()

    def interactorStyle(self) -> Any:
        return self._view.interactor().GetInteractorStyle()

    def fitSliceToBackground(self) -> None:
        self._sliceLogic.FitSliceToBackground()

    def release(self) -> None:
        """Let go of the scene; see `qMRMLSliceView.release`."""
        for tag in self._sceneTags:
            self._scene.RemoveObserver(tag)
        self._view.release()

    def _on_batch_end(self, caller: vtk.vtkObject, event: str) -> None:
        # Closing a scene resets the node's size to the default; Slicer sets it back to the widget's.
        if self._view.width > 0 and self._view.height > 0:
            self._sliceLogic.ResizeSliceNode(self._view.width, self._view.height)
        self._view.resumeRender()
