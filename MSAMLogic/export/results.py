"""Results of a scan in whatever formats their names ask for: masks, report, table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MSAMLogic import weights
from MSAMLogic.errors import ImageError
from MSAMLogic.export.dicom_context import Algorithm
from MSAMLogic.export.dicom_segmentation import require_dicom, write_dicom_segmentation
from MSAMLogic.export.masks import check_mask_format, write_labels
from MSAMLogic.export.measurement_report import write_measurement_report
from MSAMLogic.export.measurement_table import write_measurement_table
from MSAMLogic.export.segmentation_nrrd import read_segments_nrrd, write_segments_nrrd
from MSAMLogic.export.segments import COLOURS, Segment, check_is_mask
from MSAMLogic.geometry import ImageGrid
from MSAMLogic.measurements import measure
from MSAMLogic.reading import Scan, read_image

_MOST_LABELS = 255


@dataclass(frozen=True)
class Output:
    """What to write.

    Attributes:
        mask: the masks; the ending says in which format, ``.dcm`` for a DICOM segmentation.
        report: a DICOM report of the measurements, beside a DICOM segmentation only.
        table: the measurements as CSV.
        fractional: of a DICOM segmentation, whether it has fractions.
        series_description: of a DICOM segmentation; by default "Lesion segmentation".
        series_number: of a DICOM segmentation; by default 1000 more than the scan's.
    """

    mask: Path
    report: Path | None = None
    table: Path | None = None
    fractional: bool = False
    series_description: str = "Lesion segmentation"
    series_number: int | None = None

    def check(self, scan: Scan | None) -> None:
        """Raise :class:`ImageError` for what cannot be written of a scan, before anything is computed.

        Args:
            scan: ``None`` when there is only a mask.
        """
        is_dicom = self.mask.name.endswith(".dcm")
        if is_dicom:
            require_dicom(scan.source if scan else None)
        else:
            check_mask_format(self.mask)
        if self.report is not None and not is_dicom:
            raise ImageError(
                "A DICOM report refers to a DICOM segmentation; let the mask's name end in .dcm."
            )
        if self.report is not None and self.report.name.endswith(".dcm") is False:
            raise ImageError(f"'{self.report.name}' is no name for a DICOM report; let it end in .dcm.")
        if self.table is not None and not self.table.name.endswith(".csv"):
            raise ImageError(f"'{self.table.name}' is no name for a table; let it end in .csv.")
        if self.table is not None and scan is None:
            raise ImageError("Measurements need the scan beside the mask.")
        paths = [path.absolute() for path in (self.mask, self.report, self.table) if path is not None]
        if len(set(paths)) < len(paths):
            raise ImageError("Mask, report and table need names of their own.")
        if self.fractional and not is_dicom:
            raise ImageError("Fractions are for DICOM segmentations; let the mask's name end in .dcm.")

    def write(self, segments: Sequence[Segment], scan: Scan | None, algorithm: Algorithm) -> None:
        """Write everything, each file atomically.

        Args:
            segments: one or more.
            scan: what they were drawn on; ``None`` when there is only a mask.
            algorithm: what drew them.

        Raises:
            ImageError: as :meth:`check` and the writers of the formats.
            OSError: when a file cannot be written.
        """
        self.check(scan)
        measured = []
        if scan is not None and (self.report or self.table):
            measured = [measure(scan.image, segment.mask) for segment in segments]
        if self.mask.name.endswith(".dcm"):
            source = scan.source if scan else None
            written = write_dicom_segmentation(
                self.mask,
                segments,
                source,
                algorithm,
                self.fractional,
                self.series_description,
                self.series_number,
            )
            if self.report is not None:
                write_measurement_report(self.report, segments, measured, written, source, algorithm)
        else:
            grid = ImageGrid.of(scan.image if scan else segments[0].mask)
            if self.mask.name.endswith(".seg.nrrd"):
                write_segments_nrrd(self.mask, segments, grid)
            else:
                write_labels(self.mask, segments, grid)
        if self.table is not None:
            write_measurement_table(self.table, [segment.name for segment in segments], measured)


def read_segments(path: Path, fractional: bool = False) -> list[Segment]:
    """Read a mask file: the segments of a ``.seg.nrrd``, or one for each value of a label map.

    Args:
        path: of a format that :func:`MSAMLogic.reading.read_image` reads.
        fractional: the file holds fractions of one segment.

    Raises:
        ImageError: when the file cannot be read, or holds no segment or no labels.
    """
    if path.name.endswith(".seg.nrrd") and path.exists():
        return read_segments_nrrd(path)
    image = read_image(path)
    check_is_mask(image)
    if fractional:
        return [Segment(image)]
    array = sitk.GetArrayViewFromImage(image)
    labels = [float(v) for v in np.unique(array) if v]
    if not labels:
        raise ImageError(f"'{path.name}' holds no segment: all of its voxels are 0.")
    if any(not v.is_integer() for v in labels) or len(labels) > _MOST_LABELS:
        raise ImageError(f"'{path.name}' is no label map; give a file with a few whole values, 0 outside.")
    return [
        Segment(
            sitk.Cast(sitk.Equal(image, label), sitk.sitkUInt8),
            "Lesion" if len(labels) == 1 else f"Lesion {label:g}",
            COLOURS[n % len(COLOURS)],
        )
        for n, label in enumerate(labels)
    ]


def describe_model(name: str) -> Algorithm:
    """Return name and version of a model, as results name them; the version is the start of its SHA256.

    Args:
        name: as :func:`MSAMLogic.load_model` takes it; of a path only the file's name goes on.

    Raises:
        WeightsError: when there is no such model or file.
    """
    if Path(name).suffix in {".safetensors", ".pth", ".pt"} or "/" in name or "\\" in name:
        return Algorithm(Path(name).stem, weights.file_sha256(Path(name))[:12])
    entry = weights.find_model(name)
    pin = weights.pinned(entry)
    digest = entry.sha256 or (pin.sha256 if pin else None)
    return Algorithm(entry.title, digest[:12] if digest else "unknown")
