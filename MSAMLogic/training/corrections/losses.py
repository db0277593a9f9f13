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
# How much a cell counts that the click cannot change: a little, for its neighbours are interpolated with it.
_FIXED_WEIGHT = 0.1


def correction_figures(logits: Tensor, known: CorrectionTensors, target: Tensor) -> dict[str, Tensor]:
    """Return ``loss``: cross-entropy, above all where something is in question, and half a soft Dice loss.

    A click for the lesion only adds to the mask, one against it only takes away
    (:meth:`MSAMLogic.correcting.mask_corrector.MaskCorrector.redrawn`): only cells that it can change have to
    be right, and the Dice is that of the mask as it changes it.

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
    adds = (known.labels[:, -1] == 1)[:, None, None, None]
    may_change = torch.where(adds, 1 - known.before, known.before)
    weight = within * torch.where(in_question, _QUESTION_WEIGHT, 1.0) * may_change.clamp(min=_FIXED_WEIGHT)
    entropy = weighted_entropy(logits, target, weight)
    probability = torch.where(
        adds, known.before + may_change * logits.sigmoid(), may_change * logits.sigmoid()
    )
    dice_loss = soft_dice_loss(probability, target, within)
    was, says = known.before > 0.5, logits > 0
    return {
        "loss": (entropy + 0.5 * dice_loss).mean(),
        "dice": mean_dice(torch.where(adds, was | says, was & says), lesion, within),
        "dice_before": mean_dice(was, lesion, within),
        "dice_answer": mean_dice(known.answer > 0, lesion, within),
    }
