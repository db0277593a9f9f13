"""Dialogs that answer at once: what would have been shown is kept for tests to look at."""

from __future__ import annotations

import dataclasses
from typing import Any

from PySide6 import QtCore, QtWidgets


@dataclasses.dataclass(frozen=True)
class ShownDialog:
    """One dialog that a user would have seen."""

    kind: str
    text: str
    title: str = ""
    icon: Any = None
    detailedText: str = ""
    informativeText: str = ""


shown: list[ShownDialog] = []
_answers: list[Any] = []


def answer_next(*answers: Any) -> None:
    """What the next dialogs return: a standard button for message boxes, a path for file dialogs."""
    _answers.extend(answers)


def clear() -> None:
    """Forget what was shown and what was to be answered."""
    shown.clear()
    _answers.clear()


def unused_answers() -> int:
    """How many answers no dialog asked for."""
    return len(_answers)


def _next_answer(default: Any) -> Any:
    return _answers.pop(0) if _answers else default


class QMessageBox(QtWidgets.QMessageBox):
    """A message box that is never modal; without a given answer it is confirmed."""

    def exec(self) -> int:
        shown.append(
            ShownDialog(
                "message",
                self.property("text"),
                self.property("windowTitle"),
                self.property("icon"),
                self.property("detailedText"),
                self.property("informativeText"),
            )
        )
        return _next_answer(self._confirming_button())

    exec_ = exec

    def open(self) -> None:
        self.exec()

    def _confirming_button(self) -> Any:
        buttons = self.property("standardButtons")
        for button in (self.StandardButton.Ok, self.StandardButton.Yes, self.StandardButton.Retry):
            if buttons & button:
                return button
        return buttons or self.StandardButton.Ok


def _static(kind: str, default: Any) -> Any:
    def ask(parent: Any, title: str, text: str, *rest: Any) -> Any:
        shown.append(ShownDialog(kind, text, title))
        return _next_answer(default)

    return staticmethod(ask)


QMessageBox.information = _static("information", QtWidgets.QMessageBox.StandardButton.Ok)
QMessageBox.warning = _static("warning", QtWidgets.QMessageBox.StandardButton.Ok)
QMessageBox.critical = _static("critical", QtWidgets.QMessageBox.StandardButton.Ok)
QMessageBox.question = _static("question", QtWidgets.QMessageBox.StandardButton.Yes)


class ctkMessageBox(QMessageBox):
    """CTK's message box: it remembers "do not show again" in the settings."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._key = ""

    @property
    def dontShowAgainSettingsKey(self) -> str:
        """Settings key under which the user's choice is kept."""
        return self._key

    @dontShowAgainSettingsKey.setter
    def dontShowAgainSettingsKey(self, key: str) -> None:
        self._key = key

    def exec(self) -> int:
        if self._key and str(QtCore.QSettings().value(self._key, "")) in ("true", "1", "1024"):
            return self._confirming_button()
        return super().exec()

    exec_ = exec


class QFileDialog(QtWidgets.QFileDialog):
    """File dialogs return a path, as in PythonQt, and not PySide6's pair of path and filter."""

    @staticmethod
    def _ask(title: str, folder: str, default: Any = "") -> Any:
        shown.append(ShownDialog("file", str(folder), title))
        return _next_answer(default)

    @staticmethod
    def getOpenFileName(parent: Any = None, title: str = "", folder: str = "", *rest: Any) -> str:
        return QFileDialog._ask(title, folder)

    @staticmethod
    def getSaveFileName(parent: Any = None, title: str = "", folder: str = "", *rest: Any) -> str:
        return QFileDialog._ask(title, folder)

    @staticmethod
    def getExistingDirectory(parent: Any = None, title: str = "", folder: str = "", *rest: Any) -> str:
        return QFileDialog._ask(title, folder)

    @staticmethod
    def getOpenFileNames(
        parent: Any = None, title: str = "", folder: str = "", *rest: Any
    ) -> tuple[str, ...]:
        return QFileDialog._ask(title, folder, ())


class QDesktopServices:
    """Opens nothing; keeps what would have been opened."""

    opened: list[str] = []  # noqa: RUF012  one list for the process, as the desktop is one

    @staticmethod
    def openUrl(url: QtCore.QUrl) -> bool:
        QDesktopServices.opened.append(url.toString())
        return True
