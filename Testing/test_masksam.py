"""MaskSAM's network: sizes, frozen parts, parts against their definitions, SAM's weights, classes."""

from __future__ import annotations

import math
from dataclasses import replace

import masksam_reference as reference
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from MSAMLogic.errors import ModelError, WeightsError
from MSAMLogic.model import MaskSAM, MaskSAMConfig, ModelConfig, build_model
from MSAMLogic.model.mask_decoder import TwoWayTransformer
from MSAMLogic.model.masksam.adapters import DConvAdapter, DMLPAdapter
from MSAMLogic.model.masksam.boxes import boxes_of_masks, generalised_iou
from MSAMLogic.model.masksam.image_encoder import Block
from MSAMLogic.model.masksam.mask_decoder import AdaptedTwoWayTransformer, Shape
from MSAMLogic.model.masksam.network import class_probabilities
from MSAMLogic.model.masksam.prompt_generator import joined_boxes
from MSAMLogic.model.masksam.published import is_frozen
from MSAMLogic.predictor import TorchPredictor
from MSAMLogic.session import InteractiveSession

TINY = MaskSAMConfig(
    classes=("nodule", "cyst"),
    queries=4,
    slices=3,
    patch_size=24,
    upsampling=4,
    token_size=16,
    encoder_width=16,
    encoder_depth=3,
    encoder_heads=2,
    window_size=4,
    global_blocks=(0, 2),
    embedding_width=64,
    decoder_heads=4,
    decoder_mlp_width=32,
    iou_head_width=16,
    generator_width=8,
)


