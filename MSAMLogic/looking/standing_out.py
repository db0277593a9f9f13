"""How much a mask stands out from what surrounds it.

Readers click what they see. Of two masks that a click could mean, a lesion and, say, a part of it that is
hardly darker than the rest, one stands out and the other does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.mask_in_cube import edge_distance

_BLURRED = 1.5  # cells from the edge, on both sides, that may hold something of either side
_RIM = 4.5  # cells from the edge that are compared; farther away other things lie


def standing_out(image: NDArray[np.floating], share: NDArray[np.floating]) -> float:
    """Return how far the brightness within a mask's edge is from that beyond it, in standard deviations.

    The deviation is the mean one of both sides (Cohen's d), so that neither the scanner's units nor
    the sign of the contrast matter, and what is as bright as its surroundings are uneven does not stand out.

    Args:
        image: (n, n, n) scanner values, NaN beyond the image.
        share: (n, n, n) of each cell that the mask holds, 0 to 1.

    Returns:
        0 for a mask that is like its surroundings, or has none in the cube.
    """
    depth, known = edge_distance(share), np.isfinite(image)
    within = known & (depth > _BLURRED) & (depth < _RIM)
    beyond = known & (depth < -_BLURRED) & (depth > -_RIM)
    if not within.any():  # a mask of few cells
        within = known & (depth > 0)
    if not within.any() or not beyond.any():
        return 0.0
    apart = abs(float(image[within].mean()) - float(image[beyond].mean()))
    spread = float(np.sqrt((image[within].var() + image[beyond].var()) / 2))
    if spread > 0:
        return apart / spread
    return float("inf") if apart > 0 else 0.0
