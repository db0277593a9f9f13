"""The layout manager: Red, Yellow and Green slice views beside each other."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from .slice_widget import qMRMLSliceWidget

SLICE_VIEW_NAMES = ("Red", "Yellow", "Green")


class qSlicerLayoutManager(QtCore.QObject):
    """`slicer.app.layoutManager()`: three slice views whose nodes the real layout logic makes; no 3D view."""

    layoutChanged = QtCore.Signal(int)
    activeMRMLThreeDViewNodeChanged = QtCore.Signal(object)

    def __init__(self, core: Any, viewport: QtWidgets.QWidget) -> None:
        super().__init__(viewport)
        self._core = core
        self._viewport = viewport
        self._layoutNode = core.layoutLogic.GetLayoutNode()
        self._layoutNode.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        layout = QtWidgets.QHBoxLayout(viewport)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self._sliceWidgets: dict[str, qMRMLSliceWidget] = {}
        for name in SLICE_VIEW_NAMES:
            sliceNode = core.scene.GetNodeByID("vtkMRMLSliceNode" + name)
            sliceWidget = qMRMLSliceWidget(sliceNode, core.applicationLogic, viewport)
            layout.addWidget(sliceWidget)
            self._sliceWidgets[name] = sliceWidget

    @property
    def layout(self) -> int:
        """Number of the layout, as in vtkMRMLLayoutNode; the views stay where they are."""
        return self._layoutNode.GetViewArrangement()

    @layout.setter
    def layout(self, arrangement: int) -> None:
        self.setLayout(arrangement)

    def setLayout(self, arrangement: int) -> None:
        self._layoutNode.SetViewArrangement(arrangement)
        self.layoutChanged.emit(arrangement)

    def layoutLogic(self) -> Any:
        return self._core.layoutLogic

    def sliceViewNames(self) -> tuple[str, ...]:
        return SLICE_VIEW_NAMES

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:
        return self._sliceWidgets.get(name)

    def mrmlSliceLogics(self) -> Any:
        return self._core.applicationLogic.GetSliceLogics()

    @property
    def threeDViewCount(self) -> int:
        """There is no 3D view here, as in Slicer's layouts without one."""
        return 0

    def threeDWidget(self, index: int) -> None:
        return None

    def resetSliceViews(self) -> None:
        for sliceWidget in self._sliceWidgets.values():
            sliceWidget.sliceLogic().FitSliceToAll()

    def resetThreeDViews(self) -> None:
        """Nothing to reset without 3D views."""

    def pauseRender(self) -> None:
        for sliceWidget in self._sliceWidgets.values():
            sliceWidget.sliceView().pauseRender()

    def resumeRender(self) -> None:
        for sliceWidget in self._sliceWidgets.values():
            sliceWidget.sliceView().resumeRender()

    def viewport(self) -> QtWidgets.QWidget:
        return self._viewport

    def release(self) -> None:
        """Let go of the scene; see `qMRMLSliceView.release`."""
        for sliceWidget in self._sliceWidgets.values():
            sliceWidget.release()
