"""The `qt` module: PySide6's classes in one flat namespace, as PythonQt has them."""

from __future__ import annotations

import types

from PySide6 import QtCore, QtGui, QtTest, QtWidgets

from . import dialogs
from .ui_loader import QUiLoader


def make() -> types.ModuleType:
    """Build the module; later names replace earlier ones."""
    module = types.ModuleType("qt", __doc__)
    for source in (QtCore, QtGui, QtWidgets, QtTest):
        for name in dir(source):
            if name.startswith("Q") and not name.startswith("QT_"):
                setattr(module, name, getattr(source, name))
    module.Signal = QtCore.Signal
    module.QUiLoader = QUiLoader
    module.QMessageBox = dialogs.QMessageBox
    module.QFileDialog = dialogs.QFileDialog
    module.QDesktopServices = dialogs.QDesktopServices
    return module
