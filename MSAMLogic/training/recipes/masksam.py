"""MaskSAM's losses: every slice's masks are matched one to one with the classes that are in it.

Weights, matching and targets are those of the authors' code (their trainer for ACDC, ``MaskSAM_ACDC.py``);
the background is a class with a mask and a box like the others. It differs in four points:

* The loss is the mean over the patches, so that several processes with a part of a batch each find what one
  finds with the whole. The authors divide by all pairs of the batch.
* Masks are compared in all pixels. The authors draw points, most of them where the network is uncertain.
* The generator's masks are compared by their logits. The authors take the sigmoid twice.
* The decoder has boxes too, with the weights of the generator's (see
  :class:`MSAMLogic.model.masksam.mask_decoder.MaskDecoder`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from MSAMLogic.errors import TrainingError
from MSAMLogic.model.masksam.boxes import boxes_of_masks, generalised_iou
from MSAMLogic.model.masksam.network import ClassMasks, MaskSAM, class_probabilities

CLASS_WEIGHT = 0.2
MASK_WEIGHT = 1.5  # of cross-entropy and of Dice, each
BOX_WEIGHT = 0.5
GIOU_WEIGHT = 0.2
AUXILIARY_MASK_WEIGHT = 0.5  # of cross-entropy and of Dice, each
NO_OBJECT_WEIGHT = 0.1


class Targets(NamedTuple):
    """What is in each slice, for all classes whether they are there or not; S slices, K classes.

    Attributes:
        masks: (S, K + 1, n, n) of 1 and 0.
        boxes: (S, K + 1, 4), zeros for an absent class.
        present: (S, K + 1), boolean.
    """

    masks: Tensor
    boxes: Tensor
    present: Tensor


class Match(NamedTuple):
    """Matched pairs, one entry each.

    Attributes:
        slices: which slice.
        queries: which query of the slice.
        labels: which class of the slice.
    """

    slices: Tensor
    queries: Tensor
    labels: Tensor


def masksam_loss(
    network: MaskSAM, batch: Mapping[str, Tensor], rng: np.random.Generator
) -> dict[str, Tensor]:
    """Return the losses of a batch.

    Args:
        network: in training mode.
        batch: "patch" (B, 1, n, n, D), normalised, and "target" (B, 1, n, n, D), labels 0 (background) to K.
        rng: not drawn from; the recipes of all systems have it.

    Returns:
        "loss", which is to be minimised, its parts "class", "mask", "box" and "auxiliary", and "dice",
        the semantic answer's Dice, mean over classes and patches.

    Raises:
        TrainingError: when a label is not one of the network's classes.
    """
    found = network.segment_classes(batch["patch"])
    losses = matching_losses(found, batch["target"])
    with torch.no_grad():
        answer = class_probabilities(found.class_logits, found.mask_logits).argmax(dim=1)
        dice = [
            semantic_dice(mine, target[0], len(network.config.classes))
            for mine, target in zip(answer, batch["target"], strict=True)
        ]
    return {**losses, "dice": torch.stack(dice).mean()}


def matching_losses(found: ClassMasks, target: Tensor) -> dict[str, Tensor]:
    """Return "loss" and its parts; see :func:`masksam_loss`.

    Args:
        found: the network's answer to B patches.
        target: (B, 1, n, n, D) labels.
    """
    flat = ClassMasks(*(part.flatten(0, 1).float() for part in found))  # a slice is one picture
    patches, slices = found.class_logits.shape[:2]
    targets = slice_targets(target, found.class_logits.shape[-1] - 2)
    s, q, k = match(flat, targets)
    masks, boxes = targets.masks[s, k], targets.boxes[s, k]
    pairs = torch.bincount(s // slices, minlength=patches)  # of each patch: in every slice something is
    share = 1 / (pairs[s // slices] * patches)

    no_object = flat.class_logits.shape[-1] - 1
    wanted = torch.full(flat.class_logits.shape[:2], no_object, device=s.device)
    wanted[s, q] = k
    weights = torch.where(wanted == no_object, NO_OBJECT_WEIGHT, 1.0)
    wrong = torch.nn.functional.cross_entropy(flat.class_logits.movedim(-1, 1), wanted, reduction="none")
    weighed, total = ((v.reshape(patches, -1).sum(dim=1)) for v in (weights * wrong, weights))

    def mask_loss(logits: Tensor) -> Tensor:
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
        return ((entropy.mean(dim=(1, 2)) + dice_losses(logits, masks)) * share).sum()

    def box_loss(guess: Tensor) -> Tensor:
        distance = (guess - boxes).abs().sum(dim=-1)
        return ((BOX_WEIGHT * distance + GIOU_WEIGHT * (1 - generalised_iou(guess, boxes))) * share).sum()

    parts = {
        "class": CLASS_WEIGHT * (weighed / total).mean(),
        "mask": MASK_WEIGHT * mask_loss(flat.mask_logits[s, q]),
        "box": box_loss(flat.boxes[s, q]),
        "auxiliary": AUXILIARY_MASK_WEIGHT * mask_loss(flat.auxiliary_mask_logits[s, q])
        + box_loss(flat.auxiliary_boxes[s, q]),
    }
    return {"loss": torch.stack(list(parts.values())).sum(), **parts}


def slice_targets(target: Tensor, classes: int) -> Targets:
    """Return what is in the slices of labels (B, 1, n, n, D), in the order B, D.

    Raises:
        TrainingError: when a label is not from 0 to ``classes``.
    """
    labels = target[:, 0].movedim(-1, 1).flatten(0, 1).long()
    if labels.min() < 0 or labels.max() > classes:
        raise TrainingError(
            f"The target has labels from {int(labels.min())} to {int(labels.max())}, but the network's are 0 "
            f"to {classes}; give it as many classes as the data set has."
        )
    inside = torch.nn.functional.one_hot(labels, classes + 1).movedim(-1, 1).bool()
    return Targets(inside.float(), boxes_of_masks(inside), inside.flatten(2).any(dim=-1))


@torch.no_grad()
def match(found: ClassMasks, targets: Targets) -> Match:
    """Return the cheapest assignment of queries to the classes of each slice.

    Args:
        found: (S, N, ...), slices already one axis.
        targets: of the same slices.
    """
    costs = matching_costs(found, targets).cpu().numpy()
    pairs = []
    for number, (cost, present) in enumerate(zip(costs, targets.present.cpu().numpy(), strict=True)):
        there = np.flatnonzero(present)
        # A diverged network has costs that are no numbers; its loss then says so.
        queries, columns = linear_sum_assignment(np.nan_to_num(cost[:, there], nan=100.0))
        pairs += [(number, int(q), int(there[c])) for q, c in zip(queries, columns, strict=True)]
    columns = torch.tensor(pairs, dtype=torch.long, device=targets.masks.device).reshape(-1, 3)
    return Match(*columns.T)


def matching_costs(found: ClassMasks, targets: Targets) -> Tensor:
    """Return what each pair of query and class would cost, (S, N, K + 1), the weights of the losses applied.

    The class costs minus its probability, in place of the cross-entropy, as in DETR. The decoder's boxes
    do not count.
    """
    masks = targets.masks.flatten(2)
    probability = found.class_logits.softmax(dim=-1)[..., :-1]
    guess, truth = found.auxiliary_boxes.unsqueeze(2), targets.boxes.unsqueeze(1)
    return (
        -CLASS_WEIGHT * probability
        + MASK_WEIGHT * _mask_costs(found.mask_logits.flatten(2), masks)
        + AUXILIARY_MASK_WEIGHT * _mask_costs(found.auxiliary_mask_logits.flatten(2), masks)
        + BOX_WEIGHT * (guess - truth).abs().sum(dim=-1)
        - GIOU_WEIGHT * generalised_iou(guess, truth)
    )


def _mask_costs(logits: Tensor, masks: Tensor) -> Tensor:
    """Return cross-entropy + Dice loss of logits (S, N, P) and masks (S, M, P), as (S, N, M)."""
    # softplus(x) - x t is the cross-entropy of a logit x and a target t.
    overlap = torch.einsum("snp,smp->snm", logits, masks) / logits.shape[-1]
    entropy = torch.nn.functional.softplus(logits).mean(dim=-1).unsqueeze(2) - overlap
    probability = logits.sigmoid()
    common = torch.einsum("snp,smp->snm", probability, masks)
    total = probability.sum(dim=-1).unsqueeze(2) + masks.sum(dim=-1).unsqueeze(1)
    return entropy + 1 - (2 * common + 1) / (total + 1)


def dice_losses(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the soft Dice loss (M,) of logits and masks (M, n, n)."""
    probability = logits.sigmoid()
    common = (probability * masks).sum(dim=(1, 2))
    total = probability.sum(dim=(1, 2)) + masks.sum(dim=(1, 2))
    return 1 - (2 * common + 1) / (total + 1)


def semantic_dice(answer: Tensor, target: Tensor, classes: int) -> Tensor:
    """Return the mean Dice of the labels 1 to ``classes`` in a patch.

    Args:
        answer: (n, n, D) labels.
        target: the same.
        classes: how many there are; those that are in neither do not count, and 1 is returned where that
            leaves none.
    """
    scores = []
    for label in range(1, classes + 1):
        a, b = answer == label, target == label
        total = a.sum() + b.sum()
        if total:
            scores.append(2 * (a & b).sum() / total)
    return torch.stack(scores).mean() if scores else torch.ones((), device=answer.device)
