"""Scans from files: whatever SimpleITK reads, and folders that hold one DICOM series."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from MSAMLogic.errors import ImageError


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
    return reader.Execute()
