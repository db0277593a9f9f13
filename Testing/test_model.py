"""The closed form of the padding, the network's contract, configurations and checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from padded_reference import padded_attention, padded_encode
from torch import nn

from MSAMLogic.errors import ModelError, WeightsError
from MSAMLogic.loading import read_network
from MSAMLogic.model import CONFIGURATIONS, MSAM, ModelConfig, PatchFeatures, build_model
from MSAMLogic.model.checkpoints import published_to_own_name, save_weights
from MSAMLogic.model.detail_branch import click_affinity, click_maps, clicked_brightness
from MSAMLogic.model.flooding import flooded
from MSAMLogic.model.quality_head import QualityHead, answer_statistics
from MSAMLogic.model.relative_attention import RelativeAttention
from MSAMLogic.model.residual_block import JoiningBlock

TINY = ModelConfig(
    patch_size=32,
    token_size=8,
    encoder_width=48,
    encoder_depth=3,
    encoder_heads=3,
    window_size=7,
    global_blocks=(1,),
    embedding_width=48,
    lora_rank=2,
    adapter_heads=3,
    decoder_heads=4,
    decoder_mlp_width=64,
    iou_head_width=16,
)


def randomised(module: torch.nn.Module, scale: float = 0.3) -> torch.nn.Module:
    """Give every parameter a value that matters; fresh tables and updates are zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return module


@settings(max_examples=25, deadline=None)
@given(
    grid=st.integers(1, 4),
    padding=st.integers(0, 4),
    heads=st.integers(1, 3),
    lora_rank=st.sampled_from([0, 2]),
    scale=st.floats(0.05, 2.0),
    seed=st.integers(0, 1000),
)
def test_closed_form_equals_computing_the_padding(
    grid: int, padding: int, heads: int, lora_rank: int, scale: float, seed: int
) -> None:
    attention = RelativeAttention(8 * heads, heads, grid, grid + padding, lora_rank)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
        attention = attention.double()
        tokens = torch.randn((2, grid, grid, grid, 8 * heads), generator=generator, dtype=torch.float64)
        torch.testing.assert_close(
            attention(tokens), padded_attention(attention, tokens), rtol=1e-9, atol=1e-9
        )


def test_encoder_equals_the_padded_encoder() -> None:
    network = MSAM(TINY).eval()
    randomised(network, 0.15)
    patch = torch.randn(2, 1, 32, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network.encode(patch), padded_encode(network, patch), rtol=1e-4, atol=1e-4)


def test_gradients_flow_through_the_closed_form() -> None:
    attention = randomised(RelativeAttention(16, 2, 2, 5, lora_rank=2))
    tokens = torch.randn(1, 2, 2, 2, 16)
    for forward in (attention, lambda x: padded_attention(attention, x)):  # type: ignore[arg-type]
        attention.zero_grad()
        forward(tokens).square().sum().backward()
        gradients = {n: p.grad.clone() for n, p in attention.named_parameters() if p.grad is not None}
        if forward is attention:
            closed = gradients
    assert closed.keys() == gradients.keys()
    for name in closed:
        torch.testing.assert_close(closed[name], gradients[name], rtol=1e-3, atol=1e-4, msg=name)


def test_shapes_of_the_contract() -> None:
    network = build_model("msam-compact")
    with torch.inference_mode():
        embedding = network.encode(torch.randn(1, 1, 64, 64, 64))
        logits, iou = network.decode(
            embedding, torch.rand(1, 2, 3) * 64, torch.tensor([[1, 0]]), torch.zeros(1, 1, 32, 32, 32)
        )
    assert embedding.shape == (1, 192, 8, 8, 8)
    assert logits.shape == (1, 1, 32, 32, 32)
    assert iou.shape == (1, 1)