def randomised(module: torch.nn.Module, scale: float = 0.3) -> torch.nn.Module:
    """Give every parameter a value that matters; fresh tables and adapters are zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return module


def a_patch(config: MaskSAMConfig = TINY, batch: int = 1, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, 1, *config.patch_shape, generator=torch.Generator().manual_seed(seed))


def counts(config: MaskSAMConfig) -> tuple[int, int]:
    with torch.device("meta"):
        network = build_model("", config)
    sizes = [(parameter.requires_grad, parameter.numel()) for parameter in network.parameters()]
    return sum(n for trained, n in sizes if not trained), sum(n for trained, n in sizes if trained)


# Sizes


def test_the_full_size_has_the_papers_91_and_14_million_parameters() -> None:
    assert counts(MaskSAMConfig()) == (91_343_408, 14_224_928)


def test_at_sams_own_image_size_the_frozen_parts_are_sam() -> None:
    with torch.device("meta"):
        network = build_model("", MaskSAMConfig(patch_size=512))
    names = [name for name in network.state_dict() if is_frozen(name)]
    frozen = sum(p.numel() for name, p in network.named_parameters() if is_frozen(name))
    assert (len(names), frozen) == (314, 93_735_472)  # of sam_vit_b_01ec64.pth; one is a buffer


def test_what_sam_has_is_frozen_and_the_rest_learns() -> None:
    network = randomised(build_model("", TINY)).train()
    found = network.segment_classes(a_patch())
    sum(part.square().mean() for part in found).backward()
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad is not is_frozen(name), name
        if is_frozen(name):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_a_configuration_survives_json() -> None:
    assert MaskSAMConfig.from_dict(TINY.to_dict()) == TINY
    with pytest.raises(ModelError, match="unknown fields"):
        MaskSAMConfig.from_dict({"number_of_wheels": 4})


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ()},
        {"classes": ("a", "a")},
        {"queries": 2},
        {"slices": 0},
        {"spacing": (1.0, 2.0, 3.0)},
        {"upsampling": 3},
        {"patch_size": 30},
        {"encoder_heads": 3},
        {"embedding_width": 48},
        {"global_blocks": (1, 7)},
    ],
)
def test_sizes_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="cannot be built"):
        replace(TINY, **change)


# Parts, against their definitions


@settings(max_examples=12, deadline=None)
@given(grid=st.integers(2, 5), window=st.integers(2, 4), whole=st.booleans(), slices=st.integers(1, 3))
def test_an_encoder_block_is_sams_with_adapters(grid: int, window: int, whole: bool, slices: int) -> None:
    config = replace(
        TINY,
        patch_size=4 * grid,
        window_size=window,
        global_blocks=(0, 2) if whole else (1, 2),
        slices=slices,
    )
    layer = randomised(Block(config, 0))
    x = torch.randn(1, slices, grid, grid, 16, generator=torch.Generator().manual_seed(grid))
    expected = reference.block(layer, x[0].double().numpy())
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), expected, atol=2e-4)


@pytest.mark.parametrize("skip", [True, False])
def test_the_adapters_are_what_their_definitions_say(skip: bool) -> None:
    cells = torch.randn(1, 4, 3, 5, 8, generator=torch.Generator().manual_seed(2))
    convolution = randomised(DConvAdapter(8, skip))
    expected = reference.dconv_adapter(convolution, cells[0].double().numpy())
    np.testing.assert_allclose(convolution(cells)[0].detach().numpy(), expected, atol=1e-5)
    perceptron = randomised(DMLPAdapter(8, 4, skip))
    expected = reference.dmlp_adapter(perceptron, cells[0].double().numpy())
    np.testing.assert_allclose(perceptron(cells)[0].detach().numpy(), expected, atol=1e-5)


def test_fresh_adapters_leave_sam_as_it_is_and_keep_the_slices_apart() -> None:
    network = build_model("", TINY)
    images = torch.randn(1, 3, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    together, _ = network.image_encoder(images)
    for number in range(3):
        alone, _ = network.image_encoder(images[:, :, [number] * 3])
        torch.testing.assert_close(together[:, :, number], alone[:, :, 1])
    trained, _ = randomised(network).image_encoder(images)
    alone, _ = network.image_encoder(images[:, :, [1] * 3])
    assert (trained[:, :, 1] - alone[:, :, 1]).abs().max() > 1e-3


def test_a_fresh_two_way_transformer_is_sams() -> None:
    """SAM's is M-SAM's, whose outputs agree with the release."""
    sizes = {"embedding_width": 144, "decoder_heads": 4, "decoder_mlp_width": 32}
    mine = AdaptedTwoWayTransformer(replace(TINY, **sizes))
    sams = randomised(TwoWayTransformer(ModelConfig(**sizes)), 0.1)
    rest = mine.load_state_dict(sams.state_dict(), strict=False)
    assert not rest.unexpected_keys and all("_adapter." in name for name in rest.missing_keys)
    generator = torch.Generator().manual_seed(6)
    shape = Shape(2, 3, 4)
    tokens = torch.randn(24, 5, 144, generator=generator)
    cells, places = (torch.randn(24, 36, 144, generator=generator) for _ in range(2))
    for found, expected in zip(mine(tokens, cells, places, shape), sams(tokens, cells, places), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_in_the_decoder_a_query_sees_its_own_other_slices_and_no_other_query() -> None:
    transformer = randomised(AdaptedTwoWayTransformer(TINY), 0.2)
    generator = torch.Generator().manual_seed(7)
    shape = Shape(2, 3, 4)
    tokens = torch.randn(24, 5, 64, generator=generator)
    cells, places = (torch.randn(24, 36, 64, generator=generator) for _ in range(2))
    before = transformer(tokens, cells, places, shape)
    changed = tokens.clone().reshape(2, 3, 4, 5, 64)
    changed[1, 0, 2] += 1.0
    after = transformer(changed.flatten(0, 2), cells, places, shape)
    for a, b in zip(before, after, strict=True):
        moved = (a - b).abs().reshape(2, 3, 4, -1).amax(dim=-1) > 1e-5
        expected = torch.zeros(2, 3, 4, dtype=torch.bool)
        expected[1, :, 2] = True
        assert torch.equal(moved, expected)


def test_the_patches_of_a_batch_do_not_mix() -> None:
    network = randomised(build_model("", TINY), 0.1)
    patches = a_patch(batch=2)
    with torch.no_grad():
        both = network.classify(patches)
        torch.testing.assert_close(both[1:], network.classify(patches[1:]), atol=1e-5, rtol=1e-4)
    assert both.shape == (2, 3, *TINY.patch_shape)
    torch.testing.assert_close(both.sum(dim=1), torch.ones(2, *TINY.patch_shape))


def test_an_answer_has_the_patchs_shape_and_axes() -> None:
    found = build_model("", TINY).segment_classes(a_patch())
    n = TINY.patch_size
    assert found.class_logits.shape == (1, 3, 4, 4)
    assert found.mask_logits.shape == found.auxiliary_mask_logits.shape == (1, 3, 4, n, n)
    assert found.boxes.shape == found.auxiliary_boxes.shape == (1, 3, 4, 4)
    for boxes in (found.boxes, found.auxiliary_boxes):
        assert (boxes[..., 2:] >= boxes[..., :2]).all() and boxes.min() >= 0 and boxes.max() <= 1


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_box_of_a_mask_is_tight(data: st.DataObject) -> None:
    top, left = data.draw(st.integers(0, 6)), data.draw(st.integers(0, 4))
    bottom, right = data.draw(st.integers(top + 1, 7)), data.draw(st.integers(left + 1, 5))
    mask = torch.zeros(1, 7, 5, dtype=torch.bool)
    mask[0, top, left] = mask[0, bottom - 1, right - 1] = True
    expected = torch.tensor([[left / 5, top / 7, right / 5, bottom / 7]])
    torch.testing.assert_close(boxes_of_masks(mask), expected)


def test_a_box_is_the_mean_of_the_learnt_and_the_masks_and_the_learnt_one_without_a_mask() -> None:
    learnt = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4]])
    logits = torch.full((2, 4, 4), -1.0)
    logits[0, 2:, 1:] = 1.0
    expected = torch.tensor([[0.125, 0.25, 0.75, 0.75], [0.1, 0.2, 0.3, 0.4]])
    torch.testing.assert_close(joined_boxes(learnt, logits), expected)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 1, 1), (0, 0, 1, 1), 1.0),
        ((0, 0, 0.5, 1), (0.5, 0, 1, 1), 0.0),  # side by side: the hull is full
        ((0, 0, 0.25, 1), (0.75, 0, 1, 1), -0.5),  # half of the hull between them
        ((0, 0, 1, 1), (0, 0, 0.5, 0.5), 0.25),
        ((0, 0, 0.5, 0.5), (0.25, 0.25, 0.75, 0.75), 1 / 7 - 2 / 9),
    ],
)
def test_giou_of_known_boxes(a: tuple[float, ...], b: tuple[float, ...], expected: float) -> None:
    found = generalised_iou(torch.tensor(a).float(), torch.tensor(b).float())
    assert float(found) == pytest.approx(expected, abs=1e-6)
    assert float(generalised_iou(torch.tensor(b).float(), torch.tensor(a).float())) == pytest.approx(
        expected, abs=1e-6
    )


# Classes from masks


def test_a_voxel_gets_the_class_of_the_mask_that_covers_it_and_no_object_counts_for_nothing() -> None:
    classes = torch.full((1, 1, 3, 4), -20.0)  # background, two classes, no object
    for query, label in enumerate((0, 2, 3)):
        classes[0, 0, query, label] = 20.0
    masks = torch.full((1, 1, 3, 2, 3), -20.0)
    masks[0, 0, 0, 0] = 20.0  # background in row 0
    masks[0, 0, 1, 1] = 20.0  # the second class in row 1
    masks[0, 0, 2] = 20.0  # no object everywhere
    found = class_probabilities(classes, masks)
    assert found.shape == (1, 3, 2, 3, 1)
    expected = torch.zeros(1, 3, 2, 3, 1)
    expected[0, 0, 0] = expected[0, 2, 1] = 1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_uncertain_masks_share_a_voxel_by_class_times_mask() -> None:
    classes = torch.tensor([[[[math.log(3), 0.0, 0.0], [0.0, math.log(2), 0.0]]]])  # 3/5 1/5, 1/4 2/4
    masks = torch.tensor([[[[[0.0]], [[math.log(3)]]]]])  # 1/2 and 3/4
    background, lesion = 0.6 * 0.5 + 0.25 * 0.75, 0.2 * 0.5 + 0.5 * 0.75
    total = background + lesion
    expected = torch.tensor([background / total, lesion / total])
    torch.testing.assert_close(class_probabilities(classes, masks).flatten(), expected)


# The interface


def test_it_takes_no_clicks_and_names_its_classes() -> None:
    network = build_model("", TINY)
    assert isinstance(network, MaskSAM)
    capabilities = network.capabilities
    assert not capabilities.takes_clicks and capabilities.classes == ("nodule", "cyst")
    features = network.look(a_patch())
    assert features.embedding.shape == (1, 64, 3, 6, 6)
    assert [block.shape for block in features.blocks] == [(1, 16, 3, 6, 6)] * 2
    with pytest.raises(ModelError, match="takes no clicks"):
        network.answer(features, torch.zeros(1, 1, 3), torch.ones(1, 1), torch.zeros(1, 1, 1, 1, 1))
    with pytest.raises(ModelError, match="takes no clicks"):
        InteractiveSession(network)
    with pytest.raises(ModelError, match="shape"):
        network.look(torch.zeros(1, 1, 24, 24, 24))


def test_a_predictor_gives_the_networks_probabilities_as_an_array() -> None:
    network = randomised(build_model("", TINY), 0.1)
    patch = a_patch()
    found = TorchPredictor(network, "cpu").classify(patch[0, 0].numpy())
    with torch.no_grad():
        np.testing.assert_allclose(found, network.classify(patch)[0].numpy(), atol=1e-6)


def test_half_the_bits_change_little() -> None:
    network = randomised(build_model("", TINY), 0.1)
    patch = a_patch()[0, 0].numpy()
    exact = TorchPredictor(network, "cpu", "float32").classify(patch)
    rough = TorchPredictor(network, "cpu", "bfloat16").classify(patch)
    np.testing.assert_allclose(rough.sum(axis=0), 1, atol=1e-5)
    assert np.abs(rough - exact).max() < 0.05


def test_a_network_of_clicks_has_no_classes() -> None:
    small = ModelConfig(
        patch_size=16, token_size=8, encoder_width=24, encoder_depth=1, encoder_heads=2, embedding_width=48
    )
    predictor = TorchPredictor(build_model("", small), "cpu")
    with pytest.raises(ModelError, match="names what it finds"):
        predictor.classify(np.zeros((16, 16, 16), np.float32))


# SAM's weights


def sam_weights(config: MaskSAMConfig = TINY) -> dict[str, torch.Tensor]:
    """Weights as SAM's file has them, for a network of that size."""
    network = randomised(build_model("", config))
    return {name: value.clone() for name, value in network.state_dict().items() if is_frozen(name)}


