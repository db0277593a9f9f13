"""How sharp an edge of the image a mask's edge follows.

A network that learned from loose outlines, or from lesions without a clear border, may draw through an even
region although a sharp border runs close by. The image tells which of two drawings keeps to a border.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_SMOOTHING = 1.0  # cells; less follows noise
_RIM = 2  # cells at the image's border, where the border itself would be an edge


def edge_sharpness(image: NDArray[np.floating], share: NDArray[np.floating]) -> float:
    """Return how much the brightness changes across a mask's edge, in units of its mean change in the cube.

    That is the mean over the edge of the gradient along the edge's normal, so that an edge that is bright on
    one side and dark on the other counts as none, over the mean length of the gradient.

    Args:
        image: (n, n, n) scanner values, NaN beyond the image.
        share: (n, n, n) of each cell that the mask holds, 0 to 1.

    Returns:
        0 for a mask whose edge follows nothing, about 1 for one anywhere in an even texture, 2 and more for a
        clear border. 0 too where there is no edge.
    """
    known = np.isfinite(image)
    inner = ndimage.binary_erosion(known, iterations=_RIM)
    if not inner.any():
        return 0.0
    values = np.where(known, image, image.mean(where=known))
    across = np.stack(np.gradient(ndimage.gaussian_filter(values, _SMOOTHING)))
    normal = np.stack(np.gradient(ndimage.gaussian_filter(np.asarray(share, np.float32), _SMOOTHING)))
    edge = float(np.linalg.norm(normal, axis=0).sum(where=inner))
    anywhere = float(np.linalg.norm(across, axis=0).mean(where=inner))
    if edge <= 0 or anywhere <= 0:
        return 0.0
    return abs(float((across * normal).sum(axis=0).sum(where=inner))) / edge / anywhere
