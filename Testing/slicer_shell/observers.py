"""Count the observers of VTK objects, to find those that a module left behind."""

from __future__ import annotations

from typing import Any


def count_observers(observed: Any, event: int | str | None = None, cpp: bool = False) -> int:
    """How many observers a node, a logic or a scene has for an event, or for all events together.

    VTK does not list an object's observers, but finds one by its tag; tags count up, so all can be tried.

    Args:
        observed: any VTK object.
        event: an event's number or name.
        cpp: count also those that C++ added; a module's are all from Python.
    """
    last = observed.AddObserver("UserEvent", _nothing)
    observed.RemoveObserver(last)
    commands = [observed.GetCommand(tag) for tag in range(1, last)]
    commands = [each for each in commands if each is not None]
    if not cpp:
        commands = [each for each in commands if each.GetClassName() == "vtkPythonCommand"]
    if event is not None:
        commands = [each for each in commands if observed.HasObserver(event, each)]
    return len(commands)


def _nothing(caller: Any, event: str) -> None:
    """Observes only to learn the next tag."""
