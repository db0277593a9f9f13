"""Count the observers of VTK objects, to find those that a module left behind."""

from __future__ import annotations

import re
from typing import Any

import vtk


def count_observers(observed: Any, event: int | str | None = None) -> int:
    """How many observers a node or a scene has for an event, or for all events together.

    VTK does not list an object's observers to Python, but its printed form names each one's event. Observers
    of objects that are printed inside are indented deeper and do not count.
    """
    numbers = [int(number) for number in re.findall(r"^ {8}Event: (\d+)$", _own_part(observed), re.MULTILINE)]
    if event is None:
        return len(numbers)
    wanted = event if isinstance(event, int) else vtk.vtkCommand.GetEventIdFromString(event)
    return numbers.count(wanted)


def _own_part(observed: Any) -> str:
    lines = str(observed).splitlines()
    starts = [index for index, line in enumerate(lines) if line.strip() == "Registered Events:"]
    if not starts or not lines[starts[0]].startswith("  Registered"):
        return ""
    own = []
    for line in lines[starts[0] + 1 :]:
        if not line.startswith("    "):
            break
        own.append(line)
    return "\n".join(own)
