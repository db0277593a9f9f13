"""Masks as files that other software opens: for research and for the archive of a hospital."""

from MSAMLogic.export.dicom_context import Algorithm
from MSAMLogic.export.dicom_segmentation import write_dicom_segmentation
from MSAMLogic.export.masks import write_mask
from MSAMLogic.export.measurement_report import write_measurement_report
from MSAMLogic.export.measurement_table import write_measurement_table
from MSAMLogic.export.segmentation_nrrd import (
    read_segments_nrrd,
    write_segmentation_nrrd,
    write_segments_nrrd,
)
from MSAMLogic.export.segments import Segment
from MSAMLogic.export.terminology import Code

__all__ = [
    "Algorithm",
    "Code",
    "Segment",
    "read_segments_nrrd",
    "write_dicom_segmentation",
    "write_mask",
    "write_measurement_report",
    "write_measurement_table",
    "write_segmentation_nrrd",
    "write_segments_nrrd",
]
