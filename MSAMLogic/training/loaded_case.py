"""A case in use: patches are cut out of it, wherever its voxels lie."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.geometry import ImageGrid, PatchGrid, Region, extract_patch
from MSAMLogic.training.case_store import StoredCase, load_case, store_case, stored_folder
from MSAMLogic.training.cases import Case, read_case
from MSAMLogic.training.lesions import Lesion, lesions_of

# Voxels round a patch that its interpolation may touch.
_MARGIN = 2
_MOST_TARGETS = 255  # what their numbers in a byte allow


class LoadedCase:
    """Image and lesion components of a case, int16 and uint8.

    Args:
        case: what to read.
        minimum_volume: lesions smaller than this many cubic millimetres are no targets.
        store: a folder that keeps the voxels as memory maps, so that a data set may be larger than the
            memory and several processes share one copy; by default they are held in memory.

    Attributes:
        grid: where the voxels lie.
        lesions: the targets.

    Raises:
        TrainingError: when a file is missing or no image, or image and mask lie on different grids.
        OSError: when the store cannot be written.
    """

    def __init__(self, case: Case, minimum_volume: float = 60.0, store: Path | None = None) -> None:
        self.case = case
        folder = None if store is None else stored_folder(store, case)
        kept = None if folder is None else load_case(folder)
        if kept is None:
            image, mask = read_case(case)
            grid = ImageGrid.of(image)
            labels, _ = ndimage.label(sitk.GetArrayViewFromImage(mask) > 0, np.ones((3, 3, 3)))
            kept = StoredCase(grid, sitk.GetArrayFromImage(image), labels, lesions_of(grid, labels))
            if folder is not None:
                store_case(folder, kept)
                kept = load_case(folder) or kept
        self.grid, self._values, self._labels = kept.grid, kept.values, kept.labels
        self._numbers, self.lesions = _targets(kept.lesions, minimum_volume)

    def patch(self, grid: PatchGrid, outside: float = 0.0) -> NDArray[np.float32]:
        """Return scanner values (n, n, n) of a patch, coarse ones averaged; ``outside`` beyond the image."""
        image = self._cut(self._values, grid)
        return extract_patch(image, grid, outside=outside, antialias=True)

    def target(self, lesion: Lesion, grid: PatchGrid) -> NDArray[np.bool_]:
        """Return where a lesion is in a patch (n, n, n)."""
        labels = extract_patch(self._cut(self._labels, grid), grid, nearest=True)
        return np.asarray(self._numbers[labels.astype(np.int32)] == lesion.label)

    @property
    def image(self) -> sitk.Image:
        """The whole image, int16, made anew each time: keep it for as long as a view of its voxels."""
        return self.grid.image(np.asarray(self._values), self.grid.whole)

    @property
    def components(self) -> sitk.Image:
        """The whole image of lesion labels, uint8, on demand; what is no target is 0."""
        return self.grid.image(self._numbers[self._labels], self.grid.whole)

    @cached_property
    def body(self) -> NDArray[np.intp]:
        """Sparse voxel indices (n, 3), order (i, j, k), that show tissue: where a fake lesion may lie."""
        view = self._values[::2, ::4, ::4]
        return np.asarray(np.argwhere(view > self.least_tissue)[:, ::-1] * np.array([4, 4, 2]))

    @cached_property
    def least_tissue(self) -> float:
        """The scanner value above which a voxel shows tissue, not air or lung."""
        view = self._values[::2, ::4, ::4]
        return -300.0 if self.case.modality == "CT" else float(np.percentile(view, 40))

    def _cut(self, voxels: NDArray[np.generic], grid: PatchGrid) -> sitk.Image:
        """Return the part of the image that a patch can touch; one voxel when it touches none."""
        near = self.grid.region_of(grid)
        if near.empty:
            near = Region((0, 0, 0), (1, 1, 1))
        i, j, k = (max(0, start - _MARGIN) for start in near.start)
        x, y, z = (min(n, stop + _MARGIN) for n, stop in zip(self.grid.size, near.stop, strict=True))
        return self.grid.image(voxels[k:z, j:y, i:x], Region((i, j, k), (x, y, z)))


def _targets(lesions: list[Lesion], minimum_volume: float) -> tuple[NDArray[np.uint8], list[Lesion]]:
    """Return the number of each component (0 for those that are no targets), and the targets, so numbered."""
    numbers = np.zeros(max((lesion.label for lesion in lesions), default=0) + 1, np.uint8)
    targets: list[Lesion] = []
    for lesion in lesions:
        if lesion.volume < minimum_volume or len(targets) == _MOST_TARGETS:
            continue
        numbers[lesion.label] = len(targets) + 1
        targets.append(replace(lesion, label=len(targets) + 1))
    return numbers, targets
