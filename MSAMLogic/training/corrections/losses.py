"""The loss of a correction, and figures that tell whether it helped."""

from __future__ import annotations

import torch
from torch import Tensor

from MSAMLogic.model.corrector import CorrectionTensors
from MSAMLogic.training.cube_losses import mean_dice, soft_dice_loss, weighted_entropy

# How much more a cell counts that the mask before, or the answer, has wrong.
_WRONG_WEIGHT = 4.0


def correction_figures(logits: Tensor, known: CorrectionTensors, target: Tensor) -> dict[str, Tensor]:
    """Return ``loss``: cross-entropy, most of all where something is wrong, and half of a soft Dice loss.

    Args:
        logits: (B, n, n, n) of the lesion.
        known: what the corrector saw.
        target: (B, n, n, n) share of each cell that is lesion.

    Returns:
        Beside the loss the Dice in the cube of the corrected mask, of the mask before and of the answer.
    """
    logits = logits.float()
    within = (~known.image.isnan()).float()
    lesion = target > 0.5
    wrong = ((known.before > 0.5) != lesion) | ((known.answer > 0) != lesion)
    weight = within * torch.where(wrong, _WRONG_WEIGHT, 1.0)
    entropy = weighted_entropy(logits, target, weight)
    dice_loss = soft_dice_loss(logits, target, within)
    return {
        "loss": (entropy + 0.5 * dice_loss).mean(),
        "dice": mean_dice(logits > 0, lesion, within),
        "dice_before": mean_dice(known.before > 0.5, lesion, within),
        "dice_answer": mean_dice(known.answer > 0, lesion, within),
    }
