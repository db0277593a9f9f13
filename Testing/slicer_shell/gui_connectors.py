"""Which widget shows which type of parameter, as Slicer's guiConnectors decide it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

import slicer
from PySide6 import QtWidgets

from .annotations import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange, find
from .ctk_widgets import ctkCheckBox, ctkComboBox, ctkSliderWidget
from .node_combo_box import qMRMLNodeComboBox

SLICER_PARAMETER_NAME = "SlicerParameterName"
_INTEGER_LIMIT = 2**31 - 1


class Connector:
    """Reads and writes one widget."""

    signals: tuple[str, ...] = ()

    def __init__(self, widget: Any, kind: Any, annotations: Sequence[Any]) -> None:
        self.widget = widget
        self.kind = kind
        self._callback: Callable[[], None] | None = None
        self.prepare(annotations)

    def prepare(self, annotations: Sequence[Any]) -> None:
        """Fit the widget to the type, for example its range."""

    def read(self) -> Any:
        raise NotImplementedError

    def write(self, value: Any) -> None:
        raise NotImplementedError

    def on_changed(self, callback: Callable[[], None] | None) -> None:
        self._callback = callback
        for name in self.signals:
            signal = getattr(self.widget, name)
            if callback is None:
                signal.disconnect(self.changed)
            else:
                signal.connect(self.changed)

    def changed(self, *arguments: Any) -> None:
        if self._callback is not None:
            self._callback()


class CheckBox(Connector):
    """bool in a check box."""

    signals = ("stateChanged",)

    def read(self) -> bool:
        return self.widget.checked

    def write(self, value: bool) -> None:
        self.widget.checked = value


class CheckableButton(CheckBox):
    """bool in a push button."""

    signals = ("toggled",)

    def prepare(self, annotations: Sequence[Any]) -> None:
        self.widget.checkable = True


class IntegerBox(Connector):
    """int in a spin box or slider."""

    signals = ("valueChanged",)

    def prepare(self, annotations: Sequence[Any]) -> None:
        step = find(annotations, SingleStep)
        if step is not None:
            self.widget.singleStep = step.value
        within = find(annotations, WithinRange)
        minimum, maximum = find(annotations, Minimum), find(annotations, Maximum)
        low = within.minimum if within else minimum.minimum if minimum else -_INTEGER_LIMIT - 1
        high = within.maximum if within else maximum.maximum if maximum else _INTEGER_LIMIT
        if isinstance(self.widget, QtWidgets.QSlider) and not within and not (minimum and maximum):
            raise RuntimeError("Cannot have a connection to QSlider where the int type is unbounded.")
        self.widget.setRange(low, high)

    def read(self) -> int:
        return self.widget.value

    def write(self, value: int) -> None:
        self.widget.value = value


class NumberBox(Connector):
    """float in a spin box or slider."""

    signals = ("valueChanged",)

    def prepare(self, annotations: Sequence[Any]) -> None:
        decimals, step = find(annotations, Decimals), find(annotations, SingleStep)
        if self.kind is int:
            self.widget.decimals = 0
        elif decimals is not None:
            self.widget.decimals = decimals.value
        if step is not None:
            self.widget.singleStep = step.value
        within = find(annotations, WithinRange)
        minimum, maximum = find(annotations, Minimum), find(annotations, Maximum)
        if isinstance(self.widget, ctkSliderWidget) and not within and not (minimum and maximum):
            raise RuntimeError(
                "Cannot have a connection to ctkSliderWidget where the float types is unbounded."
            )
        self.widget.minimum = within.minimum if within else minimum.minimum if minimum else -float("inf")
        self.widget.maximum = within.maximum if within else maximum.maximum if maximum else float("inf")

    def read(self) -> Any:
        return self.kind(self.widget.value)

    def write(self, value: Any) -> None:
        self.widget.value = value


class EnumBox(Connector):
    """An enum in a combo box, by label or name."""

    signals = ("currentIndexChanged",)

    def prepare(self, annotations: Sequence[Any]) -> None:
        label = getattr(self.kind, "label", lambda each: each.name)
        selected = self.read()
        self.widget.clear()
        for each in self.kind:
            self.widget.addItem(label(each))
        self.write(selected)

    def read(self) -> Any:
        return list(self.kind)[self.widget.currentIndex]

    def write(self, value: Any) -> None:
        self.widget.currentIndex = list(self.kind).index(value)


class ChoiceBox(Connector):
    """A value of given choices in a combo box."""

    signals = ("currentIndexChanged",)

    def prepare(self, annotations: Sequence[Any]) -> None:
        choice = find(annotations, Choice)
        if choice is None:
            raise RuntimeError("ComboBoxToStringableConnector requires the Choice annotation to be used.")
        self.choices = choice.choices
        self.widget.clear()
        for each in self.choices:
            self.widget.addItem(str(each))

    def read(self) -> Any:
        return self.choices[self.widget.currentIndex]

    def write(self, value: Any) -> None:
        self.widget.currentIndex = list(self.choices).index(value)


class LineEdit(Connector):
    """str in a line."""

    signals = ("textChanged",)

    def read(self) -> str:
        return self.widget.text

    def write(self, value: str) -> None:
        if value != self.widget.text:
            self.widget.text = value


class Label(LineEdit):
    """str in a label, which never changes by itself."""

    signals = ()


class NodeBox(Connector):
    """A MRML node in a node selector."""

    signals = ("currentNodeChanged",)

    def prepare(self, annotations: Sequence[Any]) -> None:
        self.widget.nodeTypes = [self.kind.__name__]

    def read(self) -> Any:
        return self.widget.currentNode()

    def write(self, value: Any) -> None:
        self.widget.setCurrentNode(value)


def create_connector(widget: Any, kind: Any, annotations: Sequence[Any]) -> Connector:
    """Connect a widget to a type.

    Raises:
        RuntimeError: Slicer has no connector for the pair, or the stand-in lacks it.
    """
    connectorClass = _connector_class(type(widget), kind)
    if connectorClass is None:
        raise RuntimeError(
            f"Unable to create GUI connector from datatype '{kind}' to widget type '{type(widget)}'."
        )
    return connectorClass(widget, kind, annotations)


def _connector_class(widgetClass: type, kind: Any) -> type[Connector] | None:
    if widgetClass is qMRMLNodeComboBox and issubclass(kind, slicer.vtkMRMLNode):
        return NodeBox
    if widgetClass in (QtWidgets.QComboBox, ctkComboBox):
        return EnumBox if issubclass(kind, enum.Enum) else ChoiceBox
    pairs: dict[tuple[type, type], type[Connector]] = {
        (QtWidgets.QCheckBox, bool): CheckBox,
        (ctkCheckBox, bool): CheckBox,
        (QtWidgets.QPushButton, bool): CheckableButton,
        (QtWidgets.QSlider, int): IntegerBox,
        (QtWidgets.QSpinBox, int): IntegerBox,
        (QtWidgets.QDoubleSpinBox, float): NumberBox,
        (QtWidgets.QDoubleSpinBox, int): NumberBox,
        (ctkSliderWidget, float): NumberBox,
        (ctkSliderWidget, int): NumberBox,
        (QtWidgets.QLineEdit, str): LineEdit,
        (QtWidgets.QLabel, str): Label,
    }
    return pairs.get((widgetClass, kind))
