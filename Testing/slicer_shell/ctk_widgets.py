"""CTK's widgets that a module's .ui file may use."""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from . import dialogs
from .ui_loader import register

HEADER_HEIGHT = 26


@register
class ctkCollapsibleButton(QtWidgets.QWidget):
    """A box with a header line that folds its contents away."""

    toggled = QtCore.Signal(bool)
    clicked = QtCore.Signal(bool)
    contentsCollapsed = QtCore.Signal(bool)
    slicerSignals = {  # noqa: RUF012
        "toggled(bool)": "toggled",
        "clicked(bool)": "clicked",
        "clicked()": "clicked",
        "contentsCollapsed(bool)": "contentsCollapsed",
    }

    def __init__(self, text: Any = "", parent: QtWidgets.QWidget | None = None) -> None:
        if isinstance(text, QtWidgets.QWidget):
            text, parent = "", text
        super().__init__(parent)
        self._text = text or ""
        self._collapsed = False
        self._hidden: list[QtWidgets.QWidget] = []
        self.setContentsMargins(0, HEADER_HEIGHT, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Minimum)

    def _get_text(self) -> str:
        return self._text

    def setText(self, text: str) -> None:
        self._text = text
        self.update()

    def _get_collapsed(self) -> bool:
        return self._collapsed

    def setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        if collapsed:
            self._hidden = []
            self._hide_contents()
        else:
            for each in self._hidden:
                each.setVisible(True)
        self.setMaximumHeight(HEADER_HEIGHT if collapsed else 16777215)
        self.updateGeometry()
        self.update()
        self.toggled.emit(not collapsed)
        self.contentsCollapsed.emit(collapsed)

    def _get_checked(self) -> bool:
        return not self._collapsed

    def _set_checked(self, checked: bool) -> None:
        self.setCollapsed(not checked)

    setChecked = _set_checked

    def _contents(self) -> list[QtWidgets.QWidget]:
        return [each for each in self.children() if isinstance(each, QtWidgets.QWidget)]

    text = QtCore.Property(str, _get_text, setText)
    collapsed = QtCore.Property(bool, _get_collapsed, setCollapsed)
    checked = QtCore.Property(bool, _get_checked, _set_checked)

    def _hide_contents(self) -> None:
        shown = [each for each in self._contents() if not each.isHidden()]
        self._hidden += [each for each in shown if each not in self._hidden]
        for each in shown:
            each.setVisible(False)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        super().childEvent(event)
        # Only a polished child is a whole widget; one that is just being added is not yet.
        if event.polished() and self._collapsed:
            self._hide_contents()

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        # A box may be folded before its contents are made, as a .ui file does it.
        if self._collapsed:
            self._hide_contents()
        super().showEvent(event)

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        if event.position().y() <= HEADER_HEIGHT:
            self.setCollapsed(not self._collapsed)
            self.clicked.emit(not self._collapsed)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.rect.width(), HEADER_HEIGHT)
        self.style().drawControl(QtWidgets.QStyle.CE_PushButtonBevel, option, painter, self)
        arrow = "\u25b6" if self._collapsed else "\u25bc"
        painter.drawText(option.rect.adjusted(8, 0, -8, 0), QtCore.Qt.AlignVCenter, f"{arrow}  {self._text}")
        painter.end()


@register
class ctkCheckBox(QtWidgets.QCheckBox):
    """CTK's check box; its icons are not here."""


@register
class ctkComboBox(QtWidgets.QComboBox):
    """CTK's combo box."""


@register
class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box for one number."""

    valueChanged = QtCore.Signal(float)
    slicerSignals = {"valueChanged(double)": "valueChanged"}  # noqa: RUF012

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal, self)
        self._spinBox = QtWidgets.QDoubleSpinBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._spinBox)
        self._slider.setRange(0, 1000)
        self._slider.valueChanged.connect(self._on_slider)
        self._spinBox.valueChanged.connect(self._on_spin_box)

    def _on_slider(self, position: int) -> None:
        self._spinBox.setValue(self.minimum + (self.maximum - self.minimum) * position / 1000)

    def _on_spin_box(self, value: float) -> None:
        span = self.maximum - self.minimum
        self._slider.blockSignals(True)
        self._slider.setValue(round(1000 * (value - self.minimum) / span) if span else 0)
        self._slider.blockSignals(False)
        self.valueChanged.emit(value)

    def setValue(self, value: float) -> None:
        self._spinBox.setValue(value)

    value = QtCore.Property(float, lambda self: self._spinBox.value, setValue)
    minimum = QtCore.Property(
        float, lambda self: self._spinBox.minimum, lambda self, value: self._spinBox.setMinimum(value)
    )
    maximum = QtCore.Property(
        float, lambda self: self._spinBox.maximum, lambda self, value: self._spinBox.setMaximum(value)
    )
    decimals = QtCore.Property(
        int, lambda self: self._spinBox.decimals, lambda self, value: self._spinBox.setDecimals(value)
    )
    singleStep = QtCore.Property(
        float, lambda self: self._spinBox.singleStep, lambda self, value: self._spinBox.setSingleStep(value)
    )


def make() -> types.ModuleType:
    """Build the `ctk` module."""
    module = types.ModuleType("ctk", __doc__)
    for widgetClass in (ctkCollapsibleButton, ctkCheckBox, ctkComboBox, ctkSliderWidget):
        setattr(module, widgetClass.__name__, widgetClass)
    module.ctkMessageBox = dialogs.ctkMessageBox
    return module
