"""3DSAM-adapter at a tiny size: its unusual parts, what it refuses, and a session with it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sam_adapter_reference import block_output, class_logits, embedded, levels_of, prompted_level

from MSAMLogic import InteractiveSession
from MSAMLogic.errors import ClickError, ModelError
from MSAMLogic.model.sam_adapter.config import INTENSITIES, SAMAdapterConfig
from MSAMLogic.model.sam_adapter.network import SAMAdapter

TINY = SAMAdapterConfig(
    patch_size=16,
    position_table=8,
    encoder_width=16,
    encoder_depth=4,
    encoder_heads=2,
    window_size=2,
    sam_window_size=3,
    global_blocks=(1,),
    embedding_width=16,
    queries=3,
    prompt_heads=2,
    prompt_mlp_width=32,
    decoder_width=8,
)


@cache
def randomised(config: SAMAdapterConfig) -> SAMAdapter:
    """Return a network all of whose tensors have values, also those that start at 0 and hide mistakes."""
    network = SAMAdapter(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        fan = max(1, parameter[0].numel()) if parameter.ndim > 1 else 4
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(noise / fan**0.5 + (parameter.ndim == 1))
    return network


@pytest.fixture(scope="module")
def network() -> SAMAdapter:
    return randomised(TINY)


@pytest.fixture(scope="module")
def patch() -> torch.Tensor:
    """A patch (R, A, S)."""
    return torch.from_numpy(np.random.default_rng(1).standard_normal((16, 16, 16)).astype(np.float32))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_patch_embedding_is_that_of_the_enlarged_patch(network: SAMAdapter, patch: torch.Tensor) -> None:
    cells = patch.transpose(0, 1)[None, None]  # (row, column, slice) = (A, R, S)
    mine = network.image_encoder.patch_embedding(cells)[0]
    torch.testing.assert_close(mine, embedded(network, patch.permute(2, 1, 0)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_block_attends_in_shifted_windows(network: SAMAdapter, index: int) -> None:
    tokens = noise(4, 4, 4, 16, seed=index)
    block = network.image_encoder.blocks[index]
    expected = block_output(block, tokens, shift=1 if index % 2 == 0 else 0)
    torch.testing.assert_close(block(tokens[None])[0], expected, atol=1e-4, rtol=1e-4)


def test_wider_windows_at_the_border_keep_both_ends_apart() -> None:
    config = replace(TINY, patch_size=32, window_size=4)
    block = randomised(config).image_encoder.blocks[0]
    tokens = noise(8, 8, 8, 16, seed=5)
    expected = block_output(block, tokens, shift=2)
    torch.testing.assert_close(block(tokens[None])[0], expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1, 16, width=32)] * 3), min_size=1, max_size=4))
def test_points_are_sampled_where_they_lie(points: list[tuple[float, float, float]]) -> None:
    network = randomised(TINY)
    level, coords = noise(16, 4, 4, 4, seed=3), torch.tensor(points)  # (slice, row, column)
    mine = network.prompt_encoders[3](level[None], coords[None][..., [0, 2, 1]])[0]
    torch.testing.assert_close(mine, prompted_level(network, level, coords), atol=1e-4, rtol=1e-4)


def test_the_whole_network(network: SAMAdapter, patch: torch.Tensor) -> None:
    points = torch.tensor([[3.0, 10.0, 7.0], [12.0, 2.0, 5.0]])  # (R, A, S)
    turned = patch.permute(2, 1, 0)
    features = network.look(patch[None, None])
    torch.testing.assert_close(features.deepest[0], levels_of(network, turned)[3], atol=1e-3, rtol=1e-3)
    mine = network.class_logits(features, points[None])[0]
    expected = class_logits(network, turned, points.flip(1)).permute(0, 3, 2, 1)
    torch.testing.assert_close(mine, expected, atol=2e-3, rtol=2e-3)
    logits, prompt, iou = network.answer(features, points[None], torch.ones(1, 2), torch.zeros(1, 1, 4, 4, 4))
    torch.testing.assert_close(logits[0, 0], mine[1] - mine[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(prompt, torch.nn.functional.avg_pool3d(logits, 4))
    assert iou.tolist() == [[1.0]]


def test_patches_of_a_batch_do_not_meet(network: SAMAdapter) -> None:
    patches, points = noise(2, 1, 16, 16, 16), torch.tensor([[[3.0, 10.0, 7.0]], [[12.0, 2.0, 5.0]]])
    together = network.lesion_logits(network.look(patches), points)
    for index in (0, 1):
        alone = slice(index, index + 1)
        logits = network.lesion_logits(network.look(patches[alone]), points[alone])
        torch.testing.assert_close(together[alone], logits, atol=1e-4, rtol=1e-4)


def test_what_was_trained_by_the_release_is_trained(network: SAMAdapter) -> None:
    trained = {name for name, p in SAMAdapter(TINY).named_parameters() if p.requires_grad}
    encoder = {name.removeprefix("image_encoder.") for name in trained if name.startswith("image_encoder.")}
    kinds = {".".join(part for part in name.split(".") if not part.isdigit()) for name in encoder}
    assert kinds == {
        "depth_embed",
        *(f"patch_embedding.slice_embed.{kind}" for kind in ("weight", "bias")),
        *(f"blocks.{norm}.{kind}" for norm in ("norm1", "norm2") for kind in ("weight", "bias")),
        *(
            f"blocks.adapter.{x}.{kind}"
            for x in ("linear1", "conv", "linear2")
            for kind in ("weight", "bias")
        ),
        "blocks.attn.rel_pos_d",
        "neck_3d.weight",
    }
    # Nothing waits for a gradient that never comes: several processes would stop at it.
    fresh = SAMAdapter(TINY)
    fresh.lesion_logits(fresh.look(noise(1, 1, 16, 16, 16)), torch.full((1, 1, 3), 5.0)).sum().backward()
    assert {name for name, p in fresh.named_parameters() if p.grad is not None} == trained


def test_what_does_not_fit_is_refused(network: SAMAdapter, patch: torch.Tensor) -> None:
    with pytest.raises(ModelError, match="The patch has shape"):
        network.look(patch[None])
    features, prompt = network.look(patch[None, None]), torch.zeros(1, 1, 4, 4, 4)
    with pytest.raises(ModelError, match="for the lesion only"):
        network.answer(features, torch.ones(1, 2, 3), torch.tensor([[1, 0]]), prompt)
    for shape in ((1, 0, 3), (1, 1, 2), (2, 1, 3)):
        with pytest.raises(ModelError, match="Clicks have shape"):
            network.answer(features, torch.ones(shape), torch.ones(shape[:2]), prompt)


@pytest.mark.parametrize(
    "change",
    [
        {"enlargement": 3},
        {"patch_size": 18},
        {"patch_size": 24},
        {"window_size": 3},
        {"encoder_depth": 6},
        {"encoder_heads": 3},
        {"prompt_heads": 3},
        {"intensity": "brain"},
        {"spacing": 0.0},
    ],
)
def test_sizes_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="cannot be built"):
        replace(TINY, **change)


def test_a_configuration_survives_json() -> None:
    config = replace(TINY, intensity="colon", spacing=1.25)
    assert SAMAdapterConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ModelError, match="unknown fields"):
        SAMAdapterConfig.from_dict({"lora_rank": 4})


@pytest.mark.parametrize("organ", INTENSITIES)
def test_capabilities_say_what_the_data_set_asks_for(organ: str) -> None:
    capabilities = SAMAdapter(replace(TINY, intensity=organ)).capabilities
    assert capabilities.intensity == INTENSITIES[organ]
    assert capabilities.all_clicks and not capabilities.background_clicks
    assert capabilities.spacings == (1.0,)


@pytest.fixture
def session(network: SAMAdapter) -> InteractiveSession:
    """A session with a CT of 20 mm in which the patch leaves the image."""
    voxels = np.random.default_rng(0).integers(-200, 200, (20, 20, 20)).astype(np.int16)
    session = InteractiveSession(network)
    session.set_image(sitk.GetImageFromArray(voxels))
    return session


def test_a_session_segments_what_is_clicked(session: InteractiveSession) -> None:
    changed = session.click((10.0, 9.0, 8.0))
    first = sitk.GetArrayFromImage(session.mask)
    assert 0 < first.sum() < first.size
    assert sitk.GetArrayFromImage(changed).any()
    session.click((5.0, 12.0, 10.0))
    assert (sitk.GetArrayFromImage(session.mask) != first).any()
    session.undo()
    assert (sitk.GetArrayFromImage(session.mask) == first).all()


def test_a_session_refuses_clicks_against_the_lesion(session: InteractiveSession) -> None:
    session.click((10.0, 9.0, 8.0))
    before = sitk.GetArrayFromImage(session.mask)
    with pytest.raises(ClickError):
        session.click((10.0, 9.0, 8.0), positive=False)
    assert (sitk.GetArrayFromImage(session.mask) == before).all()


def test_beyond_the_image_a_session_gives_the_mean(network: SAMAdapter) -> None:
    seen: list[torch.Tensor] = []
    session = InteractiveSession(network)
    hook = network.image_encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    session.set_image(sitk.GetImageFromArray(np.arange(8**3, dtype=np.int16).reshape(8, 8, 8) - 250))
    session.click((3.0, 3.0, 3.0))
    hook.remove()
    assert torch.all(seen[0][..., 0] == 0)
    assert seen[0].any()
