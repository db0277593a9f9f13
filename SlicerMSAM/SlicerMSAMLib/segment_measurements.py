"""Measuring segments in the background, behind everything that the user asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable

import SimpleITK as sitk
import slicer

from MSAMLogic.errors import MSAMError
from MSAMLogic.measurements import LesionMeasurements, measure
from SlicerMSAMLib import click_memory
from SlicerMSAMLib.inference_worker import InferenceWorker, Job
from SlicerMSAMLib.segment_access import read_segment

logger = logging.getLogger(__name__)


class SegmentMeasurements:
    """The newest measurements of each segment.

    Args:
        worker: measures when it has nothing else to do.
        on_change: called when there are new measurements.
    """

    def __init__(self, worker: InferenceWorker, on_change: Callable[[], object]) -> None:
        self._worker = worker
        self._on_change = on_change
        self._open: dict[str, Job] = {}
        self._values: dict[str, LesionMeasurements] = {}

    def of(self, segment_id: str) -> LesionMeasurements | None:
        """Return the measurements of a segment, or None while there are none."""
        return self._values.get(segment_id)

    def measure(self, segment_id: str, mask: sitk.Image, image: Callable[[], sitk.Image]) -> None:
        """Measure a mask in place of what was known of its segment.

        Args:
            segment_id: the segment.
            mask: in its box, on the volume's voxels, LPS.
            image: returns the volume; called on the worker's thread.
        """
        if click_memory.fingerprint(mask) == "empty":
            self._values.pop(segment_id, None)
            return

        def done(values: LesionMeasurements) -> None:
            self._open.pop(segment_id, None)
            self._values[segment_id] = values
            self._on_change()

        def failed(error: Exception) -> None:
            self._open.pop(segment_id, None)
            logger.info("Segment %s is not measured: %s", segment_id, error)

        def cancelled() -> None:
            self._open.pop(segment_id, None)

        job = Job(lambda job: measure(image(), mask), done, failed, cancelled)
        self._open[segment_id] = job
        self._worker.submit(job)

    def measure_all(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        volume: slicer.vtkMRMLScalarVolumeNode,
        image: Callable[[], sitk.Image],
    ) -> None:
        """Measure all segments of a segmentation that are not measured yet.

        Args:
            segmentation: the segments.
            volume: the volume that they lie in.
            image: returns the volume; called on the worker's thread.
        """
        for segment_id in segmentation.GetSegmentation().GetSegmentIDs():
            if segment_id in self._values or segment_id in self._open:
                continue
            try:
                self.measure(segment_id, read_segment(segmentation, segment_id, volume), image)
            except MSAMError as error:
                logger.info("Segment %s is not measured: %s", segment_id, error)

    def give_way(self) -> None:
        """Drop what is not measured yet: something more urgent has come, and changes it anyway."""
        self._worker.cancel(list(self._open.values()))

    def clear(self) -> None:
        """Forget everything."""
        self.give_way()
        self._values.clear()
