"""3DSAM-adapter at a tiny size: its unusual parts, what it refuses, and a session with it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sam_adapter_reference import block_output, class_logits, levels_of, prompted_level, tokens_of

from MSAMLogic import InteractiveSession
from MSAMLogic.errors import ClickError, ModelError
from MSAMLogic.model import CONFIGURATIONS, build_model
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


def randomised(network: SAMAdapter, seed: int = 0) -> SAMAdapter:
    """Give every tensor values, also those that start at 0 and would hide a mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            fan = max(1, parameter[0].numel()) if parameter.ndim > 1 else 4
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise / fan**0.5 + (parameter.ndim == 1))
    return network.eval()


@pytest.fixture(scope="module")
def network() -> SAMAdapter:
    return randomised(SAMAdapter(TINY))


@pytest.fixture(scope="module")
def patch() -> torch.Tensor:
    """A patch (R, A, S)."""
    return torch.from_numpy(np.random.default_rng(1).standard_normal((16, 16, 16)).astype(np.float32))


def test_the_patch_embedding_is_that_of_the_enlarged_patch(network: SAMAdapter, patch: torch.Tensor) -> None:
    with torch.no_grad():
        expected = tokens_of(network, patch.permute(2, 1, 0))
        encoder = network.image_encoder
        tokens = super(type(encoder), encoder).forward(patch.transpose(0, 1)[None, None])[0]
        positions = expected - tokens
        torch.testing.assert_close(positions, positions[:1, :1] + positions[:, :, :1] - positions[:1, :1, :1])
        encoder_table = encoder.pos_embed[0].reshape(4, 2, 4, 2, -1).mean(dim=(1, 3))
        torch.testing.assert_close(
            positions, encoder_table[:, :, None] + encoder.depth_embed[0], atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_block_attends_in_shifted_windows(network: SAMAdapter, index: int) -> None:
    tokens = torch.randn(4, 4, 4, 16, generator=torch.Generator().manual_seed(index))
    block = network.image_encoder.blocks[index]
    with torch.no_grad():
        expected = block_output(block, tokens, shift=1 if index % 2 == 0 else 0)
        torch.testing.assert_close(block(tokens[None])[0], expected, atol=1e-4, rtol=1e-4)


def test_windows_four_tokens_wide_at_the_border_keep_both_ends_apart() -> None:
    config = replace(TINY, patch_size=32, position_table=8, window_size=4)
    block = randomised(SAMAdapter(config)).image_encoder.blocks[0]
    tokens = torch.randn(8, 8, 8, 16, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = block_output(block, tokens, shift=2)
        torch.testing.assert_close(block(tokens[None])[0], expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1, 16, width=32)] * 3), min_size=1, max_size=4))
def test_points_are_sampled_where_they_lie(points: list[tuple[float, float, float]]) -> None:
    network = randomised(SAMAdapter(TINY))
    level = torch.randn(16, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    coords = torch.tensor(points)  # (slice, row, column)
    with torch.no_grad():
        expected = prompted_level(network, level, coords)
        mine = network.prompt_encoders[3](level[None], coords[None][..., [0, 2, 1]])[0]
    torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-4)


def test_the_whole_network(network: SAMAdapter, patch: torch.Tensor) -> None:
    points = torch.tensor([[3.0, 10.0, 7.0], [12.0, 2.0, 5.0]])  # (R, A, S)
    with torch.no_grad():
        expected = class_logits(network, patch.permute(2, 1, 0), points.flip(1)).permute(0, 3, 2, 1)
        features = network.look(patch[None, None])
        torch.testing.assert_close(
            features.deepest[0], levels_of(network, patch.permute(2, 1, 0))[3], atol=1e-3, rtol=1e-3
        )
        mine = network.class_logits(features, points[None])[0]
        torch.testing.assert_close(mine, expected, atol=2e-3, rtol=2e-3)
        logits, prompt, iou = network.answer(
            features, points[None], torch.ones(1, 2), torch.zeros(1, 1, 4, 4, 4)
        )
    torch.testing.assert_close(logits[0, 0], mine[1] - mine[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(prompt, torch.nn.functional.avg_pool3d(logits, 4))
    assert iou.tolist() == [[1.0]]
