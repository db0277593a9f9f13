"""The loss of a mask made of the first looks, and figures that tell whether it is better than one of them."""

from __future__ import annotations

import torch
from torch import Tensor

from MSAMLogic.model.look_fusion import FirstLookTensors

# How much more a cell counts that the chosen look has wrong.
_WRONG_WEIGHT = 3.0
_ESTIMATE_WEIGHT = 2.0
_AXES = (1, 2, 3)


def fusion_figures(
    logits: Tensor, estimate: Tensor, known: FirstLookTensors, target: Tensor
) -> dict[str, Tensor]:
    """Return ``loss``: cross-entropy, a soft Dice loss, and the squared error of the estimated Dice.

    Args:
        logits: (B, n, n, n) of the lesion.
        estimate: (B,) of the Dice in the cube.
        known: what the fusion saw.
        target: (B, n, n, n) share of each cell that is lesion.

    Returns:
        Beside the loss the Dice in the cube of the fused mask and of the chosen look, and how far off the
        estimate is.
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
        return (2 * (inside & truth).sum(_AXES) + 1) / (total + 1)

    reached = dice(logits > 0)
    off = (estimate.float() - reached) ** 2
    return {
        "loss": (entropy + dice_loss + _ESTIMATE_WEIGHT * off).mean(),
        "dice": reached.mean(),
        "dice_chosen": dice(chosen).mean(),
        "estimate_off": off.mean().sqrt(),
    }
