"""Masks as files that other software opens."""

from MSAMLogic.export.masks import write_mask
from MSAMLogic.export.segmentation_nrrd import write_segmentation_nrrd

__all__ = ["write_mask", "write_segmentation_nrrd"]
