"""qMRMLNodeComboBox: choose, make, rename and delete a node of given types."""

from __future__ import annotations

from typing import Any

import vtk
from PySide6 import QtCore, QtWidgets

from .ui_loader import register

_NODE_ID = QtCore.Qt.ItemDataRole.UserRole
_ACTION = QtCore.Qt.ItemDataRole.UserRole + 1

_OPTIONS: dict[str, Any] = {
    "nodeTypes": [],
    "showHidden": False,
    "showChildNodeTypes": True,
    "hideChildNodeTypes": [],
    "noneEnabled": False,
    "addEnabled": True,
    "removeEnabled": True,
    "editEnabled": False,
    "renameEnabled": False,
    "selectNodeUponCreation": True,
    "noneDisplay": "None",
    "interactionNodeSingletonTag": "",
}


def _option(name: str) -> QtCore.Property:
    # A Qt property, so that the .ui file can set it.
    kind = {list: "QStringList"}.get(type(_OPTIONS[name]), type(_OPTIONS[name]))
    return QtCore.Property(
        kind, lambda self: self._get_option(name), lambda self, value: self._set_option(name, value)
    )


@register
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Follows the scene: nodes that come, go or get another name."""

    currentNodeChanged = QtCore.Signal(object)
    nodeValiditySignal = QtCore.Signal(bool)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeActivated = QtCore.Signal(object)
    nodeAdded = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    nodeAboutToBeRemoved = QtCore.Signal(object)
    nodeAboutToBeEdited = QtCore.Signal(object)
    currentNodeRenamed = QtCore.Signal(str)
    slicerSignals = {  # noqa: RUF012
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "nodeValiditySignal",
        "currentNodeIDChanged(QString)": "currentNodeIDChanged",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeAboutToBeRemoved",
        "nodeAboutToBeEdited(vtkMRMLNode*)": "nodeAboutToBeEdited",
        "currentNodeRenamed(QString)": "currentNodeRenamed",
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._sceneTags: list[int] = []
        self._nodeTags: dict[str, tuple[Any, int]] = {}
        self._currentID = ""
        self._options: dict[str, Any] = dict(_OPTIONS)
        self._baseNames: dict[str, str] = {}
        self._attributes: list[tuple[str, str, Any]] = []
        self._comboBox = QtWidgets.QComboBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._comboBox)
        self._comboBox.activated.connect(self._on_activated)

    # Nodes.

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        for tag in self._sceneTags:
            self._scene.RemoveObserver(tag)
        self._sceneTags = []
        self._scene = scene
        if scene is not None:
            self._sceneTags = [
                scene.AddObserver(scene.NodeAddedEvent, self._on_node_added),
                scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._on_node_about_to_be_removed),
                scene.AddObserver(scene.NodeRemovedEvent, self._on_nodes_changed),
                scene.AddObserver(scene.EndBatchProcessEvent, self._on_nodes_changed),
            ]
        self._refresh()

    def nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        found = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        return [node for node in found if self._is_accepted(node)]

    def nodeCount(self) -> int:
        return len(self.nodes())

    def nodeFromIndex(self, index: int) -> Any:
        nodes = self.nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def currentNode(self) -> Any:
        return (
            self._scene.GetNodeByID(self._currentID) if self._scene is not None and self._currentID else None
        )

    def setCurrentNode(self, node: Any) -> None:
        if isinstance(node, str):
            self.setCurrentNodeID(node)
        else:
            self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, nodeID: str | None) -> None:
        nodeIDs = [node.GetID() for node in self.nodes()]
        if nodeID not in nodeIDs:
            # Without "None" in the list Slicer keeps a node selected as long as there is one.
            nodeID = "" if self._options["noneEnabled"] or not nodeIDs else self._currentID or nodeIDs[0]
        self._select(nodeID)

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self.nodeFromIndex(index))

    def addNode(self, nodeType: str = "") -> Any:
        className = nodeType or self._options["nodeTypes"][0]
        node = self._scene.CreateNodeByClass(className)
        if node is None:
            return None
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(self._base_name(className, node)))
        for attributeType, name, value in self._attributes:
            if attributeType == className:
                node.SetAttribute(name, "" if value is None else str(value))
        self._scene.AddNode(node)
        if self._options["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        if self.currentNode() is not None:
            self._scene.RemoveNode(self.currentNode())

    def editCurrentNode(self) -> None:
        self.nodeAboutToBeEdited.emit(self.currentNode())

    def addAttribute(self, nodeType: str, name: str, value: Any = None) -> None:
        self._attributes.append((nodeType, name, value))
        self._refresh()

    def removeAttribute(self, nodeType: str, name: str) -> None:
        self._attributes = [each for each in self._attributes if each[:2] != (nodeType, name)]
        self._refresh()

    def comboBox(self) -> QtWidgets.QComboBox:
        """The list itself, for tests that choose as a user does; protected in Slicer."""
        return self._comboBox

    # Properties.

    def setBaseName(self, name: str, nodeType: str = "") -> None:
        self._baseNames[nodeType] = name

    def _get_base_name(self) -> str:
        return self._baseNames.get("", "")

    def _base_name(self, className: str, node: Any) -> str:
        return self._baseNames.get(className) or self._baseNames.get("") or node.GetNodeTagName()

    def _set_option(self, name: str, value: Any) -> None:
        self._options[name] = list(value) if isinstance(value, (list, tuple)) else value
        self._refresh()

    def _get_option(self, name: str) -> Any:
        value = self._options[name]
        return tuple(value) if isinstance(value, list) else value

    nodeTypes = _option("nodeTypes")
    showHidden = _option("showHidden")
    showChildNodeTypes = _option("showChildNodeTypes")
    hideChildNodeTypes = _option("hideChildNodeTypes")
    noneEnabled = _option("noneEnabled")
    addEnabled = _option("addEnabled")
    removeEnabled = _option("removeEnabled")
    editEnabled = _option("editEnabled")
    renameEnabled = _option("renameEnabled")
    selectNodeUponCreation = _option("selectNodeUponCreation")
    noneDisplay = _option("noneDisplay")
    interactionNodeSingletonTag = _option("interactionNodeSingletonTag")
    baseName = QtCore.Property(str, _get_base_name, lambda self, name: self.setBaseName(name))
    currentNodeID = QtCore.Property(str, lambda self: self._currentID, setCurrentNodeID)

    # Following the scene.

    def _is_accepted(self, node: Any) -> bool:
        types = self._options["nodeTypes"]
        matches = [
            each
            for each in types
            if (node.IsA(each) if self._options["showChildNodeTypes"] else node.GetClassName() == each)
        ]
        if not matches or any(node.IsA(each) for each in self._options["hideChildNodeTypes"]):
            return False
        if node.GetHideFromEditors() and not self._options["showHidden"]:
            return False
        wanted = [(name, value) for nodeType, name, value in self._attributes if nodeType in matches]
        return all(
            node.GetAttribute(name) is not None and (value is None or node.GetAttribute(name) == str(value))
            for name, value in wanted
        )

    def _on_node_added(self, caller: Any, event: str) -> None:
        before = set(self._nodeTags)
        self._on_nodes_changed()
        for nodeID in set(self._nodeTags) - before:
            self.nodeAdded.emit(self._scene.GetNodeByID(nodeID))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_about_to_be_removed(self, caller: Any, event: str, node: Any) -> None:
        if self._is_accepted(node):
            self.nodeAboutToBeRemoved.emit(node)

    def _on_nodes_changed(self, caller: Any = None, event: str = "") -> None:
        if self._scene is None or self._scene.IsBatchProcessing():
            return
        self._refresh()

    def _refresh(self) -> None:
        nodes = {node.GetID(): node for node in self.nodes()}
        for nodeID in set(self._nodeTags) - set(nodes):
            node, tag = self._nodeTags.pop(nodeID)
            node.RemoveObserver(tag)
        for nodeID in set(nodes) - set(self._nodeTags):
            tag = nodes[nodeID].AddObserver("ModifiedEvent", self._on_node_modified)
            self._nodeTags[nodeID] = (nodes[nodeID], tag)
        self._fill(nodes)
        if self._currentID in nodes:
            self._show_current()
        elif self._options["noneEnabled"] or not nodes:
            self._select("")
        else:
            self._select(next(iter(nodes)))

    def _fill(self, nodes: dict[str, Any]) -> None:
        blocked = self._comboBox.blockSignals(True)
        self._comboBox.clear()
        if self._options["noneEnabled"]:
            self._comboBox.addItem(self._options["noneDisplay"], "")
        for nodeID, node in nodes.items():
            self._comboBox.addItem(node.GetName(), nodeID)
        self._comboBox.insertSeparator(self._comboBox.count)
        for action, label in self._actions():
            self._comboBox.addItem(label, None)
            self._comboBox.setItemData(self._comboBox.count - 1, action, _ACTION)
        self._comboBox.blockSignals(blocked)

    def _actions(self) -> list[tuple[str, str]]:
        if self._scene is None:
            return []
        actions = []
        if self._options["renameEnabled"]:
            actions.append(("rename", "Rename current node"))
        if self._options["editEnabled"]:
            actions.append(("edit", "Edit current node"))
        if self._options["removeEnabled"]:
            actions.append(("remove", "Delete current node"))
        if self._options["addEnabled"]:
            actions += [(f"add {each}", f"Create new {each}") for each in self._options["nodeTypes"]]
        return actions

    def _select(self, nodeID: str) -> None:
        changed = nodeID != self._currentID
        self._currentID = nodeID
        self._show_current()
        if changed:
            self.currentNodeChanged.emit(self.currentNode())
            self.nodeValiditySignal.emit(self.currentNode() is not None)
            self.currentNodeIDChanged.emit(nodeID)

    def _show_current(self) -> None:
        blocked = self._comboBox.blockSignals(True)
        self._comboBox.setCurrentIndex(self._comboBox.findData(self._currentID, _NODE_ID))
        self._comboBox.blockSignals(blocked)

    def _on_activated(self, index: int) -> None:
        action = self._comboBox.itemData(index, _ACTION)
        if action is None:
            self._select(self._comboBox.itemData(index, _NODE_ID))
            self.nodeActivated.emit(self.currentNode())
            return
        self._show_current()
        if action == "rename":
            self.renameCurrentNode()
        elif action == "edit":
            self.editCurrentNode()
        elif action == "remove":
            self.removeCurrentNode()
        else:
            self.addNode(action.split(" ")[1])

    def renameCurrentNode(self, name: str | None = None) -> None:
        """Slicer asks for the name in a dialog; here it is `name`."""
        if self.currentNode() is not None and name:
            self.currentNode().SetName(name)
            self.currentNodeRenamed.emit(name)

    def _on_node_modified(self, node: Any, event: str) -> None:
        index = self._comboBox.findData(node.GetID(), _NODE_ID)
        if not self._is_accepted(node) or index < 0:
            self._refresh()
        elif self._comboBox.itemText(index) != node.GetName():
            self._comboBox.setItemText(index, node.GetName())


for _name in _OPTIONS:
    setattr(
        qMRMLNodeComboBox,
        "set" + _name[0].upper() + _name[1:],
        lambda self, value, name=_name: self._set_option(name, value),
    )
