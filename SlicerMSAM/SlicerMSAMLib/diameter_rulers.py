"""The two diameters of the selected lesion as lines in the views."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk
from slicer.i18n import tr as _

from MSAMLogic.measurements import Diameters
from SlicerMSAMLib.markup_clicks import Ras
from SlicerMSAMLib.own_nodes import add_own_node

_COLOUR = (1.0, 1.0, 1.0)


class DiameterRulers:
    """Two line markups that belong to the module: not editable, not saved with the scene."""

    def __init__(self) -> None:
        self._nodes: list[slicer.vtkMRMLMarkupsLineNode] = []

    @property
    def nodes(self) -> list[slicer.vtkMRMLMarkupsLineNode]:
        """The lines in the scene: long axis, short axis."""
        return [node for node in self._nodes if slicer.mrmlScene.IsNodePresent(node)]

    def show(self, diameters: Diameters, world_of: Callable[[tuple[float, float, float]], Ras]) -> None:
        """Show the diameters.

        Args:
            diameters: with ends in the volume's own LPS.
            world_of: maps these to world RAS.
        """
        if len(self.nodes) != 2:
            self.remove()
            self._nodes = [_line(_("Long axis")), _line(_("Short axis"))]
        for node, ends in zip(self._nodes, (diameters.long_ends, diameters.short_ends), strict=True):
            node.SetLocked(False)
            for index, end in enumerate(ends):
                point = vtk.vtkVector3d(*world_of(end))
                if node.GetNumberOfControlPoints() <= index:
                    node.AddControlPointWorld(point)
                else:
                    node.SetNthControlPointPositionWorld(index, point)
            node.SetLocked(True)

    def remove(self) -> None:
        """Take the lines out of the scene."""
        nodes, self._nodes = self.nodes, []
        for node in nodes:
            slicer.mrmlScene.RemoveNode(node)

    def forget(self) -> None:
        """Forget lines that a closing scene takes with it."""
        self._nodes = []


def _line(name: str) -> slicer.vtkMRMLMarkupsLineNode:
    node = add_own_node("vtkMRMLMarkupsLineNode", name)
    display = node.GetDisplayNode()
    for paint in (display.SetSelectedColor, display.SetColor):
        paint(*_COLOUR)
    display.SetGlyphScale(0.8)
    display.SetLineThickness(0.45)
    display.SetPointLabelsVisibility(False)
    # The table has the figures; two labels on one lesion would lie on each other and on it.
    display.SetPropertiesLabelVisibility(False)
    return node
