"""Modules: loading a scripted module's file as Slicer does, and the registry behind `slicer.modules`."""

from __future__ import annotations

import importlib.util
import logging
import sys
import types
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .mrml_widgets import qMRMLWidget

# What qSlicerScriptedLoadableModule has; a module that sets anything else would fail in Slicer.
_MODULE_PROPERTIES = {
    "title": "",
    "category": "",
    "categories": [],
    "contributor": "",
    "contributors": [],
    "helpText": "",
    "acknowledgementText": "",
    "dependencies": [],
    "associatedNodeTypes": [],
    "hidden": False,
    "widgetRepresentationCreationEnabled": True,
    "icon": None,
    "index": -1,
    "path": "",
    "name": "",
}


class qSlicerLoadableModule:
    """A module of C++: here only its logic."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name = name
        self.title = name
        self._logic = logic

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> None:
        return None


class qSlicerScriptedLoadableModule:
    """A module of Python."""

    def __init__(self, name: str, path: Path) -> None:
        for each, value in _MODULE_PROPERTIES.items():
            object.__setattr__(self, each, list(value) if isinstance(value, list) else value)
        object.__setattr__(self, "_representation", None)
        self.name = name
        self.path = str(path)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _MODULE_PROPERTIES and not name.startswith("_"):
            raise AttributeError(f"a module has no property {name}")
        object.__setattr__(self, name, value)

    def logic(self) -> Any:
        # C++ makes a generic logic for a scripted module; nobody uses it.
        return None

    def widgetRepresentation(self) -> Any:
        if self._representation is None:
            self._representation = self.createNewWidgetRepresentation()
        return self._representation

    def createNewWidgetRepresentation(self) -> Any:
        widgetClass = getattr(sys.modules[self.name], self.name + "Widget", None)
        if widgetClass is None:
            return None
        representation = qSlicerScriptedLoadableModuleWidget(self.name, widgetClass)
        representation.setup()
        representation.setMRMLScene(slicer.mrmlScene)
        return representation

    def release(self) -> None:
        """Delete the widget; the widgets in it stop observing the scene, as their C++ destructors do."""
        if self._representation is None:
            return
        for each in [self._representation, *self._representation.findChildren(QtWidgets.QWidget)]:
            if hasattr(each, "setMRMLScene"):
                each.setMRMLScene(None)
        self._representation.deleteLater()
        self._representation = None


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The Qt widget around the Python widget class; it calls enter, exit and cleanup."""

    def __init__(self, moduleName: str, widgetClass: type) -> None:
        super().__init__()
        self.setObjectName(moduleName + "ModuleWidget")
        QtWidgets.QVBoxLayout(self)
        self.moduleName = moduleName
        self.entered = False
        self._self = widgetClass(self)
        setattr(slicer.modules, moduleName + "Widget", self._self)

    def self(self) -> Any:
        return self._self

    def setup(self) -> None:
        self._self.setup()

    def enter(self) -> None:
        self.entered = True
        self._call("enter")

    def exit(self) -> None:
        self.entered = False
        self._call("exit")

    def cleanup(self) -> None:
        self._call("cleanup")

    def setEditedNode(self, node: Any, role: str = "", context: str = "") -> bool:
        method = getattr(self._self, "setEditedNode", None)
        return bool(method(node, role, context)) if method is not None else False

    def _call(self, name: str) -> None:
        method = getattr(self._self, name, None)
        if method is not None:
            method()


class qSlicerModuleFactoryManager:
    """Knows the modules by name."""

    def __init__(self, manager: qSlicerModuleManager) -> None:
        self._manager = manager

    def loadedModuleNames(self) -> tuple[str, ...]:
        return tuple(self._manager.by_name)

    registeredModuleNames = loadedModuleNames
    instantiatedModuleNames = loadedModuleNames

    def isLoaded(self, name: str) -> bool:
        return name in self._manager.by_name


class qSlicerModuleManager(QtCore.QObject):
    """`slicer.app.moduleManager()`."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)
    moduleLoaded = QtCore.Signal(str)
    slicerSignals = {  # noqa: RUF012
        "moduleAboutToBeUnloaded(QString)": "moduleAboutToBeUnloaded",
        "moduleLoaded(QString)": "moduleLoaded",
    }

    def __init__(self) -> None:
        super().__init__()
        self.by_name: dict[str, Any] = {}
        self._factory = qSlicerModuleFactoryManager(self)

    def factoryManager(self) -> qSlicerModuleFactoryManager:
        return self._factory

    def module(self, name: str) -> Any:
        return self.by_name.get(name)

    def add(self, name: str, module: Any) -> None:
        """Register under `slicer.modules.<lowercase name>`."""
        self.by_name[name] = module
        setattr(slicer.modules, name.lower(), module)
        self.moduleLoaded.emit(name)

    def load(self, path: str | Path) -> Any:
        """Load a scripted module's file: folder on the path, class instantiated, registered by name."""
        path = Path(path).resolve()
        name = path.stem
        if name in self.by_name:
            return self.by_name[name]
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        source = _import_from(name, path)
        module = qSlicerScriptedLoadableModule(name, path)
        instance = getattr(source, name)(module)
        setattr(slicer.modules, name + "Instance", instance)
        if module.icon is None:
            module.icon = QtGui.QIcon()
        setup = getattr(instance, "setup", None)
        if setup is not None:
            setup()
        self.add(name, module)
        return module

    def unload(self, name: str) -> None:
        """Tell the module's widget to clean up, and forget the module."""
        self.moduleAboutToBeUnloaded.emit(name)
        module = self.by_name.pop(name)
        if isinstance(module, qSlicerScriptedLoadableModule):
            module.release()
            sys.modules.pop(name, None)
        for attribute in (name.lower(), name + "Widget", name + "Instance"):
            if hasattr(slicer.modules, attribute):
                delattr(slicer.modules, attribute)


def _import_from(name: str, path: Path) -> types.ModuleType:
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ImportError(f"not a Python file: {path}")
    source = importlib.util.module_from_spec(specification)
    sys.modules[name] = source
    try:
        specification.loader.exec_module(source)
    except BaseException:
        logging.exception("the module's file failed to load: %s", path)
        del sys.modules[name]
        raise
    return source
