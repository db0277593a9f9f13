"""From a series to an image, with its pixels decoded and in real values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MSAMLogic.dicom.frames import Frame
from MSAMLogic.dicom.quiet import quiet
from MSAMLogic.dicom.series import UNKNOWN, Series
from MSAMLogic.dicom.stacking import stack
from MSAMLogic.errors import ImageError
from MSAMLogic.geometry import ImageGrid

if TYPE_CHECKING:
    from pydicom import Dataset

_MODALITY = "0008|0060"
_MOST = 2.0**31


@dataclass(frozen=True)
class DicomSource:
    """Where an image came from: what a segmentation of it has to refer to.

    Attributes:
        headers: attributes without pixels, one for each slice in the image's order, or a single one where
            all slices are frames of one file.
        frame_numbers: for each slice its frame in the file, from 0.
        grid: that of the image.
        modality: for example "CT".
    """

    headers: tuple[Dataset, ...]
    frame_numbers: tuple[int, ...]
    grid: ImageGrid
    modality: str


def read_series(series: Series) -> tuple[sitk.Image, DicomSource, tuple[str, ...]]:
    """Read a series as a volume.

    Returns:
        The image, int16 or int32 where rescaling gives whole numbers, else float32; what it came from; and
        what the user should know. Of the header only the modality goes into the image's metadata.

    Raises:
        ImageError: when the slices make no volume, or a slice cannot be decoded.
    """
    try:
        frames, grid, notes = stack(series.frames)
    except ImageError as error:
        raise ImageError(f"The series cannot be read as a volume: {error}.") from error
    with quiet():
        array = _decode(frames)
    image = grid.image(array, grid.whole)
    if series.modality != UNKNOWN:
        image.SetMetaData(_MODALITY, series.modality)
    if series.modality == "CT" and not all(frame.scaled for frame in frames):
        notes.append(
            "The series does not say how to make Hounsfield units of its values; they are taken as such."
        )
    headers = [frame.header for frame in frames]
    if all(header is headers[0] for header in headers):
        headers = headers[:1]
    source = DicomSource(tuple(headers), tuple(frame.number for frame in frames), grid, series.modality)
    return image, source, (*series.notes, *notes)


def _decode(frames: list[Frame]) -> NDArray[Any]:
    """Return real values (k, j, i) of ordered frames."""
    scales = {v for frame in frames for v in (frame.slope, frame.intercept)}
    whole = all(v.is_integer() and abs(v) < _MOST for v in scales)
    volume: NDArray[Any] = np.zeros((len(frames), *frames[0].size), np.int16 if whole else np.float32)
    for k, (frame, stored) in enumerate(zip(frames, _stored(frames), strict=True)):
        if whole and stored.dtype.kind in "iu":
            values = stored * int(frame.slope) + int(frame.intercept)
        else:
            values = stored * frame.slope + frame.intercept
        least, most = float(values.min()), float(values.max())
        if not -_MOST < least <= most < _MOST:
            raise ImageError("The series has values of more than 32 bits, which is not supported.")
        if values.dtype.kind == "f":
            volume = volume.astype(np.float32, copy=False)
        elif volume.dtype == np.int16 and not -(2**15) <= least <= most < 2**15:
            volume = volume.astype(np.int32)
        volume[k] = values
    return volume


def _stored(frames: list[Frame]) -> Iterator[NDArray[Any]]:
    """Yield the stored values (rows, columns) of each frame, wide enough for whole rescaling."""
    from pydicom.pixels import pixel_array  # type: ignore[attr-defined]

    for k, frame in enumerate(frames):
        try:
            stored = pixel_array(frame.path, index=frame.number, raw=True)
        except MemoryError:
            raise
        except Exception:  # decoders and parser raise what they like on damaged bytes
            raise ImageError(
                f"Slice {k + 1} of {len(frames)} cannot be decoded: its pixels are damaged or end early, or "
                f"are compressed in a way that is not supported ({_transfer_syntax(frame)}); copy the series "
                "again, or have it exported uncompressed."
            ) from None  # what they say can quote the header
        if stored.shape != frame.size:
            raise ImageError(f"Slice {k + 1} of {len(frames)} has another size than its header says.")
        yield stored.astype(np.int64) if stored.dtype.kind in "iu" else stored


def _transfer_syntax(frame: Frame) -> str:
    try:
        return str(frame.header.file_meta.TransferSyntaxUID.name)
    except Exception:  # missing or damaged
        return "unknown transfer syntax"
