"""The main window: module panel on the left, slice views on the right."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets


class qSlicerModuleSelectorToolBar(QtWidgets.QToolBar):
    """Chooses the module that is shown."""

    moduleSelected = QtCore.Signal(str)
    slicerSignals = {"moduleSelected(QString)": "moduleSelected"}  # noqa: RUF012

    def __init__(self, mainWindow: Any) -> None:
        super().__init__(mainWindow)
        self._mainWindow = mainWindow

    @property
    def selectedModule(self) -> str:
        """Name of the module that is shown."""
        return self._mainWindow.shownModule

    def selectModule(self, name: str) -> None:
        self._mainWindow.show_module(name)
        self.moduleSelected.emit(name)


class qSlicerMainWindow(QtWidgets.QMainWindow):
    """Slicer's window as far as modules and their users touch it."""

    def __init__(self, modules: Any) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("3D Slicer (stand-in)")
        self._modules = modules
        self.shownModule = ""
        self._panel = QtWidgets.QScrollArea(self)
        self._panel.setObjectName("ModulePanel")
        self._panel.setWidgetResizable(True)
        self._panel.setMinimumWidth(380)
        self.viewport = QtWidgets.QWidget(self)
        self.viewport.setObjectName("CentralWidgetLayoutFrame")
        splitter = QtWidgets.QSplitter(self)
        splitter.addWidget(self._panel)
        splitter.addWidget(self.viewport)
        splitter.setStretchFactor(1, 1)
        self.setCentralWidget(splitter)
        self._selector = qSlicerModuleSelectorToolBar(self)
        self._selector.setObjectName("ModuleSelectorToolBar")
        self._selector.hide()
        self.statusBar().setVisible(True)

    def moduleSelector(self) -> qSlicerModuleSelectorToolBar:
        return self._selector

    def panel(self) -> QtWidgets.QScrollArea:
        """Where the module's widget is; for screenshots."""
        return self._panel

    def show_module(self, name: str) -> None:
        """Leave the module that is shown, enter the other; an unknown name leaves the panel empty."""
        if name == self.shownModule:
            return
        current = self._panel.takeWidget()
        if current is not None:
            current.exit()
            current.hide()
            current.setParent(None)
        self.shownModule = name
        module = self._modules.module(name)
        widget = module.widgetRepresentation() if module is not None else None
        if widget is not None:
            self._panel.setWidget(widget)
            widget.show()
            widget.enter()
