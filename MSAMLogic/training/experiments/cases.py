"""The training and test cases of an experiment."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from MSAMLogic.errors import TrainingError
from MSAMLogic.training.cases import read_cases
from MSAMLogic.training.configuration import read_yaml
from MSAMLogic.training.datasets import Volume, dataset_table, find_volumes
from MSAMLogic.training.experiments.config import (
    DatasetConfig,
    ListedSplit,
    OfficialSplit,
    SeededSplit,
    Split,
)


class Cases(NamedTuple):
    """The cases of a data set and what their labels mean.

    Attributes:
        training: to learn from.
        test: kept aside.
        targets: label values of each target.
    """

    training: list[Volume]
    test: list[Volume]
    targets: dict[str, tuple[int, ...]]


def find_cases(dataset: DatasetConfig, split: Split) -> Cases:
    """Return the training and test cases of a data set.

    Raises:
        TrainingError: when the folder, a file, a target, a subset or a listed case is missing.
    """
    if dataset.name == "cases":
        subsets = {"training": _own_cases(dataset)}
        targets: dict[str, tuple[int, ...]] = {"lesion": (1,)}
    else:
        table = dataset_table(dataset.name)
        targets = table.values(dataset.targets)
        subsets = find_volumes(table, dataset.root, dataset.channel)
    training, test = _split(subsets, split, dataset)
    return Cases(training, test, targets)


def _own_cases(dataset: DatasetConfig) -> list[Volume]:
    cases = [c for c in read_cases(dataset.root) if dataset.collection in (None, c.source)]
    if not cases:
        raise TrainingError(f"{dataset.root} has no case of '{dataset.collection}'; correct collection.")
    return [Volume(c.name, c.patient, c.modality, c.image_path, c.mask_path) for c in cases]


def _split(
    subsets: dict[str, list[Volume]], split: Split, dataset: DatasetConfig
) -> tuple[list[Volume], list[Volume]]:
    first = next(iter(subsets.values()))
    if isinstance(split, SeededSplit):
        return _seeded(first, split)
    if isinstance(split, OfficialSplit):
        for name in (split.training, split.test):
            if not subsets.get(name):
                known = ", ".join(subset for subset, volumes in subsets.items() if volumes)
                raise TrainingError(f"{dataset.root} has no subset '{name}'; it has {known}.")
        return subsets[split.training], subsets[split.test]
    return _listed(first, split, dataset)


def _seeded(volumes: list[Volume], split: SeededSplit) -> tuple[list[Volume], list[Volume]]:
    patients = sorted({volume.patient for volume in volumes})
    order = np.random.default_rng(split.seed).permutation(len(patients))
    count = round(split.test * len(patients))
    kept_aside = {patients[number] for number in order[:count]}
    return (
        [volume for volume in volumes if volume.patient not in kept_aside],
        [volume for volume in volumes if volume.patient in kept_aside],
    )


def _listed(
    volumes: list[Volume], split: ListedSplit, dataset: DatasetConfig
) -> tuple[list[Volume], list[Volume]]:
    lists = read_yaml(split.lists)
    by_name = {volume.name: volume for volume in volumes}
    found: list[list[Volume]] = []
    for key in ("training", "test"):
        names = lists.get(key) if isinstance(lists, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TrainingError(f"{split.lists} needs the list '{key}' of case names.")
        missing = [name for name in names if name not in by_name]
        if missing:
            raise TrainingError(
                f"{dataset.root} lacks the case {missing[0]} that {split.lists.name} lists; complete it."
            )
        found.append([by_name[name] for name in names])
    return found[0], found[1]
