"""DICOM files for tests: made-up scans as scanners write them, single-frame and enhanced multi-frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

PATIENT = {
    "PatientName": "Doe^Jane^Quite-Unmistakable",
    "PatientID": "PID-8461-SECRET",
    "PatientBirthDate": "19610203",
    "PatientSex": "F",
    "AccessionNumber": "ACC-99331",
    "StudyID": "ST-77",
    "StudyDate": "20240102",
    "StudyTime": "101112",
    "ReferringPhysicianName": "Smith^Referring",
    "StudyDescription": "Study of Jane Doe",
}
_CT, _MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
_ENHANCED_CT, _ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1"

Change = Callable[[int, FileDataset], None]


def uid(*parts: object) -> str:
    """Return a UID that depends on ``parts`` alone."""
    return str(generate_uid(entropy_srcs=[str(part) for part in parts]))


def decimals(values: Sequence[float]) -> list[str]:
    """Return numbers as decimal strings of at most 16 characters."""
    return [f"{float(v):.10f}"[:16] for v in values]


def _file(sop_class: str, instance: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    file.SpecificCharacterSet = "ISO_IR 100"
    file.SOPClassUID = sop_class
    file.SOPInstanceUID = instance
    for keyword, value in PATIENT.items():
        setattr(file, keyword, value)
    return file


def _series(file: FileDataset, modality: str, series: str) -> None:
    file.Modality = modality
    file.Manufacturer = "Test Scanners"
    file.StudyInstanceUID = uid("study")
    file.SeriesInstanceUID = uid("series", series)
    file.SeriesNumber = 7
    file.SeriesDescription = "Thorax of Jane Doe"
    file.FrameOfReferenceUID = uid("frame of reference")
    file.PositionReferenceIndicator = ""
    file.SeriesDate, file.SeriesTime = "20240102", "101500"
    file.PatientPosition = "HFS"


def _pixels(file: FileDataset, values: np.ndarray, signed: bool) -> None:
    file.SamplesPerPixel = 1
    file.PhotometricInterpretation = "MONOCHROME2"
    file.Rows, file.Columns = values.shape[-2:]
    file.BitsAllocated = file.BitsStored = 16
    file.HighBit = 15
    file.PixelRepresentation = int(signed)
    file.PixelData = values.astype("<i2" if signed else "<u2").tobytes()


def write_series(
    folder: Path,
    scan: sitk.Image,
    modality: str = "CT",
    series: str = "1",
    reverse: bool = False,
    change: Change | None = None,
) -> list[Path]:
    """Write an image as single-frame files, whose names are in no order.

    Args:
        folder: where the files go.
        scan: whole values within 16 bits; its third axis may slant.
        modality: "CT" or "MR"; CT is stored with an offset of 1024.
        series: makes other UIDs.
        reverse: let instance numbers run against the position.
        change: called with the slice's index and dataset before it is written.

    Returns:
        The files, in the order of the slices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    matrix = np.array(scan.GetDirection()).reshape(3, 3)
    array = sitk.GetArrayFromImage(scan)
    names = np.random.default_rng(3).permutation(len(array))
    i, j, _ = scan.GetSpacing()
    normal = np.cross(matrix[:, 0], matrix[:, 1])
    thickness = abs(float(matrix[:, 2] @ normal)) * scan.GetSpacing()[2]
    paths = []
    for k, values in enumerate(array):
        file = _file(_CT if modality == "CT" else _MR, uid("instance", series, k))
        _series(file, modality, series)
        file.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"] if modality == "CT" else ["ORIGINAL", "PRIMARY"]
        file.AcquisitionNumber = 1
        file.InstanceNumber = len(array) - k if reverse else k + 1
        file.ImagePositionPatient = decimals(scan.TransformIndexToPhysicalPoint((0, 0, k)))
        file.ImageOrientationPatient = decimals((*matrix[:, 0], *matrix[:, 1]))
        file.PixelSpacing = decimals((j, i))
        file.SliceThickness = f"{thickness:.6g}"
        if modality == "CT":
            file.KVP = "120"
            file.RescaleIntercept, file.RescaleSlope = "-1024", "1"
            file.RescaleType = "HU"
            _pixels(file, values + 1024, signed=False)
        else:
            file.ScanningSequence, file.SequenceVariant, file.ScanOptions = "SE", "NONE", ""
            file.MRAcquisitionType, file.EchoTime, file.RepetitionTime = "2D", "10", "500"
            file.EchoTrainLength = "1"
            _pixels(file, values, signed=True)
        if change is not None:
            change(k, file)
        paths.append(folder / f"{names[k]:04d}.dcm")
        file.save_as(paths[-1], enforce_file_format=True)
    return paths


def write_enhanced(
    path: Path,
    scan: sitk.Image,
    modality: str = "CT",
    order: Sequence[int] | None = None,
    slopes: Sequence[float] | None = None,
    echoes: int = 1,
    change: Callable[[FileDataset], None] | None = None,
) -> Path:
    """Write an image as one enhanced multi-frame file.

    Args:
        path: the file.
        scan: whole values within 16 bits.
        modality: "CT" or "MR".
        order: the slices in the order of the frames.
        slopes: a rescale slope for each slice; the stored values are the scan's divided by it.
        echoes: how many volumes the file holds; the second has its values plus 1, and so on.
        change: called with the dataset before it is written.
    """
    matrix = np.array(scan.GetDirection()).reshape(3, 3)
    array = sitk.GetArrayFromImage(scan).astype(np.int32)
    order = list(order or range(len(array)))
    i, j, k = scan.GetSpacing()
    file = _file(_ENHANCED_CT if modality == "CT" else _ENHANCED_MR, uid("enhanced", path.name))
    _series(file, modality, f"enhanced {path.name}")
    file.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    file.InstanceNumber = 1
    file.NumberOfFrames = len(order) * echoes
    shared = Dataset()
    measures = Dataset()
    measures.PixelSpacing = decimals((j, i))
    measures.SliceThickness = measures.SpacingBetweenSlices = f"{k:.6g}"
    shared.PixelMeasuresSequence = [measures]
    orientation = Dataset()
    orientation.ImageOrientationPatient = decimals((*matrix[:, 0], *matrix[:, 1]))
    shared.PlaneOrientationSequence = [orientation]
    file.SharedFunctionalGroupsSequence = [shared]
    groups, stored = [], []
    for echo in range(echoes):
        for n, index in enumerate(order):
            slope = slopes[index] if slopes else 1.0
            group = Dataset()
            position = Dataset()
            position.ImagePositionPatient = decimals(scan.TransformIndexToPhysicalPoint((0, 0, index)))
            group.PlanePositionSequence = [position]
            transformation = Dataset()
            transformation.RescaleSlope, transformation.RescaleIntercept = f"{slope:g}", "0"
            transformation.RescaleType = "US"
            group.PixelValueTransformationSequence = [transformation]
            content = Dataset()
            content.StackID, content.InStackPositionNumber = "1", n + 1
            group.FrameContentSequence = [content]
            if echoes > 1:
                echo_item = Dataset()
                echo_item.EffectiveEchoTime = 10.0 * (echo + 1)
                group.MREchoSequence = [echo_item]
            groups.append(group)
            stored.append(np.rint((array[index] + echo) / slope))
    file.PerFrameFunctionalGroupsSequence = groups
    _pixels(file, np.array(stored), signed=True)
    if change is not None:
        change(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path
