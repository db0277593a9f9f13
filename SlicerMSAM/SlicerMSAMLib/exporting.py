"""Segments as files: what the panel's export buttons do, with MSAMLogic's writers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from MSAMLogic.errors import ImageError
from MSAMLogic.export import Algorithm, Code, Segment, write_dicom_segmentation, write_segments_nrrd
from MSAMLogic.export.masks import write_labels
from MSAMLogic.export.terminology import ABNORMAL, LESION
from SlicerMSAMLib.segment_access import read_segment
from SlicerMSAMLib.volume_geometry import grid_of, ijk_to_ras


def export(
    path: Path,
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume: slicer.vtkMRMLScalarVolumeNode,
    algorithm: Algorithm,
    database: Any = None,
) -> None:
    """Write all segments that are not empty, atomically.

    Args:
        path: its ending says what to write: ``.seg.nrrd``, ``.nii``, ``.nii.gz`` or ``.dcm``.
        segmentation: the segments.
        volume: the volume that they belong to; the files get its grid, in its own coordinates.
        algorithm: what drew them, for DICOM.
        database: Slicer's DICOM database, for DICOM.

    Raises:
        ImageError: when there is nothing to write, or the format cannot hold it.
        OSError: when the file cannot be written.
    """
    segments = segments_of(segmentation, volume)
    grid = grid_of(ijk_to_ras(volume), volume.GetImageData().GetDimensions())
    if path.name.endswith(".dcm"):
        write_dicom_segmentation(path, segments, _source_of(volume, database), algorithm)
    elif path.name.endswith(".seg.nrrd"):
        write_segments_nrrd(path, segments, grid)
    else:
        write_labels(path, segments, grid)


def segments_of(
    segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode
) -> list[Segment]:
    """Return the segments that are not empty, with names, colours and terminology.

    Raises:
        ImageError: when all are empty.
    """
    inside = segmentation.GetSegmentation()
    segments = []
    for index in range(inside.GetNumberOfSegments()):
        segment = inside.GetNthSegment(index)
        mask = read_segment(segmentation, inside.GetNthSegmentID(index), volume)
        if mask.GetNumberOfPixels() > 1 or mask[0, 0, 0]:
            category, kind, region = _codes(segment.GetTerminology())
            segments.append(
                Segment(mask, segment.GetName(), tuple(segment.GetColor()), category, kind, region)
            )
    if not segments:
        raise ImageError(_("There is no lesion to export yet. Click one and accept its mask first."))
    return segments


def _codes(entry: str) -> tuple[Code, Code, Code | None]:
    """Return category, type and region of a serialised terminology entry."""
    parts = entry.split("~")

    def code(place: int) -> Code | None:
        values = parts[place].split("^") if place < len(parts) else []
        if len(values) != 3 or not values[1]:
            return None
        scheme, value, meaning = values
        return Code(value, scheme, meaning)

    return code(1) or ABNORMAL, code(2) or LESION, code(5)


def _source_of(volume: slicer.vtkMRMLScalarVolumeNode, database: Any) -> Any:
    """Return the DICOM series that a volume was loaded from.

    Raises:
        ImageError: when it was not, or the files are gone.
    """
    from MSAMLogic.dicom import choose_series, find_series, read_series

    uids = (volume.GetAttribute("DICOM.instanceUIDs") or "").split()
    if not uids or database is None:
        raise ImageError(
            _(
                "'{name}' was not loaded from DICOM, so a DICOM segmentation would have no patient and no "
                "series to belong to. Export NRRD instead, or load the scan through Slicer's DICOM module."
            ).format(name=volume.GetName())
        )
    files = [Path(file) for file in (database.fileForInstance(uid) for uid in uids) if file]
    if len(files) < len(uids) or not all(file.is_file() for file in files):
        raise ImageError(
            _(
                "The DICOM files of '{name}' are no longer where Slicer read them. Import the series again, "
                "or export NRRD."
            ).format(name=volume.GetName())
        )
    wanted = database.fileValue(str(files[0]), "0020,000E")
    series = choose_series(find_series(files), wanted, files[0].parent)
    return read_series(series)[1]
