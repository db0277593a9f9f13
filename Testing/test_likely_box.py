"""Full resolution is computed only where an answer can be lesion, and the mask is the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from MSAMLogic.model import build_model
from MSAMLogic.model.likely_box import LikelyBox, likely_box

SIZE, PATCH = 32, 64
MIDDLE = torch.full((1, 1, 3), 31.5)
LESION = torch.ones(1, 1, dtype=torch.int64)


def ball(centre: tuple[int, int, int], radius: float, inside: float = 4.0, outside: float = -9.0):
    """Return decoder logits (1, 1, 32, 32, 32) of a ball."""
    cells = torch.stack(torch.meshgrid(*[torch.arange(float(SIZE))] * 3, indexing="ij"), dim=-1)
    distance = (cells - torch.tensor(centre, dtype=torch.float32)).norm(dim=-1)
    return torch.where(distance <= radius, inside, outside)[None, None]


def test_the_box_holds_all_that_may_be_lesion_and_a_margin() -> None:
    logits = ball((16, 16, 16), 3.0)
    logits[0, 0, 10, 16, 20] = -3.9  # hardly, but who knows
    assert likely_box(logits, MIDDLE, LESION, PATCH) == LikelyBox((8, 11, 11), (22, 22, 23), SIZE)


def test_the_box_ends_with_the_patch() -> None:
    box = likely_box(ball((0, 31, 16), 3.0), torch.full((1, 1, 3), 100.0), LESION, PATCH)
    assert box == LikelyBox((0, 26, 11), (6, 32, 22), SIZE)


def test_a_lesion_click_is_in_the_box_whatever_the_decoder_says() -> None:
    nowhere = torch.full((1, 1, SIZE, SIZE, SIZE), -9.0)
    coords = torch.tensor([[[5.2, 60.0, 30.0], [40.0, 40.0, 40.0]]])
    box = likely_box(nowhere, coords, torch.tensor([[1, 0]]), PATCH)
    assert box == LikelyBox((0, 28, 13), (5, 32, 18), SIZE)
    assert likely_box(nowhere, coords, torch.tensor([[0, 0]]), PATCH) is None


def test_a_box_that_is_almost_the_patch_is_not_worth_it() -> None:
    assert likely_box(ball((16, 16, 16), 12.0), MIDDLE, LESION, PATCH) is None


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(0, 14)] * 3), st.tuples(*[st.integers(1, 16)] * 3), st.integers(0, 3))
def test_a_part_of_a_part_is_the_part(low, sides, rim) -> None:
    box = LikelyBox.between(low, tuple(a + b for a, b in zip(low, sides, strict=True)), 16)
    volume = torch.arange(32.0**3).reshape(1, 1, 32, 32, 32)
    outer = box.grown(rim)
    torch.testing.assert_close(box.of(outer.of(volume), outer), box.of(volume))
    i, j, k = (slice(2 * a, 2 * b) for a, b in zip(box.start, box.stop, strict=True))
    torch.testing.assert_close(box.of(volume), volume[..., i, j, k])
    assert box.share == pytest.approx(np.prod(box.of(volume).shape) / 32**3)


def test_faces_are_those_within_the_cube() -> None:
    box = LikelyBox((0, 2, 3), (4, 16, 5), 16)
    values = torch.arange(4.0 * 14 * 2).reshape(1, 1, 4, 14, 2)
    expected = [values[..., -1, :, :], values[..., 0, :], values[..., 0], values[..., -1]]
    for face, wanted in zip(box.inner_faces(values), expected, strict=True):
        torch.testing.assert_close(face, wanted.flatten())
    assert not LikelyBox((0, 0, 0), (16, 16, 16), 16).inner_faces(values)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_model("msam-compact")


def answered(network, logits, coords=MIDDLE, is_training=False):
    """Return the branch's answer (64, 64, 64), and how many cells of full resolution it took."""
    generator = torch.Generator().manual_seed(1)
    branch = network.detail_branch.train(is_training)
    cells = []
    hook = branch.merge_full.register_forward_hook(lambda module, given, out: cells.append(out[0, 0].numel()))
    with torch.no_grad():
        detail = branch.encode(torch.randn(1, 1, PATCH, PATCH, PATCH, generator=generator))
        features = torch.randn(1, network.config.embedding_width // 8, SIZE, SIZE, SIZE, generator=generator)
        out, _ = branch(detail, features, logits, torch.zeros_like(logits), coords, LESION)
    hook.remove()
    return out[0, 0], cells


@pytest.mark.parametrize("centre", [(16, 16, 16), (1, 30, 16)])
def test_the_answer_is_the_same_in_the_box_and_no_lesion_outside(network, centre) -> None:
    logits, coords = ball(centre, 4.0), 2 * torch.tensor([[centre]]).float() + 0.5
    expected, all_cells = answered(network, logits, coords, is_training=True)
    found, cells = answered(network, logits, coords)
    assert all_cells == [PATCH**3] and sum(cells) < 0.2 * PATCH**3
    box = likely_box(logits, coords, LESION, PATCH)
    assert box is not None
    torch.testing.assert_close(box.of(found[None, None]), box.of(expected[None, None]), rtol=1e-4, atol=1e-4)
    assert bool((expected > 0).any())
    assert torch.equal(found > 0, expected > 0)


def test_beyond_the_box_the_answer_goes_on_without_a_step(network) -> None:
    logits = ball((16, 16, 16), 4.0)
    bias = network.detail_branch.head.bias.detach().clone()
    try:
        with torch.no_grad():
            network.detail_branch.head.bias.fill_(-6.0)  # the branch is surer than the decoder
        expected, _ = answered(network, logits, is_training=True)
        found, cells = answered(network, logits)
    finally:
        with torch.no_grad():
            network.detail_branch.head.bias.copy_(bias)
    assert sum(cells) < 0.2 * PATCH**3
    box = likely_box(logits, MIDDLE, LESION, PATCH)
    assert box is not None
    difference = found - expected
    inside = box.of(difference[None, None])
    assert float(inside.abs().max()) < 1e-3
    mean_outside = (difference.sum() - inside.sum()) / (difference.numel() - inside.numel())
    assert abs(float(mean_outside)) < 0.5


def test_where_the_lesion_reaches_a_face_of_the_box_all_is_computed(network) -> None:
    logits = ball((16, 16, 16), 4.0)
    branch = network.detail_branch
    bias = branch.head.bias.detach().clone()
    try:
        with torch.no_grad():
            branch.head.bias.fill_(20.0)
        expected, _ = answered(network, logits, is_training=True)
        found, cells = answered(network, logits)
    finally:
        with torch.no_grad():
            branch.head.bias.copy_(bias)
    assert len(cells) == 2 and cells[1] == PATCH**3
    assert torch.equal(found, expected)


def test_several_patches_at_once_are_computed_whole(network) -> None:
    branch = network.detail_branch
    logits = torch.cat([ball((8, 8, 8), 4.0), ball((24, 24, 24), 4.0)])
    coords = torch.tensor([[[16.5] * 3], [[48.5] * 3]])
    features = torch.zeros(2, network.config.embedding_width // 8, SIZE, SIZE, SIZE)
    with torch.no_grad():
        detail = branch.encode(torch.randn(2, 1, PATCH, PATCH, PATCH))
        given = (detail, features, logits, torch.zeros_like(logits), coords, LESION.repeat(2, 1))
        expected, _ = branch.train()(*given)
        found, _ = branch.eval()(*given)
    assert torch.equal(found, expected)
