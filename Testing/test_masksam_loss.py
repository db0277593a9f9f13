"""MaskSAM's losses and matching, and that a small one learns a real case by heart."""

from __future__ import annotations

import math
from pathlib import Path

import masksam_reference as reference
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from images import centroid

from MSAMLogic.errors import TrainingError
from MSAMLogic.geometry import RAS_AXES, ImageGrid
from MSAMLogic.intensity import normalise
from MSAMLogic.model import MaskSAM, MaskSAMConfig, build_model
from MSAMLogic.model.masksam.network import ClassMasks
from MSAMLogic.model.masksam.published import is_frozen
from MSAMLogic.training.recipes.masksam import (
    Targets,
    dice_losses,
    masksam_loss,
    match,
    matching_costs,
    matching_losses,
    semantic_dice,
    slice_targets,
)

QUERIES, CLASSES, SIDE = 4, 2, 6


def a_target() -> torch.Tensor:
    """Labels (1, 1, 6, 6, 3): two classes, one class, background alone."""
    target = torch.zeros(1, 1, SIDE, SIDE, 3, dtype=torch.long)
    target[0, 0, 1:3, 2:5, 0] = 1
    target[0, 0, 4:, :2, 0] = 2
    target[0, 0, 3, 3, 1] = 2
    return target


def perfect(target: torch.Tensor, order: list[int]) -> ClassMasks:
    """The answer that could not be better; query ``order[k]`` has class k, the others no object."""
    targets = slice_targets(target, CLASSES)
    slices = len(targets.masks)
    classes = torch.full((1, slices, QUERIES, CLASSES + 2), -30.0)
    classes[..., -1] = 30.0
    masks = torch.full((1, slices, QUERIES, SIDE, SIDE), -30.0)
    boxes = torch.zeros(1, slices, QUERIES, 4)
    for number in range(slices):
        for label, query in enumerate(order):
            if targets.present[number, label]:
                classes[0, number, query, -1] = -30.0
                classes[0, number, query, label] = 30.0
                masks[0, number, query] = 60.0 * targets.masks[number, label] - 30.0
                boxes[0, number, query] = targets.boxes[number, label]
    return ClassMasks(classes, masks, boxes, masks, boxes)


def test_the_targets_are_the_masks_and_boxes_of_each_slice() -> None:
    targets = slice_targets(a_target(), CLASSES)
    assert targets.present.tolist() == [[True, True, True], [True, False, True], [True, False, False]]
    assert targets.masks.sum(dim=(2, 3)).tolist() == [[26, 6, 4], [35, 0, 1], [36, 0, 0]]
    # Rows run along the first axis of a patch: a box is left, top, right, bottom.
    torch.testing.assert_close(targets.boxes[0, 1], torch.tensor([2 / 6, 1 / 6, 5 / 6, 3 / 6]))
    torch.testing.assert_close(targets.boxes[2], torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0.0]]))
    with pytest.raises(TrainingError, match="labels from 0 to 2"):
        slice_targets(a_target(), 1)


@pytest.mark.parametrize("order", [[0, 1, 2], [3, 0, 1]])
def test_a_perfect_answer_costs_nothing_whichever_query_gives_it(order: list[int]) -> None:
    losses = matching_losses(perfect(a_target(), order), a_target())
    assert set(losses) == {"loss", "class", "mask", "box", "auxiliary"}
    for name, value in losses.items():
        assert abs(float(value)) < 1e-5, name


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ("box", "boxes"),
        ("auxiliary", "auxiliary_boxes"),
        ("mask", "mask_logits"),
        ("auxiliary", "auxiliary_mask_logits"),
        ("class", "class_logits"),
    ],
)
def test_each_flaw_costs_in_its_own_part(part: str, field: str) -> None:
    answer = perfect(a_target(), [0, 1, 2])
    worse = getattr(answer, field).clone()
    if field.endswith("boxes"):
        worse[0, 0, 1, 2] -= 0.1
    elif field == "class_logits":
        worse[0, 0, 1] = 0.0
    else:
        worse[0, 0, 1, 1, 2] = -30.0
    losses = matching_losses(answer._replace(**{field: worse}), a_target())
    for name, value in losses.items():
        assert (float(value) > 1e-4) is (name in (part, "loss")), name