def test_a_fresh_low_rank_update_changes_nothing() -> None:
    network = MSAM(TINY).eval()
    patch = torch.randn(1, 1, 32, 32, 32)
    with torch.inference_mode():
        before = network.encode(patch)
        for block in network.image_encoder.blocks:
            torch.nn.init.normal_(block.attn.lora.linear_a_q.weight)
        assert torch.equal(network.encode(patch), before)
        torch.nn.init.normal_(network.image_encoder.blocks[0].attn.lora.linear_b_q.weight)
        assert not torch.equal(network.encode(patch), before)


@pytest.mark.parametrize("shape", [(1, 1, 64, 64, 64), (1, 2, 32, 32, 32), (1, 32, 32, 32)])
def test_a_patch_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="give"):
        MSAM(TINY).encode(torch.zeros(shape))


def test_prompts_of_another_shape_are_refused() -> None:
    network = MSAM(TINY)
    embedding = torch.zeros(1, 48, 4, 4, 4)
    coords, labels, mask = torch.zeros(1, 1, 3), torch.ones(1, 1), torch.zeros(1, 1, 16, 16, 16)
    with pytest.raises(ModelError, match="embedding"):
        network.decode(embedding[:, :5], coords, labels, mask)
    with pytest.raises(ModelError, match="Clicks"):
        network.decode(embedding, coords[..., :2], labels, mask)
    with pytest.raises(ModelError, match="mask prompt"):
        network.decode(embedding, coords, labels, mask[:, :, :8])


@pytest.mark.parametrize(
    "change",
    [
        {"patch_size": 30},
        {"encoder_heads": 5},
        {"embedding_width": 40},
        {"window_size": 3},
        {"spacings": (2.0, 1.5)},
    ],
)
def test_sizes_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="cannot be built"):
        replace(TINY, **change)


def test_configurations_survive_json() -> None:
    for config in CONFIGURATIONS.values():
        assert type(config).from_dict(config.to_dict()) == config
    with pytest.raises(ModelError, match="unknown fields"):
        ModelConfig.from_dict({"number_of_wheels": 4})


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ModelError, match="msam-vit-b"):
        build_model("msam-vit-z")


def test_names_of_the_release() -> None:
    assert (
        published_to_own_name("lora_sam.sam.image_encoder.blocks.3.attn.qkv.linear_a_q.weight")
        == "image_encoder.blocks.3.attn.lora.linear_a_q.weight"
    )
    assert (
        published_to_own_name("bidatt.bidirectional_attentions.0.image_multiheadattn.rel_pos_d")
        == "mask_enhanced_adapter.image.attention.attn.rel_pos_d"
    )


def own_state(network: MSAM) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_a_wrong_checkpoint_leaves_the_network_alone() -> None:
    network = MSAM(TINY)
    before = own_state(network)
    changed = {name: value + 1 for name, value in before.items()}
    wrong = [
        {name: value for name, value in changed.items() if name != "image_encoder.pos_embed"},
        changed | {"image_encoder.pos_embed": torch.zeros(1)},
        changed | {"something.else": torch.zeros(1)},
    ]
    for state in wrong:
        with pytest.raises(WeightsError, match="does not fit"):
            network.load_published_state_dict(state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_sam_med3d_can_start_an_msam() -> None:
    plain = MSAM(replace(TINY, lora_rank=0, mask_enhanced_adapter=False))
    network = MSAM(TINY)
    missing = network.load_published_state_dict({"model_state_dict": own_state(plain)}, partial=True)
    assert missing
    assert all(".lora." in name or name.startswith("mask_enhanced_adapter.") for name in missing)
    assert torch.equal(network.image_encoder.pos_embed, plain.image_encoder.pos_embed)


def test_arrays_load_like_tensors() -> None:
    source, network = MSAM(TINY), MSAM(TINY)
    network.load_published_state_dict({name: value.numpy() for name, value in own_state(source).items()})
    assert torch.equal(network.mask_decoder.mask_tokens.weight, source.mask_decoder.mask_tokens.weight)


def test_own_weights_come_back(tmp_path: Path) -> None:
    network = MSAM(TINY).eval()
    randomised(network, 0.1)
    path = tmp_path / "tiny.safetensors"
    save_weights(path, network.config, network.state_dict())
    loaded = read_network(path)
    assert loaded.config == TINY
    for name, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=1e-3, atol=1e-3)


