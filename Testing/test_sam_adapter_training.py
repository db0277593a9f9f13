"""What 3DSAM-adapter is trained with: its points, its loss, and that a small one learns a real lesion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_sam_adapter import TINY, randomised

from MSAMLogic.geometry import PatchGrid, extract_patch
from MSAMLogic.intensity import normalise
from MSAMLogic.model.sam_adapter.config import INTENSITIES
from MSAMLogic.model.sam_adapter.network import SAMAdapter
from MSAMLogic.training.cases import read_cases
from MSAMLogic.training.loaded_case import LoadedCase
from MSAMLogic.training.recipes.sam_adapter import draw_points, sam_adapter_loss

CASE = "LIDC_0003_R_2"


def ball(centre: tuple[int, int, int], radius: float, size: int = 16) -> np.ndarray:
    offsets = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), axis=-1) - np.array(centre)
    return np.linalg.norm(offsets, axis=-1) < radius


def test_ten_points_lie_in_the_lesion_and_twenty_anywhere() -> None:
    truth = ball((4, 8, 12), 3)
    points = draw_points(truth, np.random.default_rng(0))
    assert points.shape == (30, 3)
    inside = truth[tuple(points.astype(int).T)]
    assert inside[:10].all()
    assert not inside[10:].all()
    assert np.ptp(points[10:], axis=0).min() > 8


def test_an_empty_patch_gets_false_points_alone() -> None:
    points = draw_points(np.zeros((16, 16, 16), bool), np.random.default_rng(0))
    assert points.shape == (20, 3)
    assert points.min() >= 0 and points.max() <= 15


def expected_loss(
    network: SAMAdapter, patch: torch.Tensor, truth: np.ndarray, seed: np.random.Generator
) -> float:
    """Return the loss of one patch as the two-class softmax has it: MONAI's formulas, written out."""
    points = torch.from_numpy(draw_points(truth, seed))[None]
    classes = network.class_logits(network.look(patch), points)
    lesion = classes.softmax(dim=1)[0, 1]
    target = torch.from_numpy(truth)
    dice = (2 * lesion[target].sum() + 1e-5) / (lesion.sum() + target.sum() + 1e-5)
    return float(0.5 * (1 - dice) + 0.5 * torch.nn.functional.cross_entropy(classes, target.long()[None]))


def test_the_loss_is_that_of_the_two_class_softmax() -> None:
    network = randomised(TINY)
    patches = torch.from_numpy(
        np.random.default_rng(3).standard_normal((2, 1, 16, 16, 16)).astype(np.float32)
    )
    truths = [ball((4, 8, 12), 3), np.zeros((16, 16, 16), bool)]
    batch = {"patch": patches, "target": torch.from_numpy(np.stack(truths))[:, None].float()}
    rng = np.random.default_rng(7)
    each = [expected_loss(network, patches[i : i + 1], truths[i], rng) for i in (0, 1)]
    values = sam_adapter_loss(network, batch, np.random.default_rng(7))
    assert float(values["loss"]) == pytest.approx(np.mean(each), rel=1e-4)


def answering(voxels: np.ndarray) -> SAMAdapter:
    """Return a network that answers every patch with these voxels."""
    network = SAMAdapter(TINY)
    logits = torch.from_numpy(np.where(voxels, 9.0, -9.0).astype(np.float32))[None, None]
    network.lesion_logits = lambda features, coords: logits  # type: ignore[method-assign]
    return network


@pytest.mark.parametrize(
    ("answer", "truth", "dice"),
    [
        (ball((8, 8, 8), 4), ball((8, 8, 8), 4), 1.0),
        (ball((3, 3, 3), 2), ball((12, 12, 12), 2), 0.0),
        (ball((8, 8, 8), 0), ball((8, 8, 8), 0), 1.0),
        (ball((8, 8, 8), 4), ball((8, 8, 8), 0), 0.0),
    ],
    ids=["right", "elsewhere", "rightly empty", "made up"],
)
def test_dice_is_logged(answer: np.ndarray, truth: np.ndarray, dice: float) -> None:
    batch = {"patch": torch.zeros(1, 1, 16, 16, 16), "target": torch.from_numpy(truth)[None, None].float()}
    values = sam_adapter_loss(answering(answer), batch, np.random.default_rng(0))
    assert float(values["dice"]) == pytest.approx(dice)


def real_batch(data_folder: Path, size: int) -> dict[str, torch.Tensor]:
    """Return a patch round the lesion of a real case, three times as wide."""
    case = LoadedCase(next(case for case in read_cases(data_folder) if case.name == CASE))
    lesion = case.lesions[0]
    grid = PatchGrid(lesion.centre, 3 * lesion.extent / size, size)
    patch = normalise(extract_patch(case.image, grid), "CT", INTENSITIES["kits"])
    target = case.target(lesion, grid).astype(np.float32)
    return {name: torch.from_numpy(x)[None, None] for name, x in (("patch", patch), ("target", target))}


def test_a_small_network_learns_a_real_lesion(data_folder: Path) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    config = replace(
        TINY, patch_size=32, encoder_width=32, window_size=4, embedding_width=32, decoder_width=16
    )
    network, batch = SAMAdapter(config), real_batch(data_folder, config.patch_size)
    assert 0.001 < float(batch["target"].mean()) < 0.2
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=3e-3, weight_decay=0)
    newest: list[float] = []  # one step may go too far, and the next one back
    for _ in range(200):
        optimiser.zero_grad()
        values = sam_adapter_loss(network, batch, rng)
        assert not values["dice"].requires_grad
        values["loss"].backward()
        optimiser.step()
        newest = [*newest[-7:], float(values["dice"])]
        if len(newest) == 8 and np.mean(newest) > 0.92:
            break
    with torch.no_grad():
        assert float(sam_adapter_loss(network, batch, rng)["dice"]) >= 0.9