def test_the_parts_have_the_authors_weights() -> None:
    target = torch.zeros(1, 1, SIDE, SIDE, 1, dtype=torch.long)  # one object: the background
    answer = perfect(target, [0, 1, 2])
    flat = answer._replace(
        class_logits=torch.zeros_like(answer.class_logits),
        mask_logits=torch.zeros_like(answer.mask_logits),
        auxiliary_mask_logits=torch.zeros_like(answer.mask_logits),
        boxes=torch.tensor([0.0, 0.0, 0.5, 1.0]).expand(1, 1, QUERIES, 4),
        auxiliary_boxes=torch.tensor([0.0, 0.0, 0.5, 1.0]).expand(1, 1, QUERIES, 4),
    )
    losses = matching_losses(flat, target)
    # Half a probability everywhere: Dice (2 · 18 + 1) / (18 + 36 + 1).
    mask = math.log(2) + 1 - 37 / 55
    box = 0.5 * 0.5 + 0.2 * (1 - 0.5)
    assert float(losses["class"]) == pytest.approx(0.2 * math.log(CLASSES + 2), rel=1e-5)
    assert float(losses["mask"]) == pytest.approx(1.5 * mask, rel=1e-5)
    assert float(losses["box"]) == pytest.approx(box, rel=1e-5)
    assert float(losses["auxiliary"]) == pytest.approx(0.5 * mask + box, rel=1e-5)


def test_a_spare_query_that_claims_a_class_costs_a_tenth() -> None:
    target = torch.zeros(1, 1, SIDE, SIDE, 1, dtype=torch.long)
    answer = perfect(target, [0, 1, 2])
    classes = answer.class_logits.clone()
    classes[0, 0, 1:] = 0.0
    losses = matching_losses(answer._replace(class_logits=classes), target)
    expected = 0.2 * 3 * 0.1 * math.log(CLASSES + 2) / (1 + 3 * 0.1)
    assert float(losses["class"]) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 5), st.integers(1, 3))
def test_the_matching_is_the_cheapest_of_all(seed: int, queries: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, classes + 1, (1, 1, 4, 4, 2), generator=generator)
    targets = slice_targets(target, classes)
    queries = max(queries, classes + 1)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(2, queries, *shape, generator=generator)

    boxes = random(2, 2).sigmoid().sort(dim=2).values.flatten(2)
    found = ClassMasks(random(classes + 2), random(4, 4), boxes, random(4, 4), boxes)
    matched = match(found, targets)
    costs = matching_costs(found, targets).double().numpy()
    for number in range(2):
        there = np.flatnonzero(targets.present[number].numpy())
        mine = matched.slices == number
        pairs = costs[number, matched.queries[mine].numpy(), matched.labels[mine].numpy()]
        assert sorted(matched.labels[mine].tolist()) == there.tolist()
        assert len(set(matched.queries[mine].tolist())) == len(there)
        assert pairs.sum() == pytest.approx(reference.cheapest_assignment(costs[number][:, there]), abs=1e-5)


def test_the_costs_are_the_weighted_losses_of_each_pair() -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(1, 2, SIDE, SIDE, generator=generator)
    coarse = torch.randn(1, 2, SIDE, SIDE, generator=generator)
    classes = torch.randn(1, 2, 3, generator=generator)
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]]])
    inside = (torch.rand(1, 2, SIDE, SIDE, generator=generator) > 0.5).float()
    truth = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 1.0, 1.0]]])
    targets = Targets(inside, truth, torch.ones(1, 2, dtype=torch.bool))
    found = ClassMasks(classes, logits, torch.zeros(1, 2, 4), coarse, boxes)
    giou = [[0.25, -0.5], [1.0, 0.25]]
    distance = [[1.0, 2.0], [0.0, 1.0]]
    costs = matching_costs(found, targets)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    for query in range(2):
        for label in range(2):
            mask = inside[0, label]
            expected = 0.5 * distance[query][label] - 0.2 * giou[query][label]
            expected -= 0.2 * float(classes[0, query].softmax(dim=0)[label])
            for weight, guess in ((1.5, logits[0, query]), (0.5, coarse[0, query])):
                expected += weight * float(entropy(guess, mask) + dice_losses(guess[None], mask[None])[0])
            assert float(costs[0, query, label]) == pytest.approx(expected, rel=1e-4)