def test_click_maps_peak_at_the_clicks() -> None:
    coords = torch.tensor([[[10.0, 20.0, 30.0], [40.0, 5.0, 8.0], [1.0, 1.0, 1.0]]])
    maps = click_maps(coords, torch.tensor([[1, 0, -1]]), 64, 64)[0]
    assert np.unravel_index(int(maps[0].argmax()), (64, 64, 64)) == (10, 20, 30)
    assert np.unravel_index(int(maps[1].argmax()), (64, 64, 64)) == (40, 5, 8)
    assert maps[:, 1, 1, 1].max() < 0.1  # a padding click leaves no mark


def two_equal_balls() -> tuple[torch.Tensor, torch.Tensor]:
    """A patch with two balls of the same brightness, and a third of another; noise everywhere."""
    grid = torch.stack(torch.meshgrid(*[torch.arange(48.0)] * 3, indexing="ij"), dim=-1)
    patch = 0.05 * torch.randn(48, 48, 48, generator=torch.Generator().manual_seed(0))
    for centre, brightness in (((12, 12, 12), 1.0), ((34, 34, 34), 1.0), ((12, 34, 12), 2.0)):
        patch[(grid - torch.tensor(centre)).norm(dim=-1) < 7] += brightness
    return patch[None, None], torch.tensor([[[12.0, 12.0, 12.0]]])


def test_affinity_is_high_in_what_looks_like_the_click_whatever_the_contrast() -> None:
    patch, coords = two_equal_balls()
    label = torch.ones(1, 1)
    for contrast, offset in ((1.0, 0.0), (20.0, -3.0), (-3.0, 7.0)):
        seen = contrast * patch + offset
        strict = click_affinity(seen, *clicked_brightness(seen, coords), label)[0, 0]
        assert strict[12, 12, 12] > 0.5
        assert strict[31:37, 31:37, 31:37].mean() > 0.6
        assert strict[9:15, 31:37, 9:15].mean() < 0.05


def test_affinity_keeps_the_two_kinds_of_click_apart() -> None:
    patch, coords = two_equal_balls()
    both = torch.cat((coords, torch.tensor([[[12.0, 34.0, 12.0]]])), dim=1)
    clicked = clicked_brightness(patch, both)
    lesion, background = click_affinity(patch, *clicked, torch.tensor([[1, 0]]))[0, :2]
    assert lesion[12, 12, 12] > 0.5 > background[12, 12, 12]
    assert background[12, 34, 12] > 0.5 > lesion[12, 34, 12]
    assert not click_affinity(patch, *clicked_brightness(patch, coords), torch.tensor([[-1]])).any()


