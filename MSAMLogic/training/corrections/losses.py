"""The loss of a correction, and figures that tell whether it helped."""

from __future__ import annotations

import torch
from torch import Tensor

from MSAMLogic.model.corrector import CorrectionTensors
from MSAMLogic.training.cube_losses import mean_dice, soft_dice_loss, weighted_entropy

# How much more a cell counts that is in question: near the edge of the mask before, or where it and the
# answer differ. What is in question must not depend on the truth: if a cell counts more because the mask has
# it wrong, a chance of one in five that it is already speaks for changing it, and every click does too much.
_QUESTION_WEIGHT = 4.0
_EDGE_CELLS = 2.0


def correction_figures(logits: Tensor, known: CorrectionTensors, target: Tensor) -> dict[str, Tensor]:
    """Return ``loss``: cross-entropy, above all where something is in question, and half a soft Dice loss.

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
    differ = (known.before > 0.5) != (known.answer > 0)
    in_question = differ | (known.distance.abs() <= _EDGE_CELLS)
    weight = within * torch.where(in_question, _QUESTION_WEIGHT, 1.0)
    entropy = weighted_entropy(logits, target, weight)
    dice_loss = soft_dice_loss(logits, target, within)
    return {
        "loss": (entropy + 0.5 * dice_loss).mean(),
        "dice": mean_dice(logits > 0, lesion, within),
        "dice_before": mean_dice(known.before > 0.5, lesion, within),
        "dice_answer": mean_dice(known.answer > 0, lesion, within),
    }
