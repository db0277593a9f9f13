"""A case of an experiment in memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.errors import TrainingError
from MSAMLogic.geometry import ImageGrid, Point
from MSAMLogic.training.datasets import Volume


class LoadedVolume:
    """Image and labels of a case.

    Args:
        volume: what to read.
        targets: label values of each target.

    Attributes:
        volume: what was read.
        image: the scan.
        labels: (k, j, i), 1 for the first target, 2 for the second, 0 elsewhere.

    Raises:
        TrainingError: when a file is no image, or the labels have another size than the image.
    """

    def __init__(self, volume: Volume, targets: Mapping[str, tuple[int, ...]]) -> None:
        self.volume = volume
        self.image = _read(volume.image_path.as_posix())
        mask = _read(volume.mask_path.as_posix())
        if mask.GetSize() != self.image.GetSize():
            raise TrainingError(
                f"{volume.mask_path} has {mask.GetSize()} voxels, its image {self.image.GetSize()}; "
                "fetch both again."
            )
        # Some official labels have another header than their image; voxel by voxel they belong together.
        values = sitk.GetArrayViewFromImage(mask)
        self.labels = np.zeros(values.shape, np.uint8)
        for number, members in enumerate(targets.values(), start=1):
            self.labels[np.isin(values, members)] = number

    @cached_property
    def grid(self) -> ImageGrid:
        """Where the image lies."""
        return ImageGrid.of(self.image)

    @cached_property
    def label_image(self) -> sitk.Image:
        """The labels on the grid of the image."""
        return self.grid.image(self.labels, self.grid.whole)

    @property
    def present(self) -> list[int]:
        """The numbers of the targets that are there."""
        return [number for number, box in enumerate(self._boxes, start=1) if box is not None]

    def middle(self, number: int) -> Point:
        """Return LPS millimetres of the middle of a target's bounding box.

        Args:
            number: of the target, from 1; it must be there.
        """
        box = self._boxes[number - 1]
        return self.grid.point(np.array([(axis.start + axis.stop - 1) / 2 for axis in reversed(box)]))

    def voxels(self, number: int) -> NDArray[np.intp]:
        """Return the voxels (n, 3) of a target, order (i, j, k).

        Args:
            number: of the target, from 1; it must be there.
        """
        box = self._boxes[number - 1]
        corner = [axis.start for axis in box]
        return np.asarray((np.argwhere(self.labels[box] == number) + corner)[:, ::-1])

    @cached_property
    def _boxes(self) -> list[Any]:
        """The bounding boxes (k, j, i) of the targets; None for one that is not there."""
        return list(ndimage.find_objects(self.labels))


def _read(path: str) -> sitk.Image:
    try:
        return sitk.ReadImage(path)
    except RuntimeError as error:
        raise TrainingError(f"{path} is no image that can be read; fetch it again.") from error
