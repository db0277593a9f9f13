"""Exceptions in slots and observers: Qt and VTK print them and go on, and a test would not notice."""

from __future__ import annotations

import sys
import types

exceptions: list[BaseException] = []


def install() -> None:
    """Keep what Python would only print; it is printed as well."""

    def remember(kind: type[BaseException], value: BaseException, trace: types.TracebackType | None) -> None:
        exceptions.append(value)
        sys.__excepthook__(kind, value, trace)

    sys.excepthook = remember


def take() -> list[BaseException]:
    """What came since the last call."""
    found = list(exceptions)
    exceptions.clear()
    return found
