"""Lesions that a network proposes by itself, for clicks to refine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MSAMLogic.geometry import ImageGrid, Region
from MSAMLogic.intensity import Modality
from MSAMLogic.measurements import voxel_volume
from MSAMLogic.semantic import classify_image

LEAST_VOLUME = 200.0  # mm³, a ball of 7.3 mm; what is smaller is mostly noise
_NEIGHBOURS = np.ones((3, 3, 3), bool)  # voxels that share a face, an edge or a corner


@dataclass(frozen=True, eq=False)
class Proposal:
    """A connected part of one class.

    Attributes:
        mask: uint8, 1 inside; the lesion's bounding box on the image's own grid, its origin says where.
        name: the class.
        score: mean probability of the class inside, 0 to 1.
    """

    mask: sitk.Image
    name: str
    score: float


def propose_lesions(
    model: Any,
    image: sitk.Image,
    modality: Modality | None = None,
    on_progress: Callable[[float], object] | None = None,
) -> list[Proposal]:
    """Return what a network finds in an image, without a click.

    Each connected part (by faces, edges or corners) of a class of at least :data:`LEAST_VOLUME` is a
    proposal. The first is the one whose probabilities add up to the largest volume: large and certain.

    Args:
        model: what :func:`MSAMLogic.load_model` returns for a network that takes no clicks.
        image: a scalar image of three dimensions, in any orientation.
        modality: "CT" or "MR"; by default the image tells.
        on_progress: is called with 0 to 1 after each window; what it raises ends the work.

    Raises:
        ModelError: when the model takes clicks.
        ImageError: when the image is no single 3D volume.
    """
    found = classify_image(model, image, modality, on_progress)
    labels = sitk.GetArrayViewFromImage(found.labels)
    probability = sitk.GetArrayViewFromImage(found.probability)
    grid = ImageGrid.of(image)
    voxel = voxel_volume(grid)
    proposals: list[tuple[float, Proposal]] = []
    for label, name in enumerate(model.capabilities.classes, start=1):
        parts, _ = ndimage.label(labels == label, structure=_NEIGHBOURS)
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            inside = parts[box] == number
            if inside.sum() * voxel < LEAST_VOLUME:
                continue
            expected = float(probability[box][inside].sum(dtype=np.float64))
            k, j, i = box
            region = Region((i.start, j.start, k.start), (i.stop, j.stop, k.stop))
            mask = grid.image(inside.astype(np.uint8), region)
            score = min(1.0, expected / int(inside.sum()))
            proposals.append((expected, Proposal(mask, name, score)))
    return [proposal for _, proposal in sorted(proposals, key=lambda pair: -pair[0])]