def test_the_loss_of_a_batch_is_the_mean_of_its_patches() -> None:
    network = with_a_stand_in_for_sams_weights(SMALL)
    generator = torch.Generator().manual_seed(5)
    patches = torch.randn(2, 1, *SMALL.patch_shape, generator=generator)
    target = torch.zeros(2, 1, *SMALL.patch_shape, dtype=torch.long)
    target[1, 0, 4:20, 8:15, :2] = 1  # the second patch has more to match
    rng = np.random.default_rng(0)
    with torch.no_grad():
        both = masksam_loss(network, {"patch": patches, "target": target}, rng)
        alone = [
            masksam_loss(network, {"patch": patches[i : i + 1], "target": target[i : i + 1]}, rng)
            for i in (0, 1)
        ]
    for name, value in both.items():
        assert float(value) == pytest.approx(float(alone[0][name] + alone[1][name]) / 2, rel=1e-4), name


def test_the_dice_is_over_the_classes_that_are_there() -> None:
    target = a_target()[:, 0]
    assert float(semantic_dice(target, target, CLASSES)) == 1
    answer = target.clone()
    answer[answer == 2] = 0
    assert float(semantic_dice(answer, target, CLASSES)) == 0.5
    nothing = torch.zeros_like(target)
    assert float(semantic_dice(nothing, nothing, CLASSES)) == 1


# Learning

SMALL = MaskSAMConfig(
    queries=4,
    slices=6,
    patch_size=32,
    upsampling=4,
    spacing=(4.0, 4.0, 8.0),
    encoder_width=32,
    encoder_depth=4,
    encoder_heads=2,
    window_size=4,
    global_blocks=(1, 3),
    embedding_width=64,
    decoder_heads=4,
    decoder_mlp_width=64,
    iou_head_width=16,
    generator_width=16,
)


def a_real_batch(folder: Path, case: str) -> dict[str, torch.Tensor]:
    """The patch round the lesion of a case, and its labels."""
    image = sitk.ReadImage(str(folder / "sts" / f"{case}_image.nii.gz"))
    mask = sitk.ReadImage(str(folder / "sts" / f"{case}_mask.nii.gz"))
    half = (np.array(SMALL.patch_shape) - 1) / 2 * np.array(SMALL.spacing)
    x, y, z = centroid(mask) - np.array(RAS_AXES).reshape(3, 3) @ half
    grid = ImageGrid(SMALL.patch_shape, (x, y, z), SMALL.spacing, RAS_AXES)

    def read(volume: sitk.Image, how: int) -> np.ndarray:
        reference = grid.reference(grid.whole)
        sampled = sitk.Resample(volume, reference, sitk.Transform(), how, 0.0, sitk.sitkFloat32)
        return sitk.GetArrayFromImage(sampled).transpose(2, 1, 0)

    patch = normalise(read(image, sitk.sitkLinear), "CT")
    target = read(mask, sitk.sitkNearestNeighbor) > 0
    return {
        "patch": torch.from_numpy(patch.copy())[None, None],
        "target": torch.from_numpy(target.astype(np.int64))[None, None],
    }


def with_a_stand_in_for_sams_weights(config: MaskSAMConfig) -> MaskSAM:
    """SAM's weights are no part of the repository: random ones, the mask heads as strong as trained ones."""
    torch.manual_seed(0)
    network = build_model("", config)
    for name, parameter in network.named_parameters():
        if is_frozen(name) and parameter.ndim > 1 and ("hypernetworks" in name or "upscaling" in name):
            inputs = parameter.shape[1] if "hypernetworks" in name else parameter.shape[0]
            torch.nn.init.normal_(parameter, std=1.5 * (2 / inputs) ** 0.5)
    return network


def test_the_parts_that_learn_learn_a_real_case_by_heart(data_folder: Path) -> None:
    """It takes about a minute: only what MaskSAM trains is trained."""
    network = with_a_stand_in_for_sams_weights(SMALL).train()
    batch = a_real_batch(data_folder, "STS_002_CT")
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, 3e-3)
    rng = np.random.default_rng(0)
    reached = 0.0
    for _ in range(200):
        losses = masksam_loss(network, batch, rng)
        reached = max(reached, float(losses["dice"]))
        if reached >= 0.92:
            break
        optimiser.zero_grad()
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(parameters, 12.0)
        optimiser.step()
    assert reached >= 0.9
