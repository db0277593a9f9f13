"""New segments and segmentations: names, colours, and what other software is told of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
import slicer
from slicer.i18n import tr as _

from MSAMLogic.export.segments import COLOURS
from MSAMLogic.export.terminology import ABNORMAL, LESION
from SlicerMSAMLib.volume_geometry import labelmap_of, transform_between

# As vtkSlicerTerminologiesModuleLogic writes it: list, category, type, modifier, list, region, modifier.
LESION_TERMINOLOGY = (
    f"Segmentation category and type - DICOM master list~{ABNORMAL}~{LESION}~^^"
    "~Anatomic codes - DICOM master list~^^~^^"
)
FILL_OPACITY = 0.30  # of masks in slices: the lesion is still seen


def add_segmentation(volume: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode:
    """Return a new segmentation for a volume, under the same transform, shown in all views."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{volume.GetName()} lesions")
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetOpacity2DFill(FILL_OPACITY)
    # First the transform: the reference geometry is kept relative to it, and files are written on it.
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is not None:
        item = hierarchy.GetItemByDataNode(volume)
        own = hierarchy.GetItemByDataNode(node)
        if item and own:
            hierarchy.SetItemParent(own, hierarchy.GetItemParent(item))
    return node


def add_lesion(segmentation: slicer.vtkMRMLSegmentationNode) -> str:
    """Return the ID of a new, empty segment with a colour and the terminology of a lesion."""
    inside = segmentation.GetSegmentation()
    name, colour = _free_name(inside, _("Lesion {number}")), _next_colour(inside)
    segment_id = inside.AddEmptySegment("", name, colour)
    _describe(inside.GetSegment(segment_id), "SEMIAUTOMATIC", "M-SAM")
    return segment_id


def add_found(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume: slicer.vtkMRMLScalarVolumeNode,
    found: Sequence[tuple[str, sitk.Image]],
    algorithm: str,
) -> list[str]:
    """Return the IDs of new segments that hold masks which nobody drew by hand.

    Each gets a labelmap of its own, so no neighbour is touched, and costs what its own box costs.

    Args:
        segmentation: the user's.
        volume: the volume that they were found in.
        found: a name, which gets a number, and a mask in its box, in the volume's own LPS.
        algorithm: what found them, for DICOM.

    Raises:
        ImageError: when segmentation and volume cannot be compared; nothing is added then.
    """
    to_target = transform_between(volume, segmentation)
    inside = segmentation.GetSegmentation()
    kind = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    added = []
    for name, mask in found:
        segment = slicer.vtkSegment()
        segment.SetName(_free_name(inside, name.replace("{", "{{").replace("}", "}}") + " {number}"))
        segment.SetColor(*_next_colour(inside))
        _describe(segment, "AUTOMATIC", algorithm)
        is_moved = not np.array_equal(to_target, np.eye(4))
        segment.AddRepresentation(kind, labelmap_of(mask, volume, to_target if is_moved else None))
        inside.AddSegment(segment)
        added.append(inside.GetSegmentIdBySegment(segment))
    return added


def _free_name(inside: slicer.vtkSegmentation, pattern: str) -> str:
    names = {inside.GetNthSegment(n).GetName() for n in range(inside.GetNumberOfSegments())}
    number = 1
    while pattern.format(number=number) in names:
        number += 1
    return pattern.format(number=number)


def _next_colour(inside: slicer.vtkSegmentation) -> tuple[float, float, float]:
    return COLOURS[inside.GetNumberOfSegments() % len(COLOURS)]


def _describe(segment: slicer.vtkSegment, algorithm_type: str, algorithm: str) -> None:
    segment.SetTerminology(LESION_TERMINOLOGY)
    segment.SetTag("DICOM.SegmentAlgorithmType", algorithm_type)
    segment.SetTag("DICOM.SegmentAlgorithmName", algorithm)
