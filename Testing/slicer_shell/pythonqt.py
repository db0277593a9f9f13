"""PythonQt's conventions on PySide6's classes: properties are attributes, signals connect by signature.

Slicer's Python sees Qt through PythonQt. Differences that a module notices are patched into PySide6's
classes, for the whole process: `button.text` is a string, `button.connect("clicked()", f)` connects,
`widget.name` is the object's name, dynamic properties are attributes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

# Virtual functions of C++ that a property is named after: a Python property would hide what Qt calls.
VIRTUAL = {"sizeHint", "minimumSizeHint"}

_originalGetAttribute: Callable[[Any, str], Any] | None = None
_connections: dict[tuple[int, str, Any], list[Any]] = {}


def install() -> None:
    """Patch PySide6's classes once."""
    global _originalGetAttribute
    if _originalGetAttribute is not None:
        return
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            candidate = getattr(module, name, None)
            if inspect.isclass(candidate) and issubclass(candidate, QtCore.QObject):
                patch_properties(candidate)
    # PythonQt's name, which PySide6 only warns of.
    QtWidgets.QDialog.exec_ = QtWidgets.QDialog.exec
    QtWidgets.QMenu.exec_ = QtWidgets.QMenu.exec
    _originalGetAttribute = QtCore.QObject.__getattribute__
    QtCore.QObject.__getattribute__ = _get_attribute


def patch_properties(qtClass: type) -> None:
    """Make the properties that a class itself declares attributes of the class."""
    metaObject = qtClass.staticMetaObject
    for index in range(metaObject.propertyOffset(), metaObject.propertyCount()):
        name = metaObject.property(index).name()
        if name not in VIRTUAL:
            original = getattr(qtClass, name, None)
            setattr(qtClass, name, _make_property(name, metaObject.property(index).isWritable(), original))


class _QtProperty(property):
    """A property that leaves a static function of the same name on the class, as `QTimer.singleShot` is."""

    original: Any = None

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self.original if instance is None else super().__get__(instance, owner)


def _make_property(name: str, writable: bool, original: Any) -> property:
    def read(self: Any) -> Any:
        return self.property(name)

    setter = "set" + name[0].upper() + name[1:]

    def write(self: Any, value: Any) -> None:
        if hasattr(type(self), setter):
            # Enums do not survive the way through QVariant.
            getattr(self, setter)(value)
        elif not self.setProperty(name, value):
            raise ValueError(f"{type(self).__name__}.{name} does not take {value!r}")

    made = _QtProperty(read, write if writable else None)
    made.original = original
    return made


def _get_attribute(self: Any, name: str) -> Any:
    assert _originalGetAttribute is not None
    if name in ("connect", "disconnect"):
        return _by_signature(self, name)
    try:
        return _originalGetAttribute(self, name)
    except AttributeError:
        if name.startswith("__"):
            raise
        if name == "name":
            return self.objectName
        if name == "className":
            return lambda: getattr(type(self), "slicerClassName", self.metaObject().className())
        if name == "delete":
            return lambda: shiboken6.delete(self)
        if name in [bytes(each.data()).decode() for each in self.dynamicPropertyNames()]:
            return self.property(name)
        raise


def _set_name(self: Any, name: str) -> None:
    self.setObjectName(name)


def _by_signature(sender: Any, name: str) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        if arguments and not isinstance(arguments[0], str):
            # PySide6's own C++, for example QTimer.singleShot, comes through here too.
            return _originalGetAttribute(sender, name)(*arguments)
        return connect(sender, *arguments) if name == "connect" else disconnect(sender, *arguments)

    return call


QtCore.QObject.name = property(lambda self: self.property("objectName"), _set_name)


