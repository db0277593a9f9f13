"""One call for every mask format; the file's name says which."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from MSAMLogic.errors import ImageError
from MSAMLogic.export.segmentation_nrrd import write_segmentation_nrrd
from MSAMLogic.files import atomic_path

_PLAIN_FORMATS = (".nrrd", ".nii", ".nii.gz", ".mha")
MASK_FORMATS = (".seg.nrrd", *_PLAIN_FORMATS)


def check_mask_format(path: Path) -> None:
    """Raise :class:`ImageError` unless the name of ``path`` is of a format that can be written."""
    if not path.name.lower().endswith(MASK_FORMATS):
        raise ImageError(
            f"'{path.name}' is of no format that masks can be written in; use {', '.join(MASK_FORMATS)}."
        )


def write_mask(path: Path, mask: sitk.Image, segment_name: str = "Lesion") -> None:
    """Write a mask, atomically: ``.seg.nrrd`` as a segmentation, else as a label map of 0 and 1.

    Args:
        path: ends in one of :data:`MASK_FORMATS`.
        mask: lesion where it is not 0.
        segment_name: for formats that hold a name.

    Raises:
        ImageError: when the format is another, or the mask is no 3D scalar image.
        OSError: when the file cannot be written.
    """
    check_mask_format(path)
    if path.name.lower().endswith(".seg.nrrd"):
        write_segmentation_nrrd(path, mask, segment_name)
        return
    labels = sitk.Cast(mask != 0, sitk.sitkUInt8)
    with atomic_path(path) as partial:
        sitk.WriteImage(labels, str(partial), useCompression=True)
