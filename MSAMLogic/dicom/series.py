"""The series in a folder: found by their headers, listed, and chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MSAMLogic.dicom.frames import Frame, frames_of
from MSAMLogic.dicom.quiet import quiet
from MSAMLogic.dicom.stacking import positions_along, stack
from MSAMLogic.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

_MAGIC = b"DICM"  # after a preamble of 128 bytes (DICOM PS3.10 section 7.1)
_SUFFIXES = (".dcm", ".ima")
# Images on grids of their own that are no scans: segmentations and dose.
_NO_SCANS = ("1.2.840.10008.5.1.4.1.1.66.", "1.2.840.10008.5.1.4.1.1.481.")
_SAME_PLACE_MM = 0.01
UNKNOWN = "?"


@dataclass(frozen=True)
class Series:
    """One volume's worth of a DICOM series.

    A series can hold several: localisers in three directions, echoes, time points. Each is listed.

    Attributes:
        uid: Series Instance UID.
        number: Series Number, ``None`` where there is none.
        modality: for example "CT", or :data:`UNKNOWN`.
        description: Series Description; can hold what a person typed, so it is for the screen only.
        part: what sets this volume apart within its series; empty where it is the only one.
        frames: the slices, in no particular order; empty where none has a place in the patient.
        notes: what the user should know.
        problem: why it cannot be read as a volume; empty where it can.
    """

    uid: str
    number: int | None
    modality: str
    description: str
    part: str = ""
    frames: tuple[Frame, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    problem: str = ""

    @property
    def size(self) -> str:
        """Slices, rows and columns in words, without anything of the patient."""
        if not self.frames:
            return "no slices"
        rows, columns = self.frames[0].size
        count = len(self.frames)
        return f"{count} {'slice' if count == 1 else 'slices'} of {columns}×{rows}"


def is_dicom_file(path: Path) -> bool:
    """Whether a file starts as DICOM files do."""
    try:
        with path.open("rb") as file:
            file.seek(128)
            return file.read(4) == _MAGIC
    except OSError:
        return False


def find_series(place: Path | Sequence[Path]) -> list[Series]:
    """Return the series of a folder and its sub-folders, of one file, or of given files.

    Raises:
        ImageError: when a file starts as DICOM but its header cannot be read.
    """
    if isinstance(place, Path):
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        what = f"'{place.name}'"
    else:
        files, what = list(place), "The series"
    headers: dict[str, list[tuple[Path, Dataset]]] = {}
    damaged = 0
    with quiet():
        for file in files:
            if not file.is_file():
                continue
            if not is_dicom_file(file):
                # A slice that lost its beginning would otherwise be missed without a word.
                if file.suffix.lower() in _SUFFIXES:
                    damaged += not _is_other_than_image(file)
                continue
            header = _read_header(file)
            if header is None or _is_cut_off(header):
                damaged += 1
            elif _is_scan(header):
                headers.setdefault(_text(header, "SeriesInstanceUID"), []).append((file, header))
        if damaged:
            # Which series they belong to is unknown, so any of them could lack slices.
            raise ImageError(
                f"{what} cannot be read: {damaged} of its DICOM "
                f"{'file is' if damaged == 1 else 'files are'} damaged, or not as the standard says "
                "(PS3.10); copy the series again."
            )
        found = [part for uid, members in headers.items() for part in _volumes(uid, members)]
    return sorted(found, key=lambda s: (s.number is None, s.number or 0, s.uid))


def choose_series(series: Sequence[Series], wanted: str | None, place: Path) -> Series:
    """Return one of the series that a folder holds.

    Args:
        series: as :func:`find_series` lists them.
        wanted: a place in that list, from 1, or a Series Instance UID; ``None`` takes the only one.
        place: the folder or file, for messages.

    Raises:
        ImageError: when there is none, more than one fits, or the one cannot be read as a volume.
    """
    what = f"The {'file' if place.is_file() else 'folder'} '{place.name}'"
    if not series:
        raise ImageError(f"{what} holds no DICOM series of images; give a folder with exactly one.")
    if wanted is None:
        # A screenshot or a report's picture is no choice; a scan with a slice missing is one.
        candidates = [s for s in series if s.frames] or list(series)
        if len(candidates) > 1:
            listed = "; ".join(f"{n}: {s.modality}, {s.size}" for n, s in enumerate(series, start=1))
            raise ImageError(
                f"{what} holds {len(series)} DICOM series ({listed}); give a folder "
                "with exactly one, or choose with --series (listed by: msam series)."
            )
        chosen = candidates[0]
        if len(series) > 1:
            skipped = f"{len(series) - 1} more in the folder with pictures that are no scans: left aside."
            chosen = replace(chosen, notes=(*chosen.notes, skipped))
    elif wanted.isdecimal() and 1 <= int(wanted) <= len(series):
        chosen = series[int(wanted) - 1]
    else:
        candidates = [s for s in series if s.uid == wanted]
        if len(candidates) != 1:
            why = "several volumes; choose by number" if candidates else "no such series; choose"
            raise ImageError(f"{what} holds {why} from 1 to {len(series)} (see: msam series).")
        chosen = candidates[0]
    if chosen.problem:
        raise ImageError(f"The series in '{place.name}' cannot be read as a volume: {chosen.problem}.")
    return chosen


def _read_header(path: Path, force: bool = False) -> Dataset | None:
    from pydicom import dcmread

    try:
        return dcmread(path, stop_before_pixels=True, force=force)
    except Exception:  # whatever damaged bytes lead the parser to
        return None


def _is_other_than_image(path: Path) -> bool:
    """Whether a file without the beginning that the standard asks for is a plan, a report or the like."""
    from pydicom.uid import UID

    header = _read_header(path, force=True)
    kind = "" if header is None else _text(header, "SOPClassUID")
    return header is not None and bool(kind) and "Rows" not in header and "Image" not in UID(kind).name


def _is_scan(header: Dataset) -> bool:
    """Whether a file has pixels of a scan; reports, contours and segmentations have not."""
    return "Rows" in header and not _text(header, "SOPClassUID").startswith(_NO_SCANS)


def _is_cut_off(header: Dataset) -> bool:
    """Whether a file claims to be an image and ends before it says how large."""
    if "Rows" in header:
        return False
    try:
        kind = header.file_meta.MediaStorageSOPClassUID
        # Within a few bytes the file says its kind twice; one that is cut in between says it once.
        return bool("Image Storage" in kind.name or kind != header.SOPClassUID)
    except Exception:  # not even that
        return True


def _text(header: Dataset, keyword: str) -> str:
    try:
        value = header.get(keyword)
        return "" if value is None else str(value).strip()
    except Exception:  # as above
        return ""


def _volumes(uid: str, members: Iterable[tuple[Path, Dataset]]) -> list[Series]:
    """Return the volumes that the files of a series make."""
    members = list(members)
    header = members[0][1]
    number = _text(header, "SeriesNumber")
    series = Series(
        uid=uid,
        number=int(number) if number.lstrip("-").isdecimal() else None,
        modality=_text(header, "Modality") or UNKNOWN,
        description=_text(header, "SeriesDescription"),
    )
    frames: list[Frame] = []
    problems: list[str] = []
    for path, each in members:
        try:
            frames += frames_of(each, path)
        except ImageError as error:
            problems.append(str(error))
    if problems:
        return [replace(series, frames=tuple(frames), problem=problems[0])]
    frames, notes = _without_copies(frames)
    series = replace(series, notes=tuple(notes))
    groups = _alike(frames)
    found = []
    for n, group in enumerate(groups, start=1):
        named = f"group {n} of {len(groups)}" if len(groups) > 1 else ""
        try:
            parts = _one_at_each_place(group)
        except ImageError as error:
            found.append(replace(series, part=named, frames=tuple(group), problem=str(error)))
            continue
        for trait, part in parts:
            label = ", ".join(text for text in (named, trait) if text)
            try:
                problem = ""
                stack(part)
            except ImageError as error:
                problem = str(error)
            found.append(replace(series, part=label, frames=tuple(part), problem=problem))
    return found


def _without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], list[str]]:
    """Return the frames without further copies of the same file, and a note about them."""
    kept: dict[tuple[object, ...], Frame] = {}
    for frame in frames:
        instance = _text(frame.header, "SOPInstanceUID")
        # Without a name of its own a file cannot be known as a copy.
        kept.setdefault((instance or frame.path, frame.number, frame.position), frame)
    copies = len(frames) - len(kept)
    note = f"{copies} {'slice is' if copies == 1 else 'slices are'} there twice (same instance); one is used."
    return list(kept.values()), [note] if copies else []


def _alike(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames grouped by size, spacing and orientation."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            first = group[0]
            if (
                frame.size == first.size
                and np.allclose(frame.spacing, first.spacing, rtol=1e-4)
                and np.allclose(frame.orientation, first.orientation, atol=1e-4)
            ):
                group.append(frame)
                break
        else:
            groups.append([frame])
    return groups


def _has_duplicates(frames: Sequence[Frame]) -> bool:
    return bool((np.diff(np.sort(positions_along(frames))) < _SAME_PLACE_MM).any())


def _one_at_each_place(frames: list[Frame]) -> list[tuple[str, list[Frame]]]:
    """Return parts in which no two frames share a place, and what each is told apart by.

    Raises:
        ImageError: when nothing in the headers tells apart frames at the same place.
    """
    if not _has_duplicates(frames):
        return [("", frames)]
    for name in dict.fromkeys(name for frame in frames for name, _ in frame.traits):
        parts: dict[str, list[Frame]] = {}
        for frame in frames:
            parts.setdefault(dict(frame.traits).get(name, ""), []).append(frame)
        if len({len(part) for part in parts.values()}) == 1 and not any(map(_has_duplicates, parts.values())):
            return [(f"{name} {value}".strip(), part) for value, part in sorted(parts.items())]
    raise ImageError(
        "several of its slices lie at the same place and nothing in their headers tells them apart; remove "
        "the ones that do not belong to the scan"
    )
