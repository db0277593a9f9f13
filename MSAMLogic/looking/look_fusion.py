"""Bring the first looks at a lesion to one cube, in which one mask is made of them.

A first click is looked at in several patches, from fine to coarse. One of them suits the lesion best, but
the others know something too: a finer one where the edge runs, a coarser one how far the lesion goes on. All
of them are brought to one cube round the lesion, in which it fills about the same share whatever its size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from MSAMLogic.geometry import ImageGrid, PatchGrid, Point, extract_patch
from MSAMLogic.looking.first_looks import CUBE_SIZE, MOST_LOOKS, FirstLooks
from MSAMLogic.looking.looks import Look, lesion_extent
from MSAMLogic.mask_in_cube import possible_spacing
from MSAMLogic.voxels import VoxelSet

# Share of the cube that the longest side of the lesion fills.
_FILL = 0.6
_INNER_SHARE = 0.4  # of the cube's side; no farther from its middle the click lies


def fusion_cube(look: Look, point: Point, image: ImageGrid, scale: float = 1.0) -> PatchGrid:
    """Return the cube round the lesion that a look shows, the click well inside.

    Args:
        look: whose mask says how large the lesion is; an empty one is taken for a small one.
        point: LPS millimetres of the click.
        image: the image's grid.
        scale: how many times as large as usual the cells are.
    """
    extent = lesion_extent(look, look.grid.voxels(np.asarray(point)))
    if extent is None:
        middle, longest = np.asarray(point), 0.25 * look.grid.extent
    else:
        middle, longest = (
            look.grid.world((extent.low + extent.high) / 2),
            extent.fill * look.grid.spacing,
        )
    spacing = possible_spacing(scale * longest / (_FILL * CUBE_SIZE), image)
    reach = _INNER_SHARE * CUBE_SIZE * spacing
    x, y, z = (float(v) for v in np.clip(middle, np.asarray(point) - reach, np.asarray(point) + reach))
    return PatchGrid((x, y, z), spacing, CUBE_SIZE, look.grid.axes)


def cube_round(mask: VoxelSet, image: ImageGrid, axes: tuple[float, ...]) -> PatchGrid:
    """Return the cube in the middle of which a mask lies, filling the same share of it whatever its size.

    Args:
        mask: on the image, not empty.
        image: its grid.
        axes: of the cube.
    """
    first, last = np.asarray(mask.region.start, float), np.asarray(mask.region.stop, float) - 1
    longest = float(((last - first + 1) * image.spacing).max())
    middle = image.point((first + last) / 2)
    return PatchGrid(middle, possible_spacing(longest / (_FILL * CUBE_SIZE), image), CUBE_SIZE, axes)


def first_looks_in(
    cube: PatchGrid,
    image: sitk.Image,
    chosen: Look,
    looks: Sequence[Look],
    spacings: Sequence[float],
    point: Point,
) -> FirstLooks:
    """Return what the first looks show in a cube.

    Args:
        cube: round the lesion.
        image: the scan.
        chosen: the look that suits best, maybe drawn larger than it was answered.
        looks: all first looks.
        spacings: those that a network looks at first, at most four, ascending; some may not have been
            looked at.
        point: LPS millimetres of the click.
    """
    answers = np.full((MOST_LOOKS, *(cube.size,) * 3), np.nan, np.float32)
    for number, spacing in enumerate(spacings[:MOST_LOOKS]):
        for look in looks:
            if abs(look.grid.spacing / spacing - 1) < 1e-3:
                answers[number] = look.logits_in(cube)
    return FirstLooks(
        cube,
        extract_patch(image, cube, np.nan, antialias=True),
        chosen.logits_in(cube),
        answers,
        cube.voxels(np.asarray(point)).astype(np.float32),
        (ImageGrid.of(image).voxel_sides(cube) / cube.spacing).astype(np.float32),
    )
