"""Nodes that belong to the module: not in lists, not saved with the scene."""

from __future__ import annotations

import slicer


def add_own_node(class_name: str, name: str) -> slicer.vtkMRMLDisplayableNode:
    """Return a new node with a display node, both hidden from lists and left out of saved scenes.

    Args:
        class_name: a displayable MRML class.
        name: made unique in the scene.
    """
    node = slicer.mrmlScene.CreateNodeByClass(class_name)
    node.UnRegister(None)  # the scene holds it from here on
    node.SetName(slicer.mrmlScene.GenerateUniqueName(name))
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetSaveWithScene(False)
    return node
