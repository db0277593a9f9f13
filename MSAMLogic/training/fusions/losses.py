"""The loss of a mask made of the first looks, and figures that tell whether it is better than one of them."""

from __future__ import annotations

import torch
from torch import Tensor

from MSAMLogic.model.look_fusion import FirstLookTensors

# How much more a cell counts that the chosen look has wrong.
_WRONG_WEIGHT = 3.0
_AXES = (1, 2, 3)


def fusion_figures(logits: Tensor, known: FirstLookTensors, target: Tensor) -> dict[str, Tensor]:
    """Return ``loss``: cross-entropy, most of all where the chosen look is wrong, and a soft Dice loss.

    Args:
        logits: (B, n, n, n) of the lesion.
        known: what the fusion saw.
        target: (B, n, n, n) share of each cell that is lesion.

    Returns:
        Beside the loss the Dice in the cube of the fused mask and of the chosen look.
    """
    logits = logits.float()
    within = (~known.image.isnan()).float()
    lesion, chosen = target > 0.5, torch.nan_to_num(known.chosen) > 0
    weight = within * torch.where(chosen != lesion, _WRONG_WEIGHT, 1.0)
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
        "loss": (entropy + dice_loss).mean(),
        "dice": dice(logits > 0),
        "dice_chosen": dice(chosen),
    }
