"""qMRMLSegmentSelectorWidget: choose a segmentation and one of its segments."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from .mrml_widgets import qMRMLWidget
from .node_combo_box import qMRMLNodeComboBox
from .ui_loader import register

_SEGMENTATION_EVENTS = ("SegmentAdded", "SegmentRemoved", "SegmentModified", "SegmentsOrderModified")


@register
class qMRMLSegmentSelectorWidget(qMRMLWidget):
    """Follows the segmentation: segments that come, go or get another name."""

    currentNodeChanged = QtCore.Signal(object)
    nodeValiditySignal = QtCore.Signal(bool)
    currentSegmentChanged = QtCore.Signal(str)
    nodeAboutToBeEdited = QtCore.Signal(object)
    slicerSignals = {  # noqa: RUF012
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "nodeValiditySignal",
        "currentSegmentChanged(QString)": "currentSegmentChanged",
        "nodeAboutToBeEdited(vtkMRMLNode*)": "nodeAboutToBeEdited",
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._tags: list[tuple[Any, int]] = []
        self._segmentID = ""
        self._noneEnabled = False
        self._nodeSelectorVisible = True
        self._horizontal = False
        self._nodeSelector = qMRMLNodeComboBox(self)
        self._nodeSelector.setObjectName("MRMLNodeComboBox_Segmentation")
        self._nodeSelector.setNodeTypes(["vtkMRMLSegmentationNode"])
        self._nodeSelector.setNoneEnabled(True)
        self._nodeSelector.setAddEnabled(False)
        self._nodeSelector.setRemoveEnabled(False)
        self._segments = QtWidgets.QComboBox(self)
        self._segments.setObjectName("comboBox_Segment")
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._nodeSelector)
        layout.addWidget(self._segments)
        self._nodeSelector.currentNodeChanged.connect(self.setCurrentNode)
        self._segments.currentIndexChanged.connect(self._on_index_changed)
        self._segments.setEnabled(False)

    def setMRMLScene(self, scene: Any) -> None:
        super().setMRMLScene(scene)
        self._nodeSelector.setMRMLScene(scene)

    def currentNode(self) -> Any:
        return self._node

    def currentNodeID(self) -> str:
        return self._node.GetID() if self._node is not None else ""

    def setCurrentNode(self, node: Any) -> None:
        self._nodeSelector.setCurrentNode(node)
        node = self._nodeSelector.currentNode()
        if node is self._node:
            return
        self._stop_observing()
        self._node = node
        if node is not None:
            for name in _SEGMENTATION_EVENTS:
                tag = node.AddObserver(getattr(slicer.vtkSegmentation, name), self._on_segments_changed)
                self._tags.append((node, tag))
        self._populate()
        self.currentNodeChanged.emit(node)
        self.nodeValiditySignal.emit(node is not None)

    def setCurrentNodeID(self, nodeID: str) -> None:
        self.setCurrentNode(self.mrmlScene().GetNodeByID(nodeID) if nodeID and self.mrmlScene() else None)

    def currentSegmentID(self) -> str:
        return self._segmentID

    def setCurrentSegmentID(self, segmentID: str) -> None:
        index = self._segments.findData(segmentID) if segmentID else 0 if self._noneEnabled else -1
        self._segments.setCurrentIndex(index)

    def segmentIDs(self) -> tuple[str, ...]:
        if self._node is None:
            return ()
        segmentation = self._node.GetSegmentation()
        return tuple(
            segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())
        )

    def _set_none_enabled(self, enabled: bool) -> None:
        self._noneEnabled = enabled
        self._populate()

    def _set_node_selector_visible(self, visible: bool) -> None:
        self._nodeSelectorVisible = visible
        self._nodeSelector.setVisible(visible)

    def _set_horizontal(self, horizontal: bool) -> None:
        self._horizontal = horizontal
        direction = QtWidgets.QBoxLayout.LeftToRight if horizontal else QtWidgets.QBoxLayout.TopToBottom
        QtWidgets.QWidget.layout(self).setDirection(direction)

    def _set_select_upon_creation(self, select: bool) -> None:
        self._nodeSelector.setSelectNodeUponCreation(select)

    noneEnabled = QtCore.Property(bool, lambda self: self._noneEnabled, _set_none_enabled)
    setNoneEnabled = _set_none_enabled
    segmentationNodeSelectorVisible = QtCore.Property(
        bool, lambda self: self._nodeSelectorVisible, _set_node_selector_visible
    )
    setSegmentationNodeSelectorVisible = _set_node_selector_visible
    horizontalLayout = QtCore.Property(bool, lambda self: self._horizontal, _set_horizontal)
    selectNodeUponCreation = QtCore.Property(
        bool, lambda self: self._nodeSelector.selectNodeUponCreation, _set_select_upon_creation
    )

    def _stop_observing(self) -> None:
        for node, tag in self._tags:
            node.RemoveObserver(tag)
        self._tags = []

    def _on_segments_changed(self, caller: Any, event: str) -> None:
        self._populate()

    def _populate(self) -> None:
        blocked = self._segments.blockSignals(True)
        self._segments.clear()
        if self._noneEnabled:
            self._segments.addItem("Select a segment", "")
        for segmentID in self.segmentIDs():
            self._segments.addItem(self._node.GetSegmentation().GetSegment(segmentID).GetName(), segmentID)
        self._segments.setEnabled(self._node is not None)
        index = self._segments.findData(self._segmentID) if self._segmentID else -1
        self._segments.setCurrentIndex(index)
        self._segments.blockSignals(blocked)
        if index < 0:
            # Slicer selects the first segment when the one it showed is gone.
            first = 1 if self._noneEnabled else 0
            chosen = first if self._segments.count > first else first - 1
            self._segments.blockSignals(True)
            self._segments.setCurrentIndex(chosen)
            self._segments.blockSignals(blocked)
            self._on_index_changed(chosen)

    def _on_index_changed(self, index: int) -> None:
        segmentID = (self._segments.itemData(index) if index >= 0 else "") or ""
        if segmentID != self._segmentID:
            self._segmentID = segmentID
            self.currentSegmentChanged.emit(segmentID)
