"""What is known of a lesion that is being clicked, and of the volume that it lies in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import slicer

from SlicerMSAMLib import click_memory
from SlicerMSAMLib.inference_worker import Job
from SlicerMSAMLib.lesion_sessions import LesionSessions, Update
from SlicerMSAMLib.volume_geometry import ijk_to_ras, image_of, voxels_of


@dataclass(eq=False)
class Lesion:
    """What is known of one segment that is being clicked.

    Attributes:
        segmentation: the user's segmentation.
        segment_id: the segment in it.
        update: the newest result, None before the first.
        jobs: open jobs that change this lesion.
        content: fingerprint of the segment when it was last read or written; None when unknown.
        accepted: fingerprint of the mask that was last accepted.
        accept_when_done: whether to accept as soon as no job is open.
        is_beyond_recall: whether the clicks that its segment carries could not be made again, for example
            because the model takes no background clicks; the segment's mask is the start then.
    """

    segmentation: slicer.vtkMRMLSegmentationNode
    segment_id: str
    update: Update | None = None
    jobs: list[Job] = field(default_factory=list)
    content: str | None = None
    accepted: str | None = None
    accept_when_done: bool = False
    is_beyond_recall: bool = False

    @property
    def segment(self) -> slicer.vtkSegment | None:
        """The segment, or None when it was removed."""
        return self.segmentation.GetSegmentation().GetSegment(self.segment_id)

    @property
    def is_accepted(self) -> bool:
        """Whether the segment holds what the clicks say."""
        if self.update is None:
            return True
        return self.update.content in (self.content, self.accepted)


class VolumeInUse:
    """One volume as the worker sees it: voxels first, an image and sessions once a job needs them.

    Args:
        node: the volume.
        model: name of the network.
    """

    def __init__(self, node: slicer.vtkMRMLScalarVolumeNode, model: str) -> None:
        self.node = node
        self.model = model
        self.voxels = voxels_of(node)
        self.to_ras = ijk_to_ras(node)
        self.modified = node.GetImageData().GetMTime()
        self.geometry = click_memory.geometry_text(self.to_ras, self.voxels.shape)
        self.image: Any = None  # from here on the worker's thread only
        self.sessions: LesionSessions | None = None

    @property
    def is_stale(self) -> bool:
        """Whether the node has other voxels now, or lies elsewhere."""
        data = self.node.GetImageData()
        return (
            data is None
            or data.GetMTime() != self.modified
            or not np.array_equal(ijk_to_ras(self.node), self.to_ras)
        )

    def ready_image(self) -> Any:
        """Return the volume as an image; on the worker's thread."""
        if self.image is None:
            self.image = image_of(self.voxels, self.to_ras)
        return self.image
