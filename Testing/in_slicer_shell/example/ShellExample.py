"""A small scripted module, as a module's author would write it; the shell's tests load it."""

import enum

import qt
import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import *  # noqa: F403  as Slicer's module template does
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Quality(enum.Enum):
    """How well to do nothing."""

    FAST = "fast"
    FINE = "fine"


class ShellExample(ScriptedLoadableModule):
    """Describes the module."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title = _("Shell Example")
        parent.categories = ["Testing"]
        slicer.app.connect("startupCompleted()", self.on_startup)
        self.started = 0

    def on_startup(self):
        self.started += 1


@parameterNodeWrapper
class ShellExampleParameters:
    """What the user chose."""

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    quality: Quality = Quality.FINE
    enabled: bool = True
    count: int = 3
    note: str = "hello"
    threshold: float = 0.5


class ShellExampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.calls = []
        self.parameters = None
        self.guiTag = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ShellExample.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = ShellExampleLogic()
        self.shortcut = qt.QShortcut(qt.QKeySequence(qt.Qt.Key_P), slicer.util.mainWindow())
        self.shortcut.enabled = False
        self.shortcut.connect("activated()", self.on_shortcut)
        self.ui.applyButton.connect("clicked()", self.on_apply)
        self.ui.segmentSelector.connect("currentSegmentChanged(QString)", self.on_segment)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.on_start_close)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.on_end_close)

    def enter(self):
        self.calls.append("enter")
        self.shortcut.enabled = True
        self.connect_parameters()

    def exit(self):
        self.calls.append("exit")
        self.shortcut.enabled = False
        self.disconnect_parameters()

    def cleanup(self):
        self.calls.append("cleanup")
        self.disconnect_parameters()
        self.removeObservers()

    def connect_parameters(self):
        self.disconnect_parameters()
        self.parameters = ShellExampleParameters(self.logic.getParameterNode())
        self.guiTag = self.parameters.connectGui(self.ui)

    def disconnect_parameters(self):
        if self.parameters is not None:
            self.parameters.disconnectGui(self.guiTag)
            self.parameters = None

    def on_apply(self):
        self.calls.append("apply")
        self.ui.statusLabel.text = f"applied {self.parameters.count}"
        self.ui.box.collapsed = True

    def on_shortcut(self):
        self.calls.append("shortcut")

    def on_segment(self, segmentID):
        self.calls.append(f"segment {segmentID}")

    def on_start_close(self, caller, event):
        self.disconnect_parameters()

    def on_end_close(self, caller, event):
        if slicer.modules.shellexample.widgetRepresentation().entered:
            self.connect_parameters()


class ShellExampleLogic(ScriptedLoadableModuleLogic):
    """Computes nothing."""


class ShellExampleTest(ScriptedLoadableModuleTest):
    """Serves CTest and the Self Tests module."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_message(self):
        self.delayDisplay("hello")
