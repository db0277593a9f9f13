"""What a test must not leave behind: nodes, observers of the scene, attributes that Qt does not have."""

from __future__ import annotations

import dataclasses
import gc

import slicer

from .observers import count_observers
from .pythonqt import invented_attributes


@dataclasses.dataclass(frozen=True)
class Stock:
    """Counts of what outlives a closed scene."""

    nodes: dict[str, int]
    sceneObservers: int
    interactionObservers: int


def take_stock() -> Stock:
    """Count now."""
    gc.collect()
    nodes: dict[str, int] = {}
    for index in range(slicer.mrmlScene.GetNumberOfNodes()):
        className = slicer.mrmlScene.GetNthNode(index).GetClassName()
        nodes[className] = nodes.get(className, 0) + 1
    logic = slicer.app.applicationLogic()
    return Stock(nodes, count_observers(slicer.mrmlScene), count_observers(logic.GetInteractionNode()))


def check(before: Stock) -> None:
    """Compare with an earlier count.

    Raises:
        AssertionError: something was left.
    """
    after = take_stock()
    extra = {
        className: count - before.nodes.get(className, 0)
        for className, count in after.nodes.items()
        if count > before.nodes.get(className, 0)
    }
    # A module's parameter node is a singleton and outlives a closed scene, in Slicer too.
    extra.pop("vtkMRMLScriptedModuleNode", None)
    assert not extra, f"nodes were left in the closed scene: {extra}"
    assert after.sceneObservers <= before.sceneObservers, "observers of the scene were left"
    assert after.interactionObservers <= before.interactionObservers, "observers of interaction were left"
    invented = invented_attributes(slicer.app.mainWindow())
    assert not invented, f"set though Qt has no such property: {invented}"
