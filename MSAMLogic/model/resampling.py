"""Half and twice the resolution of a volume, quick for one volume of one channel on a processor.

torch shares such work among cores by batch and channel, of which a click has one each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def halved(volume: Tensor) -> Tensor:
    """Return the mean of each 2 x 2 x 2 cells, as :func:`torch.nn.functional.avg_pool3d` does, to rounding.

    Args:
        volume: (..., D, H, W) with even sides.

    Returns:
        (..., D/2, H/2, W/2).
    """
    pairs = volume[..., 0::2, :, :] + volume[..., 1::2, :, :]
    pairs = pairs[..., 0::2, :] + pairs[..., 1::2, :]
    return (pairs[..., 0::2] + pairs[..., 1::2]) / 8


def doubled(volume: Tensor) -> Tensor:
    """Return a volume at twice its resolution, trilinear, as :func:`torch.nn.functional.interpolate` does.

    Interpolation works along one axis after the other, so it is three products of matrices.

    Args:
        volume: (B, C, D, H, W), of float32 or more.

    Returns:
        (B, C, 2 D, 2 H, 2 W), cells centred as ``align_corners=False`` centres them.
    """
    with torch.autocast(volume.device.type, enabled=False):
        along = [_doubling(side, volume) for side in volume.shape[2:]]
        rows = along[1] @ (volume @ along[2].T)
        twice: Tensor = along[0] @ rows.flatten(3)
        return twice.reshape(*twice.shape[:3], *rows.shape[3:])


def _doubling(side: int, like: Tensor) -> Tensor:
    """Return the matrix (2 side, side) that doubles an axis."""
    unit = torch.eye(side, dtype=like.dtype, device=like.device)[None]
    matrix: Tensor = nn.functional.interpolate(unit, scale_factor=2, mode="linear")[0].T
    return matrix
