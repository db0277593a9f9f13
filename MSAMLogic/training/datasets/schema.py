"""What a table of a data set says: where its files lie and what its labels mean."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from MSAMLogic.errors import TrainingError
from MSAMLogic.intensity import Modality
from MSAMLogic.training.configuration import read_yaml, validated

_FOLDER = Path(__file__).parent


class Subset(BaseModel):
    """The files of one official part of a data set, relative to its folder.

    Attributes:
        image: path with placeholders in braces, which stand for digits: ``case_{case}/imaging.nii.gz``.
            ``{channel}`` stands for the channel that is asked for.
        mask: path of the labels, of the same placeholders.
        listed: key of the data set's index file under which its cases are listed, where there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str
    mask: str
    listed: str | None = None


class DatasetTable(BaseModel):
    """One data set in its official layout.

    Attributes:
        title: its name in the literature.
        source: where it is handed out.
        modality: "CT" or "MR".
        case: name of a case, of the placeholders of its files.
        patient: name of a patient, of the same; by default every case is another patient's.
        subsets: official parts; the first is what training and seeded splits take.
        index: a JSON file that lists the cases and labels, where the data set has one.
        channels: what ``{channel}`` may be.
        only: regular expression of the cases that belong here, where the folder holds others too.
        without_mask: regular expression of cases whose labels are not handed out; they are left alone.
        labels: official names and values.
        unions: targets that join several labels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    source: str
    modality: Modality
    case: str
    patient: str | None = None
    subsets: dict[str, Subset] = Field(min_length=1)
    index: str | None = None
    channels: tuple[str, ...] = ()
    only: str = ".*"
    without_mask: str | None = None
    labels: dict[str, int] = Field(min_length=1)
    unions: dict[str, tuple[str, ...]] = Field(default={})

    @model_validator(mode="after")
    def _known_labels(self) -> DatasetTable:
        unknown = {part for parts in self.unions.values() for part in parts} - set(self.labels)
        if unknown:
            raise ValueError(f"unions name labels that are not there: {', '.join(sorted(unknown))}")
        for pattern in (self.only, self.without_mask):
            re.compile(pattern or "")
        return self

    def values(self, targets: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        """Return the label values of each target, in the order given; without targets of every label.

        Raises:
            TrainingError: when a target is unknown, or two share a label.
        """
        found: dict[str, tuple[int, ...]] = {}
        for target in targets or tuple(self.labels):
            parts = self.unions.get(target, (target,))
            if not set(parts) <= set(self.labels):
                known = ", ".join([*self.labels, *self.unions])
                raise TrainingError(f"{self.title} has no target '{target}'; choose from {known}.")
            found[target] = tuple(self.labels[part] for part in parts)
        every = [value for values in found.values() for value in values]
        if len(set(every)) < len(every):
            raise TrainingError(
                f"The targets {', '.join(found)} of {self.title} overlap; choose one of them at a time."
            )
        return found


def dataset_names() -> list[str]:
    """Return the names of all data sets that have a table."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


@cache
def dataset_table(name: str) -> DatasetTable:
    """Return the table of a data set.

    Raises:
        TrainingError: when there is none of that name.
    """
    if name not in dataset_names():
        raise TrainingError(
            f"There is no data set '{name}'; choose cases, for a folder with a cases.tsv, or one of "
            f"{', '.join(dataset_names())}."
        )
    path = _FOLDER / f"{name}.yaml"
    return validated(DatasetTable, read_yaml(path), path)
