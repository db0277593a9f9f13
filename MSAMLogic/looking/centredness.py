"""How far in the middle of a mask a click lies.

Readers click the middle of what they mean. Of two masks that a click could mean, a lesion and, say, a large
structure that it lies in, the click is in the middle of one and somewhere in the other.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MSAMLogic.geometry import ImageGrid, Index
from MSAMLogic.voxels import VoxelSet


def centredness(mask: VoxelSet, image: ImageGrid, voxel: Index) -> float:
    """Return how deep a voxel lies in its part of a mask, as a share of how deep one can lie there.

    Args:
        mask: any mask of the image.
        image: its grid.
        voxel: (i, j, k).

    Returns:
        1 for the voxel that is farthest from the part's edge in millimetres, 0 for one outside the mask.
    """
    if voxel not in mask:
        return 0.0
    inside = np.pad(mask.read(mask.region), 1)
    i, j, k = (v - start + 1 for v, start in zip(voxel, mask.region.start, strict=True))
    labels, _ = ndimage.label(inside)
    part = labels == labels[k, j, i]
    depth = ndimage.distance_transform_edt(part, sampling=image.spacing[::-1])
    return float(depth[k, j, i] / depth.max())
