"""A data set made small enough to be carried to another machine, in the same layout.

The large scans lose resolution, finest axis first, until everything fits; small ones, where every voxel
counts, stay as they are. Cases, patients and sources keep their names, so the same patients are kept aside.
"""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.optimize import brentq

from MSAMLogic.errors import TrainingError
from MSAMLogic.files import atomic_path
from MSAMLogic.training.cases import Case, read_case, read_cases, split_by_patient, voxels_of

# Each round corrects the guess of the last one, and aims a little lower.
_ROUNDS = 6
_CAUTION = 0.97
_COLUMNS = ("case", "source", "patient", "modality", "image", "mask")


@dataclass(frozen=True)
class PackedData:
    """What was written.

    Attributes:
        cases: how many.
        coarser: how many of them lost resolution.
        size: bytes of all files.
    """

    cases: int
    coarser: int
    size: int


def pack(
    folder: Path,
    packed: Path,
    megabytes: float,
    log: Callable[[str], None] = print,
    training_only: bool = False,
) -> PackedData:
    """Write a data set again, in at most so many megabytes.

    Args:
        folder: with a ``cases.tsv``, see :mod:`MSAMLogic.training.cases`.
        packed: the folder to write, which must be empty or not exist; it appears when all is written.
        megabytes: the most that all files may take, in units of 10⁶ bytes.
        log: called with a line of text for each round.
        training_only: leave out the scans of the patients that are kept aside; the table names them all the
            same, so that the same patients are kept aside.

    Raises:
        TrainingError: when the folder is no data set or cannot be made so small, or when ``packed`` holds
            something already.
    """
    if packed.exists() and (not packed.is_dir() or any(packed.iterdir())):
        raise TrainingError(f"{packed} is not empty; name a new folder.")
    cases = read_cases(folder)
    cases, aside = split_by_patient(cases) if training_only else (cases, [])
    budget = megabytes * 1e6
    voxels = np.array([voxels_of(case) for case in cases], float)
    # What the scans take now tells about what they will take; the rounds correct the guess.
    expected = np.array([_bytes_of(case) for case in cases], float)
    packed.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(_ROUNDS):
        most = _most_voxels(voxels, expected, _CAUTION * budget)
        with tempfile.TemporaryDirectory(dir=packed.parent, prefix=".partial-") as temporary:
            written = Path(temporary) / "data"
            result = _write(cases, aside, written, most)
            log(
                f"at most {most / 1e6:.2f} million voxels a scan: {result.size / 1e6:.1f} MB, "
                f"{result.coarser} of {result.cases} scans coarser"
            )
            if result.size <= budget:
                if packed.exists():
                    packed.rmdir()
                shutil.move(written, packed)
                return result
        expected *= result.size / float((expected * np.minimum(1, most / voxels)).sum())
    raise TrainingError(f"The data set does not fit into {megabytes:g} MB; allow more, or list fewer cases.")


def coarsened(image: sitk.Image, most_voxels: float, is_mask: bool = False) -> sitk.Image:
    """Return an image of at most so many voxels that covers the same box; the finest axes give way first.

    Args:
        image: int16 values, or a mask of 0 and 1.
        most_voxels: what the result may have.
        is_mask: whether a voxel of the result is lesion where half of it was, instead of a mean.
    """
    size, spacing = np.array(image.GetSize()), np.array(image.GetSpacing())
    extent = size * spacing
    finest = _finest_spacing(extent, spacing, most_voxels)
    if finest is None:
        return image
    wanted = np.where(spacing < finest, np.maximum(1, np.floor(extent / finest)), size).astype(int)
    coarse = extent / wanted
    # Several samples a voxel along the axes that change, and their mean: nothing aliases.
    repeats = np.ceil(coarse / spacing - 1e-6).astype(int)
    dense = wanted * repeats
    step = extent / dense
    corner = image.TransformContinuousIndexToPhysicalPoint([-0.5] * 3)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    sampled = sitk.Resample(
        sitk.Cast(image, sitk.sitkFloat32),
        [int(n) for n in dense],
        sitk.Transform(),
        sitk.sitkLinear,
        [float(v) for v in corner + direction @ (step / 2)],
        [float(v) for v in step],
        image.GetDirection(),
        0.0,
        sitk.sitkFloat32,
        True,  # beyond the outermost centres their value goes on
    )
    x, y, z = (int(n) for n in wanted)
    p, q, r = (int(n) for n in repeats)
    means = sitk.GetArrayViewFromImage(sampled).reshape(z, r, y, q, x, p).mean(axis=(1, 3, 5))
    values = (means >= 0.5).astype(np.uint8) if is_mask else np.rint(means).astype(np.int16)
    out = sitk.GetImageFromArray(values)
    out.SetOrigin([float(v) for v in corner + direction @ (coarse / 2)])
    out.SetSpacing([float(v) for v in coarse])
    out.SetDirection(image.GetDirection())
    return out


def _finest_spacing(
    extent: NDArray[np.float64], spacing: NDArray[np.float64], most_voxels: float
) -> float | None:
    """Return the spacing that no axis may be finer than, for a box of few enough voxels; None if any may."""

    def voxels(finest: float) -> float:
        return float(np.prod(np.maximum(1, np.floor(extent / np.maximum(spacing, finest) + 1e-6))))

    if voxels(0.0) <= most_voxels:
        return None
    low, high = float(spacing.min()), float(extent.max())
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if voxels(middle) <= most_voxels else (middle, high)
    return high


def _bytes_of(case: Case) -> int:
    """Return what the files of a case take; reading the case will say which of them is missing."""
    return sum(path.stat().st_size for path in (case.image_path, case.mask_path) if path.is_file())


def _most_voxels(voxels: NDArray[np.float64], expected: NDArray[np.float64], budget: float) -> float:
    """Return the voxels that no scan may exceed, so that all together take so many bytes.

    Args:
        voxels: (n,) of each scan now.
        expected: (n,) bytes of each scan now.
        budget: bytes.
    """
    largest = float(voxels.max())
    if expected.sum() <= budget:
        return largest
    return float(brentq(lambda most: (expected * np.minimum(1, most / voxels)).sum() - budget, 0, largest))


def _write(cases: Sequence[Case], aside: Sequence[Case], folder: Path, most_voxels: float) -> PackedData:
    (folder / "cases").mkdir(parents=True)
    table = io.StringIO()
    rows = csv.writer(table, delimiter="\t", lineterminator="\n")
    rows.writerow(_COLUMNS)
    coarser = 0
    for number, case in enumerate(cases):
        image, mask = read_case(case)
        parts = coarsened(image, most_voxels), coarsened(mask != 0, most_voxels, is_mask=True)
        coarser += parts[0].GetSize() != image.GetSize()
        names = [f"cases/{number:05d}_{part}.nii.gz" for part in ("image", "mask")]
        for name, part in zip(names, parts, strict=True):
            sitk.WriteImage(part, str(folder / name), useCompression=True)
        rows.writerow([case.name, case.source, case.patient, case.modality, *names])
    for number, case in enumerate(aside):
        names = [f"kept_aside/{number:05d}_{part}.nii.gz" for part in ("image", "mask")]
        rows.writerow([case.name, case.source, case.patient, case.modality, *names])
    with atomic_path(folder / "cases.tsv") as partial:
        partial.write_text(table.getvalue(), encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return PackedData(len(cases), coarser, size)
