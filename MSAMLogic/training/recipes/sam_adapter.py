"""The loss of 3DSAM-adapter: points at random, 0.5 Dice + 0.5 cross-entropy of the two classes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from MSAMLogic.model.sam_adapter.network import AdapterFeatures, SAMAdapter
from MSAMLogic.training.clicks import Mask

LESION_POINTS = 10
OTHER_POINTS = 20
_SMOOTH = 1e-5  # in numerator and denominator of the Dice loss, as MONAI has it


def sam_adapter_loss(
    network: SAMAdapter, batch: Mapping[str, Tensor], rng: np.random.Generator
) -> dict[str, Tensor]:
    """Return the loss of one batch, as the release's ``train.py`` computes it.

    For each patch ten voxels of the lesion and twenty of anywhere in the patch are drawn, with
    replacement, and given as points all alike: to the network a point has no label, and the false ones
    teach it to hold on to the lesion. A patch without a lesion gets the twenty alone, and shall come out
    empty. The paper speaks of points from lesion and background; the release's condition for the latter
    (``seg < 10``) holds in the lesion too, and is followed.

    The loss is MONAI's ``DiceCELoss`` without the background in the Dice part: soft Dice with plain, not
    squared, denominators. Of two classes the softmax is the sigmoid of the difference of their logits, so
    that difference is all that is needed. The paper and the release weigh both parts by 0.5.

    Args:
        network: the network, on the device of the batch.
        batch: ``patch`` (B, 1, n, n, n), normalised, and ``target`` (B, 1, n, n, n) of 0 and 1; axes
            (R, A, S).
        rng: source of chance for the points.

    Returns:
        ``loss`` to minimise and ``dice`` of the thresholded answers, without a gradient; both means over
        the batch. An empty answer to an empty target has a Dice of 1.

    Raises:
        ModelError: when the patch has another shape than the network takes.
    """
    patch, target = batch["patch"], batch["target"].float()
    features = network.look(patch)
    answers = []
    for index, truth in enumerate(target[:, 0].cpu().numpy() > 0.5):
        points = torch.from_numpy(draw_points(truth, rng)).to(patch)[None]
        # One by one: patches with and without a lesion have other numbers of points.
        alone = AdapterFeatures(*(part[index : index + 1] for part in features))
        answers.append(network.lesion_logits(alone, points))
    logits = torch.cat(answers).float()
    axes = (1, 2, 3, 4)
    probability = logits.sigmoid()
    overlap = (probability * target).sum(axes)
    soft_dice = (2 * overlap + _SMOOTH) / (probability.sum(axes) + target.sum(axes) + _SMOOTH)
    cross_entropy = binary_cross_entropy_with_logits(logits, target)
    with torch.no_grad():
        found = logits > 0
        both = found.sum(axes) + target.sum(axes)
        dice = torch.where(both > 0, 2 * (found * target).sum(axes) / both.clamp(min=1), 1.0)
    return {"loss": 0.5 * (1 - soft_dice).mean() + 0.5 * cross_entropy, "dice": dice.mean()}


def draw_points(truth: Mask, rng: np.random.Generator) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return points (N, 3) in voxels for a patch: ten in the lesion, if there is one, and twenty anywhere.

    Args:
        truth: (n, n, n), the lesion.
        rng: source of chance.
    """
    lesion = np.flatnonzero(truth)
    inside = rng.choice(lesion, LESION_POINTS) if lesion.size else lesion
    anywhere = rng.integers(truth.size, size=OTHER_POINTS)
    voxels = np.stack(np.unravel_index(np.concatenate([inside, anywhere]), truth.shape), axis=1)
    return voxels.astype(np.float32)
