"""Scans from files: whatever SimpleITK reads, and folders that hold one DICOM series."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import SimpleITK as sitk

from MSAMLogic.errors import ImageError

_MODALITY = "0008|0060"
_NIFTI_HEADER = 348  # bytes


def read_image(path: Path) -> sitk.Image:
    """Read a volume from a file (NRRD, NIfTI, MHA, ...) or from a folder with one DICOM series.

    Raises:
        ImageError: when there is no such file, it cannot be read, or the folder holds no or several
            series.
    """
    if not path.exists():
        raise ImageError(f"There is no file or folder '{path}'; check the path.")
    try:
        if path.is_dir():
            return _read_series(path)
        _check_whole(path)
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise ImageError(
            f"'{path.name}' cannot be read as an image; use NRRD, NIfTI, MHA or a DICOM folder."
        ) from error


def _read_series(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        found = f"{len(series)} DICOM series" if series else "no DICOM series"
        raise ImageError(f"The folder '{folder.name}' holds {found}; give a folder with exactly one.")
    # GDCM orders the slices by their position along the normal, not by name.
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series[0]))
    reader.MetaDataDictionaryArrayUpdateOn()
    image = reader.Execute()
    if reader.HasMetaDataKey(0, _MODALITY):  # a series has no metadata of its own
        image.SetMetaData(_MODALITY, reader.GetMetaData(0, _MODALITY))
    return image


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
