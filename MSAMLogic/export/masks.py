"""One call for every mask format; the file's name says which."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MSAMLogic.errors import ImageError
from MSAMLogic.export.segmentation_nrrd import write_segmentation_nrrd
from MSAMLogic.export.segments import Segment, check_is_mask, fill
from MSAMLogic.files import atomic_path
from MSAMLogic.geometry import ImageGrid

_PLAIN_FORMATS = (".nrrd", ".nii", ".nii.gz", ".mha")
_NIFTI_HEADER = 352  # bytes, with the four that say whether an extension follows
MASK_FORMATS = (".seg.nrrd", *_PLAIN_FORMATS)


def check_mask_format(path: Path) -> None:
    """Raise :class:`ImageError` unless the name of ``path`` is of a format that can be written."""
    # Capitals are refused because the libraries that read the file back know the small letters only.
    if not path.name.endswith(MASK_FORMATS) or path.name in MASK_FORMATS:
        raise ImageError(
            f"'{path.name}' is of no format that masks can be written in; use a name that ends in "
            f"{', '.join(MASK_FORMATS)}, or for a scan from DICOM in .dcm."
        )


def write_mask(path: Path, mask: sitk.Image, segment_name: str = "Lesion") -> None:
    """Write a mask, atomically: ``.seg.nrrd`` as a segmentation, else as a label map of 0 and 1.

    Args:
        path: ends in one of :data:`MASK_FORMATS`.
        mask: lesion where it is not 0.
        segment_name: for formats that hold a name.

    Raises:
        ImageError: when the format is another, cannot hold the geometry, or the mask is no 3D scalar
            image.
        OSError: when the file cannot be written.
    """
    check_mask_format(path)
    check_is_mask(mask)
    if path.name.endswith(".seg.nrrd"):
        write_segmentation_nrrd(path, mask, segment_name)
        return
    _write_plain(path, sitk.Cast(mask != 0, sitk.sitkUInt8))


def write_labels(path: Path, segments: Sequence[Segment], grid: ImageGrid) -> None:
    """Write segments as a label map of 0, 1, 2, ..., in their order, atomically.

    Args:
        path: ends in one of :data:`MASK_FORMATS` other than ``.seg.nrrd``.
        segments: one or more, which do not overlap.
        grid: the scan's, which the file gets.

    Raises:
        ImageError: when the format is another or cannot hold the geometry, the segments overlap or are more
            than 255, or a mask does not lie on the grid.
        OSError: when the file cannot be written.
    """
    check_mask_format(path)
    if not 1 <= len(segments) <= 255:
        raise ImageError(f"A label map holds from 1 to 255 segments, not {len(segments)}.")
    labels = np.zeros(grid.size[::-1], np.uint8)
    for label, array in enumerate(fill(segments, grid), start=1):
        if labels[array].any():
            raise ImageError("The segments overlap, which a label map cannot hold; write .seg.nrrd or .dcm.")
        labels[array] = label
    _write_plain(path, grid.image(labels, grid.whole))


def _write_plain(path: Path, labels: sitk.Image) -> None:
    with atomic_path(path) as partial:
        if path.name.endswith((".nii", ".nii.gz")):
            _write_nifti(partial, labels)
        else:
            _write(partial, labels)


def _write(path: Path, labels: sitk.Image) -> None:
    try:
        sitk.WriteImage(labels, str(path), useCompression=True)
    except RuntimeError as error:  # SimpleITK knows no other
        raise OSError(f"{path.parent} cannot be written to, or the disk is full") from error


def _write_nifti(path: Path, labels: sitk.Image) -> None:
    axes = np.asarray(labels.GetDirection()).reshape(3, 3)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        raise ImageError("NIfTI cannot hold axes that are not at right angles; write .seg.nrrd or .nrrd.")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial-") as folder:
        # ITK's NIfTI writer does not notice a full disk, so the file is measured, and packed here.
        plain = Path(folder) / "mask.nii"
        _write(plain, labels)
        if plain.stat().st_size < labels.GetNumberOfPixels() + _NIFTI_HEADER:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path.parent))
        if path.suffix == ".gz":
            with plain.open("rb") as source, gzip.open(path, "wb", compresslevel=6) as target:
                shutil.copyfileobj(source, target)
        else:
            plain.replace(path)
