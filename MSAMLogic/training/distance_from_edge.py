"""How far the voxels of a patch are from the edge of a lesion, for the generators of samples."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MSAMLogic.training.clicks import Mask


def distance_from_edge(lesion: Mask) -> NDArray[np.float32]:
    """Return the distance of each voxel's centre from the lesion's edge, in voxels, negative inside.

    The edge lies half a voxel beyond the centres of the outermost voxels of the lesion. It does not run along
    the faces of the patch, where the lesion may go on. By Maurer's algorithm, once for both sides. Inside,
    the distance is that from the outermost voxels of the lesion and half a voxel more.

    Args:
        lesion: (n, n, n), not empty. Where it is all of the patch, no edge is near: a very large number.
    """
    image = sitk.GetImageFromArray(lesion.astype(np.uint8))
    distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=False)
    return np.asarray(sitk.GetArrayFromImage(distance) - np.float32(0.5), np.float32)
