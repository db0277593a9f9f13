"""Boxes of masks, and how well boxes agree.

A box is (left, top, right, bottom) in fractions of the slice, 0 to 1, at the outer edges of its pixels; left
and right are columns, top and bottom rows.
"""

from __future__ import annotations

import torch
from torch import Tensor


def boxes_of_masks(masks: Tensor) -> Tensor:
    """Return the tight boxes (..., 4) of masks (..., h, w), boolean; zeros for an empty mask.

    The authors' code divides the last pixel's index, not its outer edge, by the size; then a mask of one
    pixel has a box without area, whose GIoU is no number.
    """
    left, right = _bounds(masks.any(dim=-2))
    top, bottom = _bounds(masks.any(dim=-1))
    return torch.stack((left, top, right, bottom), dim=-1)


def _bounds(hit: Tensor) -> tuple[Tensor, Tensor]:
    """Return first and last edge (...) of what is true in (..., n), in fractions of n."""
    n = hit.shape[-1]
    first = hit.int().argmax(dim=-1)
    last = n - hit.flip(-1).int().argmax(dim=-1)
    some = hit.any(dim=-1)
    return torch.where(some, first, 0) / n, torch.where(some, last, 0) / n


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the GIoU (Rezatofighi et al. 2019) of boxes (..., 4) and (..., 4), broadcast; -1 to 1."""
    common = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    around = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0)
    intersection, hull = common.prod(dim=-1), around.prod(dim=-1)
    union = _area(a) + _area(b) - intersection
    tiny = torch.finfo(union.dtype).eps
    return intersection / union.clamp(min=tiny) - (hull - union) / hull.clamp(min=tiny)


def _area(box: Tensor) -> Tensor:
    return (box[..., 2:] - box[..., :2]).clamp(min=0).prod(dim=-1)
