"""What DICOM results share: the source's attributes, cleaned, and what made the result."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MSAMLogic.dicom.quiet import quiet
from MSAMLogic.errors import ImageError
from MSAMLogic.export.terminology import Code
from MSAMLogic.version import __version__

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

    from MSAMLogic.dicom import DicomSource

LOGGER = logging.getLogger(__name__)

MANUFACTURER = "SlicerMSAM"
MODEL_NAME = "MSAMLogic"
UTF_8 = "ISO_IR 192"

# What a result refers to or lies on. The rest of an image's attributes is the image's own.
_REQUIRED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "Rows",
    "Columns",
)
_GEOMETRY = (
    *_REQUIRED,
    "NumberOfFrames",
    "ImageType",
    "PositionReferenceIndicator",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DimensionOrganizationSequence",
    "DimensionIndexSequence",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "SeriesNumber",
)
# Type 2 in Patient (PS3.3 C.7.1.1) and General Study (C.7.2.1): always there, perhaps empty.
_PERHAPS_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
_STUDY = (
    "StudyDescription",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "ReferencedStudySequence",
    "ProcedureCodeSequence",
    "AdmittingDiagnosesDescription",
    "IssuerOfAccessionNumberSequence",
)
_PATIENT_GROUPS = (0x0010, 0x0012)  # Patient and Patient Study; Clinical Trial
_SEXES = ("", "M", "F", "O")
_TEXTS = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")


@dataclass(frozen=True)
class Algorithm:
    """What drew a segment.

    Attributes:
        name: of the model.
        version: of its weights.
    """

    name: str
    version: str


@contextmanager
def dicom_errors(what: str) -> Iterator[None]:
    """Turn what highdicom and pydicom raise over a source into this package's error.

    Their messages can quote values of the header, so they are not passed on.
    """
    try:
        with quiet():
            yield
    except (OSError, ImageError, MemoryError):
        raise
    except Exception as error:  # neither library says what it raises
        raise ImageError(
            f"{what} cannot be made from this series, probably because its headers break the DICOM "
            f"standard ({type(error).__name__}). Write .seg.nrrd, or correct the series."
        ) from None  # nor shown in a traceback


def clean_headers(source: DicomSource, say: bool = True) -> list[Dataset]:
    """Return the source's headers reduced to what a result takes over, in UTF-8.

    A patient or study attribute whose value breaks the standard's rules would make the result invalid
    too: it is left empty, and that is said, without the value.

    Args:
        source: the series.
        say: ``False`` where it was said before.

    Raises:
        ImageError: when an attribute that a result must refer to is missing, or the patient's ID is not
            valid, since a result without it, or with a part of it, could go to another patient.
    """
    left_empty: dict[str, None] = {}
    with dicom_errors("A DICOM file"):
        headers = [_clean(header, left_empty) for header in source.headers]
    if left_empty and say:
        LOGGER.warning(
            "Left empty, because the source's values break the DICOM standard: %s.", ", ".join(left_empty)
        )
    return headers


def _clean(header: Dataset, left_empty: dict[str, None]) -> Dataset:
    from pydicom import Dataset
    from pydicom.datadict import dictionary_description, keyword_for_tag, tag_for_keyword

    missing = [
        keyword
        for keyword in _REQUIRED
        if keyword not in header
        or _element(header, tag_for_keyword(keyword)) is None
        or not header[keyword].value
    ]
    if missing:
        names = ", ".join(dictionary_description(keyword) for keyword in missing)
        raise ImageError(
            f"The series lacks a valid {names}, which a DICOM file has to have; write .seg.nrrd."
        )
    clean = Dataset()
    # Read with its own encoding before this says another.
    clean.SpecificCharacterSet = UTF_8
    for keyword in _GEOMETRY:
        if keyword in header:
            # highdicom completes shared items in place; the source's own must not change.
            clean.add(deepcopy(header[keyword]) if keyword.startswith("Shared") else header[keyword])
    taken = {tag_for_keyword(keyword) for keyword in (*_PERHAPS_EMPTY, *_STUDY)}
    taken |= {tag for tag in header.keys() if tag.group in _PATIENT_GROUPS}  # noqa: SIM118 - iterating parses
    for tag in sorted(tag for tag in taken if tag is not None and tag in header):
        keyword = keyword_for_tag(tag)
        if not keyword:  # retired or unknown
            continue
        element = _element(header, tag)
        if element is None:
            left_empty[dictionary_description(tag)] = None
        else:
            clean.add(element)
    if "PatientID" not in clean and header.get("PatientID"):
        raise ImageError(
            "The series' Patient ID breaks the DICOM standard's rules; correct it, or write .seg.nrrd."
        )
    for keyword in _PERHAPS_EMPTY:
        if keyword not in clean:
            setattr(clean, keyword, "")
    return clean


def _element(header: Dataset, tag: Any) -> DataElement | None:
    """Return an element that may be copied, ``None`` where its value breaks the rules of its type."""
    from pydicom import DataElement

    try:
        element: DataElement = header[tag]
        if not _is_valid(element):
            return None
    except Exception:  # a value that cannot even be parsed
        return None
    if element.VR in _TEXTS and not element.is_empty:
        values = [str(v) for v in _values(element)]
        return DataElement(element.tag, element.VR, values if len(values) > 1 else values[0])
    return element


def _is_valid(element: DataElement) -> bool:
    """Whether an element's values obey their value representation (PS3.5 section 6.2)."""
    from pydicom import config
    from pydicom.valuerep import validate_value

    if element.VR == "SQ":
        return all(_is_valid(child) for item in element.value for child in item)
    if element.keyword == "PatientSex":
        return str(element.value or "") in _SEXES
    for value in _values(element):
        text = (
            value if isinstance(value, (bytes, int, float)) and element.VR not in ("DS", "IS") else str(value)
        )
        validate_value(element.VR, text, config.RAISE)
    return True


def _values(element: DataElement) -> list[Any]:
    if element.is_empty:
        return []
    return list(element.value) if element.VM > 1 else [element.value]


def software() -> dict[str, Any]:
    """Return the attributes of Enhanced General Equipment (PS3.3 C.7.5.2), all of type 1."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MODEL_NAME,
        "software_versions": __version__,
        "device_serial_number": __version__,  # software has no other
    }


def coded(code: Code) -> Any:
    """Return a code as highdicom takes it."""
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def one_line(text: str) -> str:
    """Return a text that fits attributes of type LO: 64 characters, no backslash, not empty."""
    printable = "".join(c if c.isprintable() and c != "\\" else " " for c in text)
    return " ".join(printable.split())[:64].strip() or "Lesion"
