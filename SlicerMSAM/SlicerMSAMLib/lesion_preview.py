"""The live mask: what the clicks say, shown before it is accepted.

It is a segmentation of the module's own, hidden from lists and not saved, so nothing of the user's
changes until the mask is accepted. An accepted mask stays in view beneath it: hiding that would be saved
with the scene. The preview's colour is therefore brighter and its outline wider.
"""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from SlicerMSAMLib.new_segments import FILL_OPACITY
from SlicerMSAMLib.own_nodes import add_own_node

_OUTLINE_WIDTH = 3
_BRIGHTER = 0.45  # share of white in the preview's colour
_SEGMENT = "Preview"


class LesionPreview:
    """One uncommitted mask in all views."""

    def __init__(self) -> None:
        self._node: slicer.vtkMRMLSegmentationNode | None = None

    @property
    def is_shown(self) -> bool:
        """Whether there is a mask in the views."""
        node = self._node
        return node is not None and node.GetSegmentation().GetNumberOfSegments() > 0

    @property
    def node(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The segmentation that shows the mask."""
        return self._node

    def show(
        self,
        labelmap: slicer.vtkOrientedImageData,
        volume: slicer.vtkMRMLScalarVolumeNode,
        colour: tuple[float, float, float],
        name: str,
    ) -> None:
        """Show a mask in place of the one before.

        Args:
            labelmap: in the volume's own RAS.
            volume: whose parent transforms apply to the mask too.
            colour: the segment's, RGB in [0, 1].
            name: of the lesion.
        """
        node = self._present_node()
        red, green, blue = (part + _BRIGHTER * (1 - part) for part in colour)
        bright = (red, green, blue)
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        segmentation = node.GetSegmentation()
        if segmentation.GetSegment(_SEGMENT) is None:
            segmentation.AddEmptySegment(_SEGMENT, name, bright)
        segment = segmentation.GetSegment(_SEGMENT)
        if segment.GetName() != name:
            segment.SetName(name)
        if segment.GetColor() != bright:
            segment.SetColor(*bright)
        slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
            labelmap, node, _SEGMENT, slicer.vtkSlicerSegmentationsModuleLogic.MODE_REPLACE
        )

    def hide(self) -> None:
        """Show nothing."""
        if self._node is not None and slicer.mrmlScene.IsNodePresent(self._node):
            self._node.GetSegmentation().RemoveAllSegments()

    def forget(self) -> None:
        """Forget a node that a closing scene takes with it."""
        self._node = None

    def remove(self) -> None:
        """Take the preview out of the scene."""
        node, self._node = self._node, None
        if node is not None and slicer.mrmlScene.IsNodePresent(node):
            slicer.mrmlScene.RemoveNode(node)

    def _present_node(self) -> slicer.vtkMRMLSegmentationNode:
        if self._node is not None and slicer.mrmlScene.IsNodePresent(self._node):
            return self._node
        node = add_own_node("vtkMRMLSegmentationNode", _("Lesion preview"))
        display = node.GetDisplayNode()
        display.SetOpacity2DFill(FILL_OPACITY)
        display.SetOpacity2DOutline(1.0)
        display.SetSliceIntersectionThickness(_OUTLINE_WIDTH)
        self._node = node
        return node
