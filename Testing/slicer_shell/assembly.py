"""Puts the modules `qt`, `ctk`, `slicer.*` and `SampleData` together and starts the application."""

from __future__ import annotations

import atexit
import sys
import types
from typing import Any

from . import environment


def assemble() -> Any:
    """Make the shell; call it once, through `start`."""
    environment.prepare()
    from . import pythonqt, unhandled

    pythonqt.install()
    unhandled.install()

    import slicer
    import vtk
    from slicer import util

    # A warning of C++ belongs into the test's captured output, not into a window.
    vtk.vtkOutputWindow.SetInstance(vtk.vtkOutputWindow())

    from . import ctk_widgets, qt_module, sample_data

    sys.modules["qt"] = qt_module.make()
    sys.modules["ctk"] = ctk_widgets.make()
    sys.modules["SampleData"] = sample_data.make()

    from . import i18n, packaging

    slicer.util = util
    slicer.packaging = sys.modules["slicer.packaging"] = packaging
    slicer.modules = types.SimpleNamespace()
    slicer.selfTests = {}
    slicer.i18n = sys.modules["slicer.i18n"] = i18n

    from . import modules, mrml_widgets, node_combo_box, segment_selector
    from .application import qSlicerApplication

    for source, names in (
        (mrml_widgets, ("qMRMLWidget", "qSlicerWidget")),
        (node_combo_box, ("qMRMLNodeComboBox",)),
        (segment_selector, ("qMRMLSegmentSelectorWidget",)),
        (modules, ("qSlicerScriptedLoadableModule", "qSlicerScriptedLoadableModuleWidget")),
    ):
        for name in names:
            setattr(slicer, name, getattr(source, name))

    application = qSlicerApplication()
    slicer.app = application
    application.build()

    from . import parameter_node, scripted_loadable_module

    for name, module in (
        ("ScriptedLoadableModule", scripted_loadable_module),
        ("parameterNodeWrapper", parameter_node),
    ):
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)

    atexit.register(application.release)
    return application