def test_affinity_is_a_gaussian_of_the_nearest_brightness_under_a_click() -> None:
    """For each width the clicks for the lesion, then those against it, which need not be as many in each."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 1, 3, 4, 5, generator=generator)
    brightness, noise = torch.randn(2, 3, generator=generator), torch.rand(2, 3, generator=generator) + 0.2
    labels = torch.tensor([[1, 1, 0], [-1, 0, 1]])
    found = click_affinity(image, brightness, noise, labels)
    for sample in range(2):
        for column, (width, value) in enumerate(((1.5, 1), (1.5, 0), (4.0, 1), (4.0, 0))):
            alike = [
                torch.exp(
                    -0.5 * ((image[sample, 0] - brightness[sample, n]) / (width * noise[sample, n])) ** 2
                )
                for n in range(3)
                if labels[sample, n] == value
            ]
            torch.testing.assert_close(found[sample, column], torch.stack(alike).amax(dim=0))


def test_flood_reaches_what_is_connected_and_nothing_else() -> None:
    affinity = torch.full((1, 1, 20, 20, 20), 0.1)
    affinity[0, 0, 2:10, 2:10, 2:10] = 0.9
    affinity[0, 0, 14:18, 14:18, 14:18] = 0.9
    seeds = torch.zeros_like(affinity)
    seeds[0, 0, 3, 3, 3] = 1
    reached = flooded(affinity, seeds, 28)[0, 0]
    assert (reached[2:10, 2:10, 2:10] == affinity[0, 0, 2:10, 2:10, 2:10]).all()
    assert reached[14:18, 14:18, 14:18].max() == pytest.approx(0.1)


@pytest.mark.parametrize("steps", [0, 1, 3, 28])
def test_each_channel_floods_alone_and_no_farther_than_asked(steps: int) -> None:
    torch.manual_seed(0)
    affinity = torch.rand(2, 3, 12, 10, 11)
    seeds = (torch.rand(2, 3, 12, 10, 11) > 0.997).float()
    seeds[0, 1] = 0
    expected = torch.minimum(affinity, seeds)
    for _ in range(steps):
        grown = nn.functional.max_pool3d(expected, (3, 1, 1), 1, (1, 0, 0)).minimum(affinity)
        grown = nn.functional.max_pool3d(grown, (1, 3, 1), 1, (0, 1, 0)).minimum(affinity)
        expected = nn.functional.max_pool3d(grown, (1, 1, 3), 1, (0, 0, 1)).minimum(affinity)
    reached = flooded(affinity, seeds, steps)
    assert torch.equal(reached, expected) and not reached[0, 1].any() and seeds[1].any()


def ball_logits(radius: float, size: int = 16, height: float = 6.0) -> torch.Tensor:
    positions = torch.arange(size) - (size - 1) / 2
    squared = positions[:, None, None] ** 2 + positions[None, :, None] ** 2 + positions[None, None] ** 2
    return torch.where(squared < radius**2, height, -height)[None, None]


def test_statistics_tell_a_sure_ball_from_a_faint_one_and_from_a_patch_that_is_full() -> None:
    sure, faint = answer_statistics(ball_logits(5)), answer_statistics(ball_logits(5, height=0.5))
    full = answer_statistics(torch.full((1, 1, 16, 16, 16), 6.0))
    share, stability, certainty, _, worst_face, centre = range(6)
    assert sure[0, share] == faint[0, share] < full[0, share]
    assert sure[0, stability] == 1 and faint[0, stability] == 0
    assert sure[0, certainty] > 0.45 > 0.15 > faint[0, certainty]
    assert sure[0, worst_face] < 0.01 and full[0, worst_face] > 0.99
    assert sure[0, centre] > 0.99


def test_the_quality_head_learns_how_good_an_answer_is_and_leaves_the_features_alone() -> None:
    torch.manual_seed(0)
    config = replace(TINY, detail_width=8, quality_width=16, patch_size=32, token_size=8)
    head = QualityHead(config)
    half = torch.randn(2, 32, 16, 16, 16, requires_grad=True)
    quarter = torch.randn(2, 64, 8, 8, 8, requires_grad=True)
    logits = torch.cat([ball_logits(10, 32), ball_logits(4, 32, 0.5)]).requires_grad_()
    wanted = torch.tensor([[0.9], [0.2]])
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        estimate = head(logits, half, quarter)
        assert estimate.min() >= 0 and estimate.max() <= 1
        (estimate - wanted).square().mean().backward()
        optimizer.step()
    assert half.grad is None and quarter.grad is None and logits.grad is None
    assert torch.allclose(head(logits, half, quarter), wanted, atol=0.1)


def test_the_quality_head_sees_the_features_under_the_answer_along_its_edge_and_everywhere() -> None:
    head = QualityHead(replace(TINY, detail_width=8, quality_width=16))
    head.layers = nn.Sequential(nn.Identity())
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 1, 8, 8, 8, generator=generator)
    half = torch.randn(2, 32, 4, 4, 4, generator=generator)
    quarter = torch.randn(2, 64, 2, 2, 2, generator=generator)
    pooled = nn.functional.avg_pool3d(logits, 2)
    inside = pooled.sigmoid()
    edge = 4 * inside * (1 - inside)
    axes = (2, 3, 4)
    seen = torch.cat(
        (
            (half * inside).sum(axes) / inside.sum(axes),
            (half * edge).sum(axes) / edge.sum(axes),
            half.mean(axes),
            quarter.mean(axes),
            answer_statistics(pooled),
        ),
        dim=1,
    )
    torch.testing.assert_close(head(logits, half, quarter), seen.sigmoid())


def test_the_estimate_of_a_session_is_the_quality_head_s() -> None:
    network = build_model("msam-compact")
    with torch.no_grad():
        assert network.detail_branch is not None and network.detail_branch.quality_head is not None
        network.detail_branch.quality_head.layers[-1].bias.fill_(50.0)
        features = network.look(torch.zeros(1, 1, 64, 64, 64))
        coords, labels = torch.full((1, 1, 3), 32.0), torch.ones(1, 1)
        answer = network.segment(features, coords, labels, torch.zeros(1, 1, 32, 32, 32))
    assert float(answer.iou) == pytest.approx(1.0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_a_block_joins_what_is_known_with_what_is_new_as_if_both_had_come_together(layout) -> None:
    torch.manual_seed(0)
    block = JoiningBlock(24, 8)
    whole = torch.randn(2, 24, 6, 5, 4).contiguous(memory_format=layout)
    with torch.no_grad():
        expected = block(whole)
        for known, new, first_known, first_new in (
            (whole[:, :16], whole[:, 16:], 0, 16),
            (whole[:, 16:], whole[:, :16], 16, 0),
        ):
            contribution = block.contribution(known, first_known)
            before = [part.clone() for part in contribution]
            for _ in range(2):  # what is known is there for the next answer, too
                found = block.joined(contribution, new, first_new)
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
            assert all(torch.equal(part, kept) for part, kept in zip(contribution, before, strict=True))


def test_what_a_look_keeps_of_the_image_changes_no_answer() -> None:
    torch.manual_seed(0)
    network = MSAM(TINY)
    patch = torch.randn(1, 1, *(TINY.patch_size,) * 3)
    coords, labels = torch.full((1, 2, 3), 9.0), torch.tensor([[1, 0]])
    prompt = torch.randn(1, 1, *(TINY.mask_size,) * 3)
    with torch.no_grad():
        features = network.look(patch)
        assert features.adapted is not None
        kept = network.segment(features, coords, labels, prompt)
        anew = network.segment(features._replace(adapted=None), coords, labels, prompt)
    torch.testing.assert_close(kept.logits, anew.logits)
    torch.testing.assert_close(kept.iou, anew.iou)


def test_training_reaches_the_weights_behind_what_a_look_keeps() -> None:
    torch.manual_seed(0)
    network = build_model("msam-compact")
    assert network.detail_branch is not None and network.mask_enhanced_adapter is not None
    features = network.look(torch.randn(1, 1, 64, 64, 64))
    coords, labels = torch.full((1, 1, 3), 32.0), torch.ones(1, 1)
    network.segment(features, coords, labels, torch.zeros(1, 1, 32, 32, 32)).logits.square().sum().backward()
    # What the image contributes; guides of clicks that are not there are 0, and so are their gradients.
    joining = network.detail_branch.join_half.conv1.weight.grad
    of_image = slice(network.detail_branch.half_down.out_channels)
    adapter = network.mask_enhanced_adapter.image.conv1.weight.grad
    assert joining is not None and bool((joining[:, of_image].abs().amax((0, 2, 3, 4)) > 0).all())
    assert adapter is not None and bool(adapter.abs().sum() > 0)


def test_features_without_the_detail_that_a_network_wants_are_refused() -> None:
    network = build_model("msam-compact")
    features = PatchFeatures(torch.zeros(1, network.config.embedding_width, 8, 8, 8))
    coords, labels = torch.full((1, 1, 3), 32.0), torch.ones(1, 1)
    with torch.no_grad(), pytest.raises(ModelError, match="look"):
        network.segment(features, coords, labels, torch.zeros(1, 1, 32, 32, 32))
