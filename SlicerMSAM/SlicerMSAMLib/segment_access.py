"""Read and write one segment of the user's segmentation, and leave its neighbours alone."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import slicer

from MSAMLogic.errors import ImageError
from MSAMLogic.geometry import ImageGrid
from MSAMLogic.voxels import VoxelSet
from SlicerMSAMLib.volume_geometry import labelmap_of, mask_of, transform_between

SEMIAUTOMATIC = ("DICOM.SegmentAlgorithmType", "SEMIAUTOMATIC")
_SEGMENT_EDITOR_TAG = "SegmentEditor"


def read_segment(
    segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, volume: slicer.vtkMRMLScalarVolumeNode
) -> sitk.Image:
    """Return a segment's mask in the volume's own LPS, in its box; one voxel of 0 when it is empty.

    Raises:
        ImageError: when segmentation and volume cannot be compared, or the segment has no labelmap.
    """
    inside = segmentation.GetSegmentation()
    segment = inside.GetSegment(segment_id)
    if segment is None:
        raise ImageError("The segment was removed; choose another one.")
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    if segment.GetRepresentation(name) is None and not inside.CreateRepresentation(name):
        raise ImageError(f"Segment '{segment.GetName()}' cannot be turned into a labelmap.")
    labelmap = slicer.vtkOrientedImageData()
    # False for an empty segment, whose labelmap has no extent.
    segmentation.GetBinaryLabelmapRepresentation(segment_id, labelmap)
    return mask_of(labelmap, transform_between(segmentation, volume))


class SegmentWriter:
    """Writes accepted masks through Slicer's segment editor logic.

    Each acceptance is one step of the Segment Editor's undo when that has the segmentation open; here the
    clicks have a history of their own. The masking settings of the Segment Editor
    (editable area, intensity range) apply; other segments are never overwritten, whatever its overwrite
    setting, because a reader who clicks on one lesion does not expect the next one to shrink.
    """

    def __init__(self) -> None:
        self._logic: slicer.vtkSlicerSegmentEditorLogic | None = None

    @property
    def logic(self) -> slicer.vtkSlicerSegmentEditorLogic:
        """The logic that writes."""
        if self._logic is None:
            self._logic = slicer.vtkSlicerSegmentEditorLogic()
            self._logic.SetMRMLScene(slicer.mrmlScene)
        return self._logic

    def write(
        self,
        mask: sitk.Image,
        segmentation: slicer.vtkMRMLSegmentationNode,
        segment_id: str,
        volume: slicer.vtkMRMLScalarVolumeNode,
    ) -> bool:
        """Make a segment equal to a mask where they differ.

        Args:
            mask: in its box, in the volume's own LPS.
            segmentation: the user's.
            segment_id: the segment to write.
            volume: the volume that was clicked.

        Returns:
            Whether anything differed.

        Raises:
            ImageError: when segmentation and volume cannot be compared.
        """
        to_target = transform_between(volume, segmentation)
        added, removed = _changes(mask, read_segment(segmentation, segment_id, volume))
        if added is None and removed is None:
            return False
        to_own = None if np.array_equal(to_target, np.eye(4)) else to_target
        editor = self._editor_node(segmentation, segment_id, volume)
        logic = self.logic
        logic.SetSegmentEditorNode(editor)
        try:
            save_in_segment_editor(segmentation)
            # Not ModificationModeSet: it empties the whole segment first, whatever the extent.
            for box, mode in (
                (removed, logic.ModificationModeRemove),
                (added, logic.ModificationModeAdd),
            ):
                if box is not None:
                    modifier = labelmap_of(box, volume, to_own)
                    logic.ModifySegmentByLabelmap(
                        segmentation, segment_id, modifier, mode, modifier.GetExtent(), False, False
                    )
        finally:
            logic.SetSegmentEditorNode(None)
            slicer.mrmlScene.RemoveNode(editor)
        # A proposal is no longer a machine's alone once a reader has corrected it.
        segmentation.GetSegmentation().GetSegment(segment_id).SetTag(*SEMIAUTOMATIC)
        return True

    def close(self) -> None:
        """Let go of the scene."""
        if self._logic is not None:
            self._logic.SetMRMLScene(None)
            self._logic = None

    def _editor_node(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        segment_id: str,
        volume: slicer.vtkMRMLScalarVolumeNode,
    ) -> slicer.vtkMRMLSegmentEditorNode:
        """Return settings for one write: the user's masking, no overwriting."""
        editor = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        editor.UnRegister(None)
        editor.SetSaveWithScene(False)
        editor.SetHideFromEditors(True)
        users = slicer.mrmlScene.GetSingletonNode(_SEGMENT_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        slicer.mrmlScene.AddNode(editor)
        editor.SetAndObserveSegmentationNode(segmentation)
        editor.SetAndObserveSourceVolumeNode(volume)
        editor.SetSelectedSegmentID(segment_id)
        if users is not None and users.GetSegmentationNode() is segmentation:
            editor.SetMaskMode(users.GetMaskMode())
            if users.GetMaskSegmentID():
                editor.SetMaskSegmentID(users.GetMaskSegmentID())
            editor.SetSourceVolumeIntensityMask(users.GetSourceVolumeIntensityMask())
            editor.SetSourceVolumeIntensityMaskRange(users.GetSourceVolumeIntensityMaskRange())
        editor.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
        return editor


def save_in_segment_editor(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Let an open Segment Editor take what comes next back with its own undo button."""
    widget = getattr(slicer.modules, "SegmentEditorWidget", None)
    editor = getattr(widget, "editor", None)
    if editor is not None and editor.segmentationNode() is segmentation:
        editor.saveStateForUndo()


def _changes(wanted: sitk.Image, present: sitk.Image) -> tuple[sitk.Image | None, sitk.Image | None]:
    """Return what must be added to and removed from a mask, each in its tight box, None for nothing."""
    grid = ImageGrid.of(wanted)
    region = grid.whole
    if sitk.GetArrayViewFromImage(present).any():  # an empty segment lies nowhere, maybe far away
        region = region.union(grid.region_of_image(present))
    frame = grid.reference(region)
    want, have = (
        sitk.GetArrayFromImage(sitk.Resample(image, frame, sitk.Transform(), sitk.sitkNearestNeighbor, 0)) > 0
        for image in (wanted, present)
    )

    def boxed(voxels: np.ndarray) -> sitk.Image | None:
        found = VoxelSet.of(voxels, region)
        if found.empty:
            return None
        return grid.image(found.read(found.region).astype(np.uint8), found.region)

    return boxed(want & ~have), boxed(have & ~want)