def test_sams_weights_fill_the_frozen_parts_and_the_rest_is_named() -> None:
    weights = sam_weights()
    network = build_model("", TINY)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rest = network.load_published_state_dict(weights)
    assert rest == sorted(name for name in before if not is_frozen(name))
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, weights[name] if is_frozen(name) else before[name])


def test_positions_are_resized_to_another_image_size() -> None:
    weights = sam_weights()
    coarse = build_model("", replace(TINY, upsampling=2))
    coarse.load_published_state_dict(weights)
    encoder = coarse.image_encoder
    assert encoder.pos_embed.shape == (1, 3, 3, 16)
    middle = weights["image_encoder.pos_embed"].mean(dim=(1, 2))
    torch.testing.assert_close(encoder.pos_embed.mean(dim=(1, 2)), middle, atol=0.15, rtol=0)
    table, wide = encoder.blocks[0].attn.rel_pos_h, weights["image_encoder.blocks.0.attn.rel_pos_h"]
    assert (table.shape, wide.shape) == ((5, 8), (11, 8))
    torch.testing.assert_close(table[2], wide[5])  # the key in the same row
    windowed = encoder.blocks[1].attn.rel_pos_h
    torch.testing.assert_close(windowed, weights["image_encoder.blocks.1.attn.rel_pos_h"])


@pytest.mark.parametrize("fault", ["unknown", "missing", "shape"])
def test_weights_that_do_not_fit_are_refused_and_change_nothing(fault: str) -> None:
    weights = sam_weights()
    if fault == "unknown":
        weights["image_encoder.blocks.0.attention_adapter.up.bias"] = torch.zeros(16)
    elif fault == "missing":
        del weights["mask_decoder.iou_token.weight"]
    else:
        weights["image_encoder.neck.0.weight"] = torch.zeros(64, 15, 1, 1)
    network = build_model("", TINY)
    before = network.state_dict()["image_encoder.patch_embed.proj.weight"].clone()
    with pytest.raises(WeightsError):
        network.load_published_state_dict(weights)
    torch.testing.assert_close(network.state_dict()["image_encoder.patch_embed.proj.weight"], before)


def test_a_part_of_sams_weights_will_do_where_asked_for() -> None:
    weights = sam_weights()
    del weights["mask_decoder.iou_token.weight"]
    rest = build_model("", TINY).load_published_state_dict(weights, partial=True)
    assert "mask_decoder.iou_token.weight" in rest
