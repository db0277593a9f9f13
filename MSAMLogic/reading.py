"""Scans from files: DICOM series, and whatever else SimpleITK reads."""

from __future__ import annotations

import gzip
import logging
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import SimpleITK as sitk

from MSAMLogic.errors import ImageError

if TYPE_CHECKING:
    from MSAMLogic.dicom import DicomSource

LOGGER = logging.getLogger(__name__)

_NIFTI_HEADER = 348  # bytes


@dataclass(frozen=True)
class Scan:
    """A volume that was read.

    Attributes:
        image: the voxels and where they lie.
        source: the DICOM headers it came from; ``None`` for other formats.
        notes: what the user should know about how it was read.
    """

    image: sitk.Image
    source: DicomSource | None = None
    notes: tuple[str, ...] = ()


def read_image(path: Path, series: str | None = None) -> sitk.Image:
    """Read a volume; what the user should know about it is logged as warnings.

    Args:
        path: a file (NRRD, NIfTI, MHA, DICOM, ...) or a folder with DICOM files.
        series: which series of the folder, as :func:`MSAMLogic.dicom.choose_series` takes it.

    Raises:
        ImageError: as :func:`read_scan`.
    """
    scan = read_scan(path, series)
    for note in scan.notes:
        LOGGER.warning(note)
    return scan.image


def read_scan(path: Path, series: str | None = None) -> Scan:
    """Read a volume, and for DICOM the headers that a segmentation of it has to refer to.

    Args:
        path: a file (NRRD, NIfTI, MHA, DICOM, ...) or a folder with DICOM files.
        series: which series of the folder, as :func:`MSAMLogic.dicom.choose_series` takes it; by default
            the only one.

    Raises:
        ImageError: when there is no such file, it cannot be read, or the folder holds no or several series,
            or one whose slices make no volume.
    """
    if not path.exists():
        raise ImageError(f"There is no file or folder '{path}'; check the path.")
    from MSAMLogic.dicom.series import is_dicom_file

    if path.is_dir() or is_dicom_file(path):
        return _read_dicom(path, series)
    try:
        _check_whole(path)
        return Scan(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise ImageError(
            f"'{path.name}' cannot be read as an image; use NRRD, NIfTI, MHA or a DICOM folder."
        ) from error


def _read_dicom(path: Path, series: str | None) -> Scan:
    from MSAMLogic.dicom import choose_series, find_series, read_series

    return Scan(*read_series(choose_series(find_series(path), series, path)))


def _check_whole(path: Path) -> None:
    """Raise :class:`ImageError` for a NIfTI file that ends early; SimpleITK fills it up without a word."""
    name = path.name.lower()
    if not name.endswith((".nii", ".nii.gz")):
        return
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    voxel = sitk.Image((1,) * reader.GetDimension(), reader.GetPixelID(), reader.GetNumberOfComponents())
    expected = voxel.GetSizeOfPixelComponent() * reader.GetNumberOfComponents() * math.prod(reader.GetSize())
    with path.open("rb") as file:
        is_compressed = file.read(2) == b"\x1f\x8b"
        file.seek(-4 if is_compressed else 0, 2)
        # The last four bytes of a gzip file are the length of its content, modulo 2**32.
        length = int.from_bytes(file.read(), "little") if is_compressed else file.tell()
    surplus = (length - expected) % 2**32 if is_compressed else length - expected
    if is_compressed and not _NIFTI_HEADER <= surplus < 2**20:  # those of the last part, where it has several
        surplus = _unpacked_length(path) - expected
    if surplus < _NIFTI_HEADER:
        raise ImageError(f"'{path.name}' cannot be read: it ends early or is damaged; copy it again.")


def _unpacked_length(path: Path) -> int:
    """Return the length of a gzip file's content; 0 when it ends early or is damaged."""
    length = 0
    try:
        with gzip.open(path) as file:
            while block := file.read(2**20):
                length += len(block)
    except (EOFError, OSError, zlib.error):
        return 0
    return length
