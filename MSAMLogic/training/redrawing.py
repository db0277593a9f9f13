"""The same lesion as another reader would have drawn it.

Readers differ by a voxel or two along the whole edge: one draws inside the edge, one outside, one cuts a
corner. From the image alone nobody can tell which of them will click; the reader's corrections can. A
network learns to read them only from targets of many hands.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MSAMLogic.training.clicks import Mask
from MSAMLogic.training.distance_from_edge import distance_from_edge
from MSAMLogic.training.shapes import smooth_noise

_LARGEST_SHARE = 0.35  # of the lesion's depth that a reader may take away or add
_MOST_VOXELS = 3.0


def redrawn(lesion: Mask, rng: np.random.Generator) -> Mask:
    """Return a lesion with its edge moved inwards or outwards, evenly and in places.

    Args:
        lesion: (n, n, n).
        rng: source of chance.

    Returns:
        What the other reader drew, in one part; the lesion itself when that would be lost or fill the patch.
    """
    if not lesion.any() or lesion.all():
        return lesion
    distance = distance_from_edge(lesion)
    most = min(_MOST_VOXELS, 0.5 + _LARGEST_SHARE * (0.5 - float(distance.min())))
    evenly, locally = rng.uniform(-most, most), rng.uniform(0.0, 0.6 * most)
    edge = evenly + locally * smooth_noise(lesion.shape[0], int(rng.integers(3, 10)), rng)
    parts, count = ndimage.label(distance < edge, np.ones((3, 3, 3)))
    common = np.bincount(parts[lesion], minlength=count + 1)
    common[0] = 0
    if not common.any():
        return lesion
    other: Mask = parts == int(common.argmax())
    return lesion if other.all() else other
