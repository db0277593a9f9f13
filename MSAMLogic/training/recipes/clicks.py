"""Learning from clicks, for the networks of the M-SAM family.

The encoder runs once a patch and every click adds an answer and a loss, as M-SAM trains (section 3.1).
:func:`msam_loss` is the published recipe; :func:`click_losses` that of the default weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from MSAMLogic.model import MSAM
from MSAMLogic.model.detail_branch import click_maps
from MSAMLogic.model.msam import Segmentation
from MSAMLogic.training.batch_clicks import simulate_clicks
from MSAMLogic.training.clicks import Mask, random_click, simulate_click
from MSAMLogic.training.losses import click_disobedience, dice_cross_entropy, true_iou

Voxel = NDArray[Any]
# Which clicks follow on answers: lesions and answers, (B, n, n, n) bool, to voxel and label of each, or None.
ClickRule = Callable[[Tensor, Tensor], Sequence[tuple[Voxel, int] | None]]


class Turn(NamedTuple):
    """A click on every patch of a batch, and the answers.

    Attributes:
        answer: what the network said.
        coords: (B, N, 3) the clicks that it was given, in patch voxels.
        labels: (B, N) of 1 (lesion), 0 (background) and -1 (nothing was wrong).
        iou: (B, 1) of the answers.
    """

    answer: Segmentation
    coords: Tensor
    labels: Tensor
    iou: Tensor

    @property
    def dice(self) -> float:
        """Mean Dice of the answers."""
        return float((2 * self.iou / (1 + self.iou)).mean())


def turns(
    network: MSAM,
    patch: Tensor,
    target: Tensor,
    rule: ClickRule,
    graded: Sequence[bool],
    given: Sequence[Mask | None] | None = None,
) -> Iterator[Turn]:
    """Click on a batch of patches, each time on the answer before.

    Args:
        network: in training mode.
        patch: (B, 1, n, n, n) normalised.
        target: (B, 1, n, n, n), the lesion is 1.
        rule: where each next click goes.
        graded: for each click to make, whether its answer is learnt from; others get no gradient.
        given: the masks that the first clicks correct; by default there are none.

    Yields:
        One turn for each click.
    """
    config = network.config
    truth = target[:, 0] > 0
    starts: Sequence[Mask | None] = given if given is not None else [None] * len(truth)
    prompts = [_prompt(mask, config.mask_size) for mask in starts]
    mask_logits = torch.stack(prompts).unsqueeze(1).to(patch.device)
    masks = torch.zeros_like(truth)
    for index, mask in enumerate(starts):
        if mask is not None:
            masks[index] = torch.from_numpy(mask).to(patch.device)
    clicks: list[list[tuple[Voxel, int]]] = [[] for _ in starts]
    features = network.look(patch)
    for is_graded in graded:
        for made, click in zip(clicks, rule(truth, masks), strict=True):
            made.append(click if click is not None else (np.zeros(3), -1))
        chosen = clicks if config.all_clicks else [entry[-1:] for entry in clicks]
        coords = torch.tensor(np.array([[c for c, _ in entry] for entry in chosen]), dtype=torch.float32)
        labels = torch.tensor([[label for _, label in entry] for entry in chosen])
        coords, labels = coords.to(patch.device), labels.to(patch.device)
        with torch.set_grad_enabled(is_graded and torch.is_grad_enabled()):
            answer = network.segment(features, coords, labels, mask_logits)
        yield Turn(answer, coords, labels, true_iou(answer.logits, target))
        mask_logits = answer.mask_logits.detach().float()
        masks = answer.logits.detach()[:, 0] > 0


def one_by_one(
    click: Callable[[Mask, Mask | None, np.random.Generator], tuple[Voxel, int] | None],
    readers: Sequence[np.random.Generator],
) -> ClickRule:
    """Return the rule that each reader clicks on a patch of his own, on the processor."""

    def rule(truth: Tensor, masks: Tensor) -> list[tuple[Voxel, int] | None]:
        pairs = zip(truth.cpu().numpy(), masks.cpu().numpy(), readers, strict=True)
        return [click(lesion, mask, reader) for lesion, mask, reader in pairs]

    return rule


def msam_loss(
    network: MSAM, batch: dict[str, Tensor], rng: np.random.Generator, clicks: int = 10
) -> dict[str, Tensor]:
    """Return the published loss: 0.5 Dice + 0.5 cross-entropy, summed over the clicks (section 3.1).

    The first click is any voxel of the lesion, each further one any voxel of the mistakes. The paper makes
    10 clicks; the release's trainer makes 11.

    Args:
        network: in training mode.
        batch: ``patch`` and ``target``, see :mod:`MSAMLogic.training.recipes`; ``index`` (B,), where it is
            given, makes the clicks on a patch independent of the company it is in.
        rng: source of chance.
        clicks: how many are made on a patch.
    """
    base = int(rng.integers(2**32))
    numbers = batch["index"].tolist() if "index" in batch else range(len(batch["patch"]))
    readers = [np.random.default_rng((base, number)) for number in numbers]
    made = [
        (dice_cross_entropy(turn.answer.logits, batch["target"]), turn.dice)
        for turn in turns(
            network,
            batch["patch"],
            batch["target"],
            one_by_one(random_click, readers),
            [True] * clicks,
        )
    ]
    return {
        "loss": torch.stack([loss for loss, _ in made]).sum(),
        "dice_first": torch.tensor(made[0][1]),
        "dice_last": torch.tensor(made[-1][1]),
    }


def click_losses(
    network: MSAM,
    patch: Tensor,
    target: Tensor,
    most_clicks: int,
    rng: np.random.Generator,
    most_graded: int | None = None,
    readers: Sequence[np.random.Generator] | None = None,
    first_clicks: float = 0.0,
) -> tuple[list[Tensor], list[float]]:
    """Click up to ``most_clicks`` times and return the loss of each answer that is learnt from.

    Args:
        network: in training mode.
        patch: (B, 1, n, n, n) normalised.
        target: (B, 1, n, n, n) bool.
        most_clicks: 1 to this many clicks are made.
        rng: source of chance for what all patches have in common: how many clicks, which are learnt from.
        readers: sources of chance for the clicks of each patch, so that these do not depend on the
            company of a patch; by default ``rng`` for all.
        most_graded: how many of the answers are learnt from at most; by default all. The last goes before
            the first, and these before others, which are drawn.
        first_clicks: chance that no click follows the first.

    Returns:
        One loss for each graded click, and the mean Dice after every click.
    """
    truth = target.cpu().numpy()[:, 0]
    small_target = nn.functional.adaptive_avg_pool3d(target.float(), network.config.mask_size)
    chance = readers or [rng] * len(truth)
    given = _starting_masks(truth, chance)
    if rng.random() < first_clicks:
        count = 1
    else:
        count = int(rng.integers(1, most_clicks + 1)) if rng.random() < 0.5 else most_clicks
    preferred = [count - 1, 0, *(1 + rng.permutation(max(count - 2, 0))).tolist()]
    graded = [turn in preferred[: most_graded or count] for turn in range(count)]
    losses: list[Tensor] = []
    dices: list[float] = []
    # One processor would keep a GPU waiting for its clicks.
    rule = (
        partial(simulate_clicks, readers=chance)
        if patch.device.type == "cuda"
        else one_by_one(simulate_click, chance)
    )
    made = turns(network, patch, target, rule, graded, given)
    for turn, is_graded in zip(made, graded, strict=True):
        dices.append(turn.dice)
        if is_graded:
            losses.append(_answer_loss(network, turn, target, small_target))
    return losses, dices


def _answer_loss(network: MSAM, turn: Turn, target: Tensor, small_target: Tensor) -> Tensor:
    """Return the loss of one answer."""
    n, answer = network.config.patch_size, turn.answer
    loss = dice_cross_entropy(answer.logits, target)
    if network.detail_branch is not None:
        loss = loss + 0.3 * dice_cross_entropy(answer.decoder_logits, small_target)
        near = click_maps(turn.coords, turn.labels, n, n)[:, :2].amax(dim=1, keepdim=True)
        loss = loss + 0.1 * click_disobedience(answer.logits, target, near)
    error = (answer.iou.float() - turn.iou).square().mean()
    # The quality head has parameters of its own, which nothing else teaches.
    return loss + (1.0 if network.config.quality_width else 0.05) * error


def _starting_masks(truth: NDArray[Any], readers: Sequence[np.random.Generator]) -> list[Mask | None]:
    """Return the mask that each patch starts from.

    Mostly there is none. Sometimes a reader corrects a given mask: a shifted and sometimes cut truth.
    """
    masks: list[Mask | None] = []
    for region, rng in zip(truth, readers, strict=True):
        given: Mask | None = None
        if rng.random() < 0.15:
            given = ndimage.shift(region.astype(np.uint8), rng.integers(-4, 5, 3), order=0) > 0
            if rng.random() < 0.5:
                axis, size = int(rng.integers(3)), region.shape[0]
                cut = np.arange(size) < rng.integers(size // 4, 3 * size // 4)
                given = given & cut.reshape([-1 if a == axis else 1 for a in range(3)])
            if not given.any() or (given == region).all():
                given = None
        masks.append(given)
    return masks


def _prompt(mask: Mask | None, mask_size: int) -> Tensor:
    """Return the mask prompt (m, m, m) of a mask, or of none."""
    return torch.zeros((mask_size,) * 3) if mask is None else mask_to_logits(mask, mask_size)


def mask_to_logits(mask: NDArray[Any], mask_size: int) -> Tensor:
    """Return the mask prompt (m, m, m) that stands for a given mask (n, n, n): -6 outside, +6 inside."""
    share = nn.functional.adaptive_avg_pool3d(
        torch.from_numpy(mask[None, None].astype(np.float32)), mask_size
    )
    return 12 * share[0, 0] - 6
