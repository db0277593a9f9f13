"""The loss of a mask made of the first looks, and figures that tell whether it is better than one of them."""

from __future__ import annotations

import torch
from torch import Tensor

from MSAMLogic.model.look_fusion import FirstLookTensors
from MSAMLogic.training.cube_losses import mean_dice, soft_dice_loss, weighted_entropy

# How much more a cell counts where the looks differ. It must not depend on the truth: if a cell counted more
# because the chosen look has it wrong, a small chance that it does would speak for changing it.
_QUESTION_WEIGHT = 3.0


def fusion_figures(logits: Tensor, known: FirstLookTensors, target: Tensor) -> dict[str, Tensor]:
    """Return ``loss``: cross-entropy, most of all where the looks differ, and a soft Dice loss.

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
    looks = torch.cat((known.chosen[:, None], known.answers), dim=1)  # NaN is neither lesion nor not
    differ = (looks > 0).any(dim=1) & (looks < 0).any(dim=1)
    weight = within * torch.where(differ, _QUESTION_WEIGHT, 1.0)
    entropy = weighted_entropy(logits, target, weight)
    dice_loss = soft_dice_loss(logits.sigmoid(), target, within)
    return {
        "loss": (entropy + dice_loss).mean(),
        "dice": mean_dice(logits > 0, lesion, within),
        "dice_chosen": mean_dice(chosen, lesion, within),
    }
