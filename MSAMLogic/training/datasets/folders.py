"""From the folder of a data set to its cases, with every file that must be there."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MSAMLogic.errors import TrainingError
from MSAMLogic.intensity import Modality
from MSAMLogic.training.datasets.schema import DatasetTable, Subset

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Volume:
    """One image with its labels.

    Attributes:
        name: unique in the data set.
        patient: volumes of one patient never meet on both sides of a split.
        modality: "CT" or "MR".
        image_path: volume readable by SimpleITK.
        mask_path: whole-number labels, voxel by voxel those of the image.
    """

    name: str
    patient: str
    modality: Modality
    image_path: Path
    mask_path: Path


def find_volumes(table: DatasetTable, root: Path, channel: str | None = None) -> dict[str, list[Volume]]:
    """Return the volumes of a data set by official subset, each list in the order of the names.

    A subset other than the first may be absent as a whole, for not every experiment needs all of them; a
    subset of which anything is there must be complete.

    Args:
        table: the data set.
        root: its folder.
        channel: which image of a case, for a data set that has several.

    Raises:
        TrainingError: when the folder or a file of the layout is missing, or the channel is not there.
    """
    if not root.is_dir():
        raise TrainingError(f"There is no folder {root}; put {table.title} there ({table.source}).")
    if (channel is not None or table.channels) and channel not in table.channels:
        known = ", ".join(table.channels) or "none"
        raise TrainingError(f"{table.title} has no channel '{channel}'; its channels are: {known}.")
    index = _read_index(table, root)
    found = {
        name: _volumes_of(table, _with_channel(subset, channel), root, index)
        for name, subset in table.subsets.items()
    }
    first = next(iter(table.subsets))
    if not found[first]:
        subset = _with_channel(table.subsets[first], channel)
        raise TrainingError(
            f"{root} holds no file {_PLACEHOLDER.sub('*', subset.image)}; {table.title} has its images as "
            f"{subset.image} and its labels as {subset.mask}."
        )
    return found


def _with_channel(subset: Subset, channel: str | None) -> Subset:
    if channel is None:
        return subset
    return Subset(image=subset.image.replace("{channel}", channel), mask=subset.mask, listed=subset.listed)


def _read_index(table: DatasetTable, root: Path) -> dict[str, Any] | None:
    """Return what the index file says, once its labels are those of the table."""
    if table.index is None:
        return None
    path = root / table.index
    if not path.is_file():
        raise TrainingError(f"{path} is missing; {table.title} lists its cases in it ({table.source}).")
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        values = {int(value) for value in index["labels"]} - {0}
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} is no list of cases and labels; fetch it again.") from error
    if values != set(table.labels.values()):
        raise TrainingError(
            f"{path} has the labels {sorted(values)}, {table.title} has {sorted(table.labels.values())}; "
            "the folder holds another data set."
        )
    return index


def _volumes_of(
    table: DatasetTable, subset: Subset, root: Path, index: dict[str, Any] | None
) -> list[Volume]:
    cases = _cases(subset.image, root) | _cases(subset.mask, root)
    if index is not None and subset.listed is not None and cases:
        cases |= _listed_cases(subset, index)
    volumes = []
    for case in sorted(cases):
        values = dict(case)
        name = table.case.format(**values)
        if not re.fullmatch(table.only, name):
            continue
        if table.without_mask is not None and re.fullmatch(table.without_mask, name):
            continue
        image, mask = (root / pattern.format(**values) for pattern in (subset.image, subset.mask))
        for path in (image, mask):
            if not path.is_file():
                raise TrainingError(f"{path} is missing; {table.title} needs it ({table.source}).")
        patient = name if table.patient is None else table.patient.format(**values)
        volumes.append(Volume(name, patient, table.modality, image, mask))
    return volumes


def _cases(pattern: str, root: Path) -> set[tuple[tuple[str, str], ...]]:
    """Return the placeholders' values of every file that fits a pattern."""
    expression = _expression(pattern)
    files = root.glob(_PLACEHOLDER.sub("*", pattern))
    matches = (expression.fullmatch(path.relative_to(root).as_posix()) for path in files)
    return {tuple(match.groupdict().items()) for match in matches if match is not None}


def _listed_cases(subset: Subset, index: dict[str, Any]) -> set[tuple[tuple[str, str], ...]]:
    expression = _expression(subset.image)
    listed = index.get(subset.listed or "", [])
    paths = [entry["image"] if isinstance(entry, dict) else entry for entry in listed]
    matches = (expression.fullmatch(str(path).removeprefix("./")) for path in paths)
    return {tuple(match.groupdict().items()) for match in matches if match is not None}


def _expression(pattern: str) -> re.Pattern[str]:
    """Return the expression of a pattern; a placeholder that comes again stands for the same digits."""
    seen: set[str] = set()
    text = ""
    for number, part in enumerate(_PLACEHOLDER.split(pattern)):
        if number % 2 == 0:
            text += re.escape(part)
        else:
            text += rf"(?P={part})" if part in seen else rf"(?P<{part}>\d+)"
            seen.add(part)
    return re.compile(text)
