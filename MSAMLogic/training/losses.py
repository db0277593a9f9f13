"""The loss of one answer: 0.5 Dice + 0.5 cross-entropy (M-SAM, section 3.1), and obedience to clicks."""

from __future__ import annotations

import torch
from torch import Tensor


def dice_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return 0.5 soft Dice loss (squared denominators) + 0.5 binary cross-entropy, mean over the batch.

    Args:
        logits: (B, 1, n, n, n).
        target: same shape, in [0, 1].
    """
    logits, target = logits.float(), target.float()
    probability = logits.sigmoid()
    axes = (1, 2, 3, 4)
    overlap = (probability * target).sum(axes)
    total = probability.square().sum(axes) + target.square().sum(axes)
    dice_loss = 1 - (2 * overlap + 1.0) / (total + 1.0)
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    return 0.5 * dice_loss.mean() + 0.5 * cross_entropy


def true_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Return the IoU (B, 1) of the thresholded answer, what the IoU head learns to estimate."""
    predicted, truth = logits.detach() > 0, target > 0.5
    axes = (1, 2, 3, 4)
    union = (predicted | truth).sum(axes).clamp(min=1)
    return ((predicted & truth).sum(axes) / union).unsqueeze(1)


def click_disobedience(logits: Tensor, target: Tensor, near: Tensor) -> Tensor:
    """Return the cross-entropy close to the clicks, mean over the batch.

    A correction is small beside the lesion, and a mean over the patch hardly notices whether it was
    followed; to a reader it is the one thing that matters.

    Args:
        logits: (B, 1, n, n, n).
        target: same shape, in [0, 1].
        near: same shape, in [0, 1], how close each voxel is to a click.
    """
    wrong = torch.nn.functional.binary_cross_entropy_with_logits(
        logits.float(), target.float(), reduction="none"
    )
    axes = (1, 2, 3, 4)
    return ((wrong * near).sum(axes) / near.sum(axes).clamp(min=1e-3)).mean()
