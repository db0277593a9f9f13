"""`slicer.parameterNodeWrapper`: typed members kept in a real vtkMRMLScriptedModuleNode.

Members may be str, bool, int, float, enums and MRML nodes, each with a default and the common validators.
Lists, dictionaries, packs and unions other than `Node | None` are not here.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

import slicer

from .annotations import (
    Choice,
    Decimals,
    Default,
    Maximum,
    Minimum,
    SingleStep,
    WithinRange,
    find,
    validate,
)
from .gui_connectors import SLICER_PARAMETER_NAME, create_connector

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Maximum",
    "Minimum",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]

SlicerParameterNamePropertyName = SLICER_PARAMETER_NAME


class _Parameter:
    """One member: its type, how it is written into the node, its default."""

    def __init__(self, name: str, hint: Any, classDefault: Any) -> None:
        self.name = name
        self.hint = hint
        annotations: tuple[Any, ...] = ()
        if typing.get_origin(hint) is Annotated:
            hint, *rest = typing.get_args(hint)
            annotations = tuple(rest)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
            members = [each for each in typing.get_args(hint) if each is not type(None)]
            if len(members) != 1 or not _is_node(members[0]):
                raise TypeError(f"{name}: the stand-in has no serializer for {hint}")
            hint = members[0]
        self.type = hint
        self.annotations = annotations
        self.default = self._make_default(classDefault)

    def _make_default(self, classDefault: Any) -> Any:
        if classDefault is not None:
            return classDefault
        given = find(self.annotations, Default)
        if given is not None:
            return given.value
        if _is_node(self.type):
            return None
        if isinstance(self.type, type) and issubclass(self.type, enum.Enum):
            return next(iter(self.type))
        if self.type in (str, bool, int, float):
            choice = find(self.annotations, Choice)
            return choice.choices[0] if choice is not None else self.type()
        raise TypeError(f"{self.name}: the stand-in has no serializer for {self.type}")

    def write(self, node: Any, value: Any) -> None:
        if _is_node(self.type):
            if value is not None and not isinstance(value, self.type):
                raise TypeError(f"{self.name} takes {self.type.__name__}, not {type(value).__name__}")
            # None is a value too, so a parameter of the same name says that the reference was set.
            with slicer.util.NodeModify(node):
                node.SetParameter(self.name, "")
                node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        if not isinstance(value, self.type) and not (self.type is float and isinstance(value, int)):
            raise TypeError(f"{self.name} takes {self.type.__name__}, not {type(value).__name__}")
        validate(self.annotations, value)
        node.SetParameter(self.name, self._text(value))

    def _text(self, value: Any) -> str:
        if isinstance(value, enum.Enum):
            return value.name
        if self.type is bool:
            return "True" if value else "False"
        return str(self.type(value))

    def read(self, node: Any) -> Any:
        if not node.HasParameter(self.name):
            self.write(node, self.default)
        if _is_node(self.type):
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.type is bool:
            return text == "True"
        if issubclass(self.type, enum.Enum):
            return self.type[text]
        return self.type(text)


def _is_node(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, slicer.vtkMRMLNode)


class _WrapperMethods:
    """What Slicer adds to a wrapped class."""

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode = parameterNode
        self._parameterGUIs: dict[int, dict[str, Any]] = {}
        self._guiVtkObserverTags: dict[int, int] = {}
        self._updatingGUIFromParameterNode = False
        for parameter in self.allParameters.values():
            if not parameterNode.HasParameter(parameter.name):
                parameter.write(parameterNode, parameter.default)

    def default(self, name: str) -> Any:
        return Default(self._parameter(name).default)

    @classmethod
    def dataType(cls, name: str) -> Any:
        return cls.allParameters[name].hint

    def getValue(self, name: str) -> Any:
        return self._parameter(name).read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        self._parameter(name).write(self.parameterNode, value)

    def _parameter(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return self.allParameters[name]

    def connectGui(self, gui: Any) -> int:
        widgets = (
            gui.findChildren(_widget_class()) if hasattr(gui, "isWidgetType") else list(vars(gui).values())
        )
        named = {each.property(SLICER_PARAMETER_NAME): each for each in widgets}
        return self.connectParametersToGui({name: each for name, each in named.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        connectors = {
            name: create_connector(widget, self._parameter(name).type, self._parameter(name).annotations)
            for name, widget in mapping.items()
        }
        tag = max(self._parameterGUIs, default=-1) + 1
        self._parameterGUIs[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.on_changed(self._gui_callback(name, connector))
        self._guiVtkObserverTags[tag] = self.AddObserver("ModifiedEvent", lambda *_: self._update_gui())
        return tag

    def disconnectGui(self, tag: int) -> None:
        for connector in self._parameterGUIs.pop(tag, {}).values():
            connector.on_changed(None)
        if tag in self._guiVtkObserverTags:
            self.RemoveObserver(self._guiVtkObserverTags.pop(tag))

    def _gui_callback(self, name: str, connector: Any) -> Callable[..., None]:
        def on_changed() -> None:
            if not self._updatingGUIFromParameterNode:
                with slicer.util.NodeModify(self):
                    self.setValue(name, connector.read())

        return on_changed

    def _update_gui(self) -> None:
        if self._updatingGUIFromParameterNode:
            return
        self._updatingGUIFromParameterNode = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in list(self._parameterGUIs.values()):
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updatingGUIFromParameterNode = False

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: Any) -> Any:
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def _widget_class() -> type:
    import qt

    return qt.QWidget


def _wrap(wrapped: type) -> type:
    hints = typing.get_type_hints(wrapped, include_extras=True)
    parameters = {name: _Parameter(name, hint, vars(wrapped).get(name)) for name, hint in hints.items()}
    for name, method in vars(_WrapperMethods).items():
        if name not in ("__dict__", "__weakref__", "__module__", "__doc__"):
            if name in parameters:
                raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
            setattr(wrapped, name, method)
    for name, parameter in parameters.items():
        setattr(wrapped, name, _member(parameter))
    wrapped.allParameters = parameters
    wrapped._is_parameter_node_wrapper = True
    return wrapped


def _member(parameter: _Parameter) -> property:
    return property(
        lambda self: parameter.read(self.parameterNode),
        lambda self, value: parameter.write(self.parameterNode, value),
    )


def parameterNodeWrapper(wrapped: type | None = None) -> Any:
    """Class decorator that keeps the annotated members in a parameter node."""
    return _wrap if wrapped is None else _wrap(wrapped)


def isParameterNodeWrapper(candidate: Any) -> bool:
    """Whether a class or an object was made by the decorator."""
    return getattr(candidate, "_is_parameter_node_wrapper", False)
