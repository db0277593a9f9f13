"""QUiLoader that knows Slicer's and CTK's widgets."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

_widgets: dict[str, type[QtWidgets.QWidget]] = {}


def register(widgetClass: type[QtWidgets.QWidget]) -> type[QtWidgets.QWidget]:
    """Make a stand-in widget available to .ui files under its own name."""
    _widgets[widgetClass.__name__] = widgetClass
    return widgetClass


def registered() -> dict[str, type[QtWidgets.QWidget]]:
    """All stand-in widgets by name."""
    return dict(_widgets)


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file; connections in it are made by name, since their C++ types mean nothing to PySide6."""

    def createWidget(self, className: str, parent: Any = None, name: str = "") -> Any:
        widgetClass = _widgets.get(className)
        if widgetClass is not None:
            widget = widgetClass(parent)
            widget.setObjectName(name)
            return widget
        if className not in self.availableWidgets():
            raise RuntimeError(f"the stand-in has no widget {className}")
        return super().createWidget(className, parent, name)

    def load(self, source: Any, parent: Any = None) -> Any:
        if isinstance(source, str):
            source = QtCore.QFile(source)
            source.open(QtCore.QIODevice.ReadOnly)
        root = ElementTree.fromstring(bytes(source.readAll().data()))
        connections = _take_connections(root)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(buffer, parent)
        for connection in connections:
            _wire(widget, connection)
        return widget


def _take_connections(root: ElementTree.Element) -> list[dict[str, str]]:
    element = root.find("connections")
    if element is None:
        return []
    root.remove(element)
    return [
        {each.tag: each.text or "" for each in connection if each.tag != "hints"} for connection in element
    ]


def _wire(root: Any, connection: dict[str, str]) -> None:
    sender, receiver = (_by_name(root, connection[end]) for end in ("sender", "receiver"))
    sender.connect(connection["signal"], getattr(receiver, connection["slot"].partition("(")[0]))


def _by_name(root: Any, name: str) -> Any:
    return root if root.property("objectName") == name else root.findChild(QtCore.QObject, name)
