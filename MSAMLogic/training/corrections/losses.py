"""The loss of a correction, and figures that tell whether it helped."""

from __future__ import annotations

import torch
from torch import Tensor

from MSAMLogic.model.corrector import CorrectionTensors

# How much more a cell counts that the mask before, or the answer, has wrong.
_WRONG_WEIGHT = 4.0
_AXES = (1, 2, 3)


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
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    entropy = (entropy * weight).sum(_AXES) / weight.sum(_AXES).clamp(min=1)
    probability, wanted = logits.sigmoid() * within, target * within
    overlap = 2 * (probability * wanted).sum(_AXES) + 1
    dice_loss = 1 - overlap / (probability.sum(_AXES) + wanted.sum(_AXES) + 1)

    def dice(mask: Tensor) -> Tensor:
        inside, truth = (mask & (within > 0)), (lesion & (within > 0))
        total = inside.sum(_AXES) + truth.sum(_AXES)
        return ((2 * (inside & truth).sum(_AXES) + 1) / (total + 1)).mean()

    return {
        "loss": (entropy + 0.5 * dice_loss).mean(),
        "dice": dice(logits > 0),
        "dice_before": dice(known.before > 0.5),
        "dice_answer": dice(known.answer > 0),
    }
