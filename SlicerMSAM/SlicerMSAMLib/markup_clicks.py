"""Clicks as markups: two lists of control points, one for the lesion and one against it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SlicerMSAMLib.own_nodes import add_own_node

LESION_COLOUR = (0.20, 0.85, 0.30)
BACKGROUND_COLOUR = (0.95, 0.25, 0.20)
_GLYPH_SCALE = 1.4  # per cent of the view: small enough not to hide what was clicked
Ras = tuple[float, float, float]


class MarkupClicks(VTKObservationMixin):
    """The control points of the selected lesion.

    The points belong to this module: they are made anew from the lesion's clicks whenever it is selected,
    so they are not saved with the scene. What the user does to them is told by callbacks; what the
    module does itself is not.

    Args:
        on_placed: called with world RAS and sign when the user has placed a point.
        on_changed: called when the user has moved or deleted a point.
    """

    def __init__(self, on_placed: Callable[[Ras, bool], object], on_changed: Callable[[], object]) -> None:
        VTKObservationMixin.__init__(self)
        self._on_placed = on_placed
        self._on_changed = on_changed
        self._nodes: dict[bool, slicer.vtkMRMLMarkupsFiducialNode] = {}
        self._order: list[tuple[bool, str]] = []  # sign and control point ID, oldest first
        self._is_ours = False

    def points(self) -> list[tuple[Ras, bool]]:
        """Return world RAS and sign of all points, oldest first."""
        found = []
        for positive, point_id in self._order:
            node = self._nodes.get(positive)
            index = node.GetNthControlPointIndexByID(point_id) if node is not None else -1
            if index >= 0:
                found.append((self._world(node, index), positive))
        return found

    def show(self, points: Sequence[tuple[Ras, bool]]) -> None:
        """Make the control points these, oldest first."""
        if [(_rounded(p), s) for p, s in points] == [(_rounded(p), s) for p, s in self.points()]:
            return
        self._is_ours = True
        try:
            for node in self._nodes.values():
                node.RemoveAllControlPoints()
            self._order = []
            for point, positive in points:
                node = self._node(positive)
                index = node.AddControlPointWorld(vtk.vtkVector3d(*point))
                self._order.append((positive, node.GetNthControlPointID(index)))
        finally:
            self._is_ours = False

    def set_visible(self, visible: bool) -> None:
        """Show or hide the points; hidden ones still count."""
        for node in self.nodes:
            if bool(node.GetDisplayNode().GetVisibility()) != visible:
                node.GetDisplayNode().SetVisibility(visible)

    def start_placing(self, positive: bool) -> None:
        """Let every click in a view place a point, until :meth:`stop_placing`."""
        node = self._node(positive)
        logic = slicer.app.applicationLogic()
        selection = logic.GetSelectionNode()
        selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
        selection.SetActivePlaceNodeID(node.GetID())
        interaction = logic.GetInteractionNode()
        interaction.SetPlaceModePersistence(1)
        interaction.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.Place)

    def stop_placing(self) -> None:
        """Let clicks do what they did before."""
        if self.is_placing:
            logic = slicer.app.applicationLogic()
            logic.GetInteractionNode().SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.ViewTransform)

    @property
    def is_placing(self) -> bool:
        """Whether a click in a view would place a point of ours."""
        logic = slicer.app.applicationLogic()
        if logic.GetInteractionNode().GetCurrentInteractionMode() != slicer.vtkMRMLInteractionNode.Place:
            return False
        active = logic.GetSelectionNode().GetActivePlaceNodeID()
        return any(node.GetID() == active for node in self._nodes.values())

    @property
    def nodes(self) -> list[slicer.vtkMRMLMarkupsFiducialNode]:
        """The nodes that hold the points."""
        return list(self._nodes.values())

    def forget(self) -> None:
        """Forget nodes that a closing scene takes with it."""
        self.removeObservers()
        self._nodes, self._order = {}, []

    def remove(self) -> None:
        """Stop placing, and take the nodes out of the scene."""
        self.stop_placing()
        nodes = self.nodes
        self.forget()
        for node in nodes:
            if slicer.mrmlScene.IsNodePresent(node):
                slicer.mrmlScene.RemoveNode(node)

    def _node(self, positive: bool) -> slicer.vtkMRMLMarkupsFiducialNode:
        node = self._nodes.get(positive)
        if node is not None and slicer.mrmlScene.IsNodePresent(node):
            return node
        name = _("Lesion clicks") if positive else _("Background clicks")
        node = add_own_node("vtkMRMLMarkupsFiducialNode", name)
        node.SetControlPointLabelFormat("")
        display = node.GetDisplayNode()
        colour = LESION_COLOUR if positive else BACKGROUND_COLOUR
        for paint in (display.SetSelectedColor, display.SetColor, display.SetActiveColor):
            paint(*colour)
        display.SetGlyphScale(_GLYPH_SCALE if positive else 1.3 * _GLYPH_SCALE)
        display.SetUseGlyphScale(True)
        display.SetGlyphType(
            slicer.vtkMRMLMarkupsDisplayNode.Sphere3D
            if positive
            else slicer.vtkMRMLMarkupsDisplayNode.Cross2D
        )
        display.SetPointLabelsVisibility(False)
        display.SetPropertiesLabelVisibility(False)
        events = slicer.vtkMRMLMarkupsNode
        self.addObserver(node, events.PointPositionDefinedEvent, self._point_was_placed)
        self.addObserver(node, events.PointRemovedEvent, self._points_were_changed)
        self.addObserver(node, events.PointEndInteractionEvent, self._points_were_changed)
        self._nodes[positive] = node
        return node

    def _point_was_placed(self, node: slicer.vtkMRMLMarkupsFiducialNode, event: object) -> None:
        if self._is_ours:
            return
        positive = node is self._nodes.get(True)
        known = {point_id for sign, point_id in self._order if sign is positive}  # IDs are a node's own
        for index in range(node.GetNumberOfControlPoints()):
            point_id = node.GetNthControlPointID(index)
            is_defined = node.GetNthControlPointPositionStatus(index) == node.PositionDefined
            if is_defined and point_id not in known:
                self._order.append((positive, point_id))
                self._on_placed(self._world(node, index), positive)

    def _points_were_changed(self, node: slicer.vtkMRMLMarkupsFiducialNode, event: object) -> None:
        if self._is_ours:
            return
        present = []
        for positive, point_id in self._order:
            held = self._nodes.get(positive)
            if held is not None and held.GetNthControlPointIndexByID(point_id) >= 0:
                present.append((positive, point_id))
        if event == slicer.vtkMRMLMarkupsNode.PointRemovedEvent and present == self._order:
            return  # the point that follows the mouse in place mode came and went
        self._order = present
        self._on_changed()

    @staticmethod
    def _world(node: slicer.vtkMRMLMarkupsFiducialNode, index: int) -> Ras:
        position = [0.0, 0.0, 0.0]
        node.GetNthControlPointPositionWorld(index, position)
        return (position[0], position[1], position[2])


def _rounded(point: Ras) -> Ras:
    x, y, z = (round(v, 4) for v in point)
    return (x, y, z)