def connect(sender: Any, signature: str, *receiver: Any) -> bool:
    """Connect by signature, as `button.connect("clicked()", f)` or `(signature, object, "slot()")`.

    Raises:
        ValueError: no such signal. PythonQt only prints that; a test should not overlook it.
    """
    function = _receiver(receiver)
    normalised = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    signalName = _signal_attribute(sender, normalised)
    adapted = _take_as_many_arguments_as_accepted(function)
    if signalName is not None:
        signal = getattr(sender, signalName)
        signal.connect(adapted)
        handle = (signal, adapted)
    else:
        if sender.metaObject().indexOfSignal(normalised) < 0:
            raise ValueError(f"{sender.metaObject().className()} has no signal {signature}")
        QtCore.QObject.connect(sender, QtCore.SIGNAL(normalised), adapted)
        handle = (normalised, adapted)
    _connections.setdefault(_key(sender, normalised, function), []).append(handle)
    return True


def disconnect(sender: Any, signature: str | None = None, *receiver: Any) -> bool:
    """Undo `connect`; without a receiver, all that was connected to the signal by signature."""
    if signature is None:
        signatures = {key[1] for key in _connections if key[0] == id(sender)}
        undone = [disconnect(sender, each, None) for each in signatures]
        return all(undone)
    normalised = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    if receiver and receiver[0] is not None:
        keys = [_key(sender, normalised, _receiver(receiver))]
    else:
        keys = [key for key in _connections if key[:2] == (id(sender), normalised)]
    handles = [handle for key in keys for handle in _connections.pop(key, [])]
    for signal, adapted in handles:
        if isinstance(signal, str):
            QtCore.QObject.disconnect(sender, QtCore.SIGNAL(signal), adapted)
        else:
            signal.disconnect(adapted)
    return bool(handles)


def connection_count(sender: Any, signature: str | None = None) -> int:
    """How many functions are connected to an object by signature; for tests that look for leftovers."""
    return sum(
        len(handles)
        for key, handles in _connections.items()
        if key[0] == id(sender) and signature in (None, key[1])
    )


def _key(sender: Any, signature: str, function: Any) -> tuple[int, str, Any]:
    # A bound method is a new object at each access but compares equal to itself.
    return (id(sender), signature, function)


def _receiver(receiver: tuple[Any, ...]) -> Callable[..., Any]:
    if len(receiver) == 1 and callable(receiver[0]):
        return receiver[0]
    if len(receiver) == 2 and isinstance(receiver[1], str):
        return getattr(receiver[0], receiver[1].partition("(")[0])
    raise ValueError("connect takes a function, or an object and a slot's signature")


def _signal_attribute(sender: Any, normalised: str) -> str | None:
    for owner in type(sender).__mro__:
        named = vars(owner).get("slicerSignals", {})
        if normalised in named:
            return named[normalised]
        if named and normalised in {f"{name}()" for name in _argument_free_names(named)}:
            raise ValueError(f"{owner.__name__} has {sorted(named)}, not {normalised}")
    return None


def _argument_free_names(named: dict[str, str]) -> set[str]:
    return {re.sub(r"\(.*", "", signature) for signature in named}


def _take_as_many_arguments_as_accepted(function: Callable[..., Any]) -> Callable[..., Any]:
    """PythonQt drops the arguments of a signal that the function does not take."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return lambda *arguments: function(*arguments)
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return lambda *arguments: function(*arguments)
    accepted = sum(each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in parameters)
    return lambda *arguments: function(*arguments[:accepted])


def invented_attributes(root: QtCore.QObject) -> list[str]:
    """Attributes that were set on plain Qt objects though Qt has no such property.

    PythonQt refuses them ("creating new attributes on C++ objects is not allowed"); PySide6 cannot be made
    to.
    """
    found = []
    for each in [root, *root.findChildren(QtCore.QObject)]:
        if type(each).__module__.startswith("PySide6"):
            # PySide6 keeps the signals there too.
            names = [
                name for name, value in vars(each).items() if not isinstance(value, QtCore.SignalInstance)
            ]
            found += [f"{type(each).__name__} {each.objectName!r}: {name}" for name in names]
    return found
