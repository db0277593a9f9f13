"""`slicer.app`: the application object."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from .core import Core
from .io_manager import qSlicerCoreIOManager
from .layout_manager import qSlicerLayoutManager
from .main_window import qSlicerMainWindow
from .modules import qSlicerLoadableModule, qSlicerModuleManager

VERSION = (5, 12, 4)


class qSlicerCommandOptions:
    """`slicer.app.commandOptions()`."""

    noMainWindow = False
    testingEnabled = False
    noSplash = True
    disableSettings = False


class qSlicerApplication(QtWidgets.QApplication):
    """Owns the scene, the logics, the modules and the window."""

    startupCompleted = QtCore.Signal()
    mrmlSceneChanged = QtCore.Signal(object)
    slicerSignals = {  # noqa: RUF012
        "startupCompleted()": "startupCompleted",
        "mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged",
    }

    def __init__(self) -> None:
        super().__init__(["Slicer"])
        self._temporaryFolder = tempfile.TemporaryDirectory(prefix="slicer_shell_")
        folder = Path(self._temporaryFolder.name)
        self._temporaryPath = str(folder)
        self._redirect_settings(folder)
        self._commandOptions = qSlicerCommandOptions()
        self._moduleManager = qSlicerModuleManager()
        self._core: Core | None = None
        self._layoutManager: qSlicerLayoutManager | None = None
        self._mainWindow: qSlicerMainWindow | None = None

    def build(self) -> None:
        """Make the scene, the window and the views; after `slicer.app` is set, since they look for it."""
        self._core = Core(Path(self._temporaryPath))
        slicer.mrmlScene = self._core.scene
        for name, logic in self._core.moduleLogics.items():
            self._moduleManager.add(name, qSlicerLoadableModule(name, logic))
        self._mainWindow = qSlicerMainWindow(self._moduleManager)
        self._layoutManager = qSlicerLayoutManager(self._core, self._mainWindow.viewport)
        self._ioManager = qSlicerCoreIOManager(self._core)
        logic = self._core.applicationLogic
        logic.AddObserver(logic.PauseRenderEvent, lambda *_: self.pauseRender())
        logic.AddObserver(logic.ResumeRenderEvent, lambda *_: self.resumeRender())
        logic.AddObserver(logic.EditNodeEvent, lambda *_: None)
        self._mainWindow.resize(1400, 520)
        self._mainWindow.show()

    def _redirect_settings(self, folder: Path) -> None:
        self.setOrganizationName("NA-MIC")
        self.setApplicationName("Slicer")
        self.setApplicationVersion(".".join(map(str, VERSION)))
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(folder))

    # Managers and scene.

    def applicationLogic(self) -> Any:
        return self._core.applicationLogic

    def mrmlScene(self) -> Any:
        return self._core.scene

    def layoutManager(self) -> qSlicerLayoutManager:
        return self._layoutManager

    def moduleManager(self) -> qSlicerModuleManager:
        return self._moduleManager

    def moduleLogic(self, name: str) -> Any:
        return self._core.applicationLogic.GetModuleLogic(name)

    def coreIOManager(self) -> qSlicerCoreIOManager:
        return self._ioManager

    ioManager = coreIOManager

    def mainWindow(self) -> qSlicerMainWindow:
        return self._mainWindow

    def commandOptions(self) -> qSlicerCommandOptions:
        return self._commandOptions

    # Rendering.

    def pauseRender(self) -> None:
        self._layoutManager.pauseRender()

    def resumeRender(self) -> None:
        self._layoutManager.resumeRender()

    def setRenderPaused(self, paused: bool) -> None:
        self.pauseRender() if paused else self.resumeRender()

    # Settings and paths.

    def userSettings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    settings = userSettings
    revisionUserSettings = userSettings

    @property
    def temporaryPath(self) -> str:
        """A folder that is gone when the process ends."""
        return self._temporaryPath

    @temporaryPath.setter
    def temporaryPath(self, path: str) -> None:
        self._temporaryPath = path
        self._core.applicationLogic.SetTemporaryPath(path)

    @property
    def slicerHome(self) -> str:
        """Where Slicer would be installed; here a temporary folder."""
        return self._temporaryFolder.name

    @property
    def cachePath(self) -> str:
        """Where downloads are cached."""
        return str(Path(self._temporaryFolder.name) / "RemoteIO")

    # Version and machine.

    @property
    def majorVersion(self) -> int:
        """Slicer's version whose core is used."""
        return VERSION[0]

    @property
    def minorVersion(self) -> int:
        """Slicer's version whose core is used."""
        return VERSION[1]

    @property
    def os(self) -> str:
        """`linux`, `macosx` or `win`."""
        return {"Darwin": "macosx", "Windows": "win"}.get(platform.system(), "linux")

    @property
    def arch(self) -> str:
        """`amd64` or `arm64`."""
        return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

    @property
    def platform(self) -> str:
        """System and machine, as extensions are named after."""
        return f"{self.os}-{self.arch}"

    @property
    def revision(self) -> str:
        """Slicer's revision; unknown here."""
        return "0"

    @property
    def documentationBaseUrl(self) -> str:
        """Where the documentation is."""
        return "https://slicer.readthedocs.io/en/latest/"

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def testingEnabled(self) -> bool:
        return self._commandOptions.testingEnabled

    def translate(self, context: str, text: str, *rest: Any) -> str:
        return text

    def toSlicerHomeRelativePath(self, path: str) -> str:
        return path

    # The end.

    def release(self) -> None:
        """Take the parts down in the order that does not crash: modules, views, scene."""
        if self._mainWindow is None:
            return
        self._mainWindow.show_module("")
        for name in list(self._moduleManager.by_name):
            self._moduleManager.unload(name)
        self.processEvents()
        self._layoutManager.release()
        self._mainWindow.close()
        self._core.scene.Clear(1)
