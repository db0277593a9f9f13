"""Small volumes in the official layouts of the public data sets.

The layouts are written out here once more, from the data sets' own descriptions, so that the tables of
:mod:`MSAMLogic.training.datasets` are checked against something else than themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from images import AXIAL, LEFT_HANDED, oblique

SIZE = (40, 36, 22)  # (i, j, k)
SPACING = (1.5, 1.25, 2.0)
DIRECTIONS = (AXIAL, LEFT_HANDED, oblique(12))
ORGANS = tuple(range(1, 16))


@dataclass(frozen=True)
class Layout:
    """Where a data set has its files.

    Attributes:
        images: from the number of a case to the paths of its images.
        mask: from the number of a case to the path of its labels.
        name: from the number of a case to the name by which the papers call it.
        values: the label values of the data set.
        numbers: cases of the first subset.
        others: cases of another official subset.
        index: from the paths to the content of ``dataset.json``, where there is one.
    """

    images: Callable[[int], list[str]]
    mask: Callable[[int], str]
    name: Callable[[int], str]
    values: Sequence[int]
    numbers: Sequence[int] = (0, 1, 2)
    others: Sequence[int] = ()
    index: Callable[[Layout], dict[str, Any]] | None = None


def _decathlon(stem: str, values: Sequence[int], numbers: Sequence[int]) -> Layout:
    def index(layout: Layout) -> dict[str, Any]:
        listed = [
            {"image": f"./{layout.images(n)[0]}", "label": f"./{layout.mask(n)}"} for n in layout.numbers
        ]
        labels = {str(value): f"label {value}" for value in (0, *values)}
        return {"name": stem, "labels": labels, "training": listed, "test": []}

    return Layout(
        lambda n: [f"imagesTr/{stem}_{n:03d}.nii.gz"],
        lambda n: f"labelsTr/{stem}_{n:03d}.nii.gz",
        lambda n: f"{stem}_{n:03d}",
        values,
        numbers,
        index=index,
    )


def _amos(numbers: Sequence[int], others: Sequence[int]) -> Layout:
    def part(n: int) -> str:
        return "Va" if n in others else "Tr"

    def index(layout: Layout) -> dict[str, Any]:
        def entries(cases: Sequence[int]) -> list[dict[str, str]]:
            return [{"image": f"./{layout.images(n)[0]}", "label": f"./{layout.mask(n)}"} for n in cases]

        return {
            "labels": {str(value): f"organ {value}" for value in (0, *ORGANS)},
            "training": entries(numbers),
            "validation": entries(others),
        }

    return Layout(
        lambda n: [f"images{part(n)}/amos_{n:04d}.nii.gz"],
        lambda n: f"labels{part(n)}/amos_{n:04d}.nii.gz",
        lambda n: f"amos_{n:04d}",
        ORGANS,
        numbers,
        others,
        index,
    )


def _acdc(n: int, ending: str = "") -> str:
    """Cases 11, 12 are the frames of patient 1, and so on."""
    patient, frame = divmod(n, 10)
    return f"training/patient{patient:03d}/patient{patient:03d}_frame{frame:02d}{ending}.nii.gz"


LAYOUTS: dict[str, Layout] = {
    "brats21": Layout(
        lambda n: [
            f"BraTS2021_{n:05d}/BraTS2021_{n:05d}_{channel}.nii.gz"
            for channel in ("t1", "t1ce", "t2", "flair")
        ],
        lambda n: f"BraTS2021_{n:05d}/BraTS2021_{n:05d}_seg.nii.gz",
        lambda n: f"BraTS2021_{n:05d}",
        (1, 2, 4),
        (0, 2, 3),
    ),
    "kits19": Layout(
        lambda n: [f"case_{n:05d}/imaging.nii.gz"],
        lambda n: f"case_{n:05d}/segmentation.nii.gz",
        lambda n: f"case_{n:05d}",
        (1, 2),
    ),
    "kits21": Layout(
        lambda n: [f"case_{n:05d}/imaging.nii.gz"],
        lambda n: f"case_{n:05d}/aggregated_MAJ_seg.nii.gz",
        lambda n: f"case_{n:05d}",
        (1, 2, 3),
        (13, 120, 125),
    ),
    "msd-lung": _decathlon("lung", (1,), (1, 3, 4)),
    "msd-pancreas": _decathlon("pancreas", (1, 2), (331, 362, 299)),
    "msd-hepatic-vessel": _decathlon("hepaticvessel", (1, 2), (1, 2, 4)),
    "msd-colon": _decathlon("colon", (1,), (1, 5, 8)),
    "lits": Layout(
        lambda n: [f"volume-{n}.nii"],
        lambda n: f"segmentation-{n}.nii",
        lambda n: f"volume-{n}",
        (1, 2),
        (8, 95, 97),
    ),
    "amos22-ct": _amos((1, 4), (13,)),
    "amos22-mr": _amos((507, 508), (510,)),
    "acdc": Layout(
        lambda n: [_acdc(n)],
        lambda n: _acdc(n, "_gt"),
        lambda n: f"patient{n // 10:03d}_frame{n % 10:02d}",
        (1, 2, 3),
        (11, 12, 21, 22, 31, 32),
    ),
    "synapse": Layout(
        lambda n: [f"Training/img/img{n:04d}.nii.gz"],
        lambda n: f"Training/label/label{n:04d}.nii.gz",
        lambda n: f"img{n:04d}",
        tuple(range(1, 14)),
        (5, 6, 1),
    ),
}


def labels_of(values: Sequence[int], number: int) -> np.ndarray:
    """Return labels (k, j, i) with a box for each value, at places that differ from case to case."""
    labels = np.zeros(SIZE[::-1], np.uint8)
    sides = (2, 2, 1) if len(values) <= 4 else (4, 4, 1)
    cell = [n // side for n, side in zip(SIZE, sides, strict=True)]
    for place, value in enumerate(values):
        low = [(place % sides[0]) * cell[0], (place // sides[0]) * cell[1], number % 3]
        i, j, k = (a + 1 for a in low)
        labels[k : k + cell[2] - 5, j : j + cell[1] - 2, i : i + cell[0] - 2] = value
    return labels


def write_miniature(name: str, root: Path) -> None:
    """Write a data set of a few small volumes, with spacings and directions of all kinds."""
    layout = LAYOUTS[name]
    for place, number in enumerate((*layout.numbers, *layout.others)):
        labels = labels_of(layout.values, number)
        rng = np.random.default_rng(number)
        direction = DIRECTIONS[place % len(DIRECTIONS)]
        for path in layout.images(number):
            values = rng.normal(60, 15, labels.shape) + 40 * labels
            write_volume(root / path, values.astype(np.int16), direction)
        write_volume(root / layout.mask(number), labels, direction)
    if layout.index is not None:
        (root / "dataset.json").write_text(json.dumps(layout.index(layout)))


def write_volume(path: Path, array: np.ndarray, direction: Sequence[float]) -> None:
    """Write values (k, j, i) on the grid of the miniatures."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin((-30.0, 12.0, 200.0))
    image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
