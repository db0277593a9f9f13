"""How far logits in a cube are from a lesion: the terms of a loss, and the Dice, within the image."""

from __future__ import annotations

import torch
from torch import Tensor

_AXES = (1, 2, 3)


def weighted_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the cross-entropy (B,) of logits, a mean over cells that count by their weight.

    Args:
        logits: (B, n, n, n) float32.
        target: (B, n, n, n) share of each cell that is lesion.
        weight: (B, n, n, n), 0 beyond the image.
    """
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (entropy * weight).sum(_AXES) / weight.sum(_AXES).clamp(min=1)


def soft_dice_loss(probability: Tensor, target: Tensor, within: Tensor) -> Tensor:
    """Return one minus the Dice (B,) of probabilities (B, n, n, n).

    Args:
        probability: of the lesion, 0 to 1.
        target: (B, n, n, n) share of each cell that is lesion.
        within: (B, n, n, n) 1 in the image and 0 beyond.
    """
    said, wanted = probability * within, target * within
    overlap = 2 * (said * wanted).sum(_AXES) + 1
    return 1 - overlap / (said.sum(_AXES) + wanted.sum(_AXES) + 1)


def mean_dice(mask: Tensor, lesion: Tensor, within: Tensor) -> Tensor:
    """Return the mean Dice of masks (B, n, n, n), true in the lesion."""
    inside, truth = (mask & (within > 0)), (lesion & (within > 0))
    total = inside.sum(_AXES) + truth.sum(_AXES)
    return ((2 * (inside & truth).sum(_AXES) + 1) / (total + 1)).mean()
