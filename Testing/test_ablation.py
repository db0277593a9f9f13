"""Models without an ingredient: what is left out, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from predictors import ThresholdPredictor
from test_corrector import correction
from test_look_fusion import first_looks

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.errors import ModelError
from MSAMLogic.evaluation.ablation import INGREDIENTS, without
from MSAMLogic.model import CONFIGURATIONS, build_model
from MSAMLogic.model.config import ModelConfig
from MSAMLogic.predictor import TorchPredictor

ABLE = Capabilities(
    32, 16, (0.75, 1.5, 3.0), 1.5, antialias=True, all_clicks=True, corrects=True, fused_looks=(0.75, 3.0)
)


@pytest.mark.parametrize(
    ("ingredients", "left"),
    [
        (["finer-look"], replace(ABLE, spacings=(1.5, 3.0))),
        (["coarser-look"], replace(ABLE, spacings=(0.75, 1.5))),
        (["finer-look", "coarser-look"], replace(ABLE, spacings=(1.5,))),
        (["all-clicks"], replace(ABLE, all_clicks=False)),
        (["antialias"], replace(ABLE, antialias=False)),
        (["corrector"], replace(ABLE, corrects=False)),
        (["look-fusion"], replace(ABLE, fused_looks=())),
    ],
)
def test_a_session_is_told_less_and_gets_the_same_answers(ingredients: list[str], left: Capabilities) -> None:
    predictor = ThresholdPredictor(ABLE)
    lessened = without(predictor, ingredients)
    assert lessened.capabilities == left and predictor.capabilities == ABLE
    patch = np.zeros((32, 32, 32), np.float32)
    patch[8:16, 8:16, 8:16] = 1
    asked = (np.full((1, 3), 12, np.float32), np.array([1]), np.zeros((16, 16, 16), np.float32))
    expected = predictor.decode(predictor.encode(patch), *asked)
    answer = lessened.decode(lessened.encode(patch), *asked)
    assert (expected.logits > 0).any() and np.array_equal(answer.logits, expected.logits)


@pytest.fixture(scope="module")
def compact() -> TorchPredictor:
    torch.manual_seed(0)
    config = replace(CONFIGURATIONS["msam-compact"], encoder_depth=1, global_blocks=(0,))
    return TorchPredictor(build_model("", config), "cpu", "float32")


def test_without_the_detail_branch_looks_are_fused_and_masks_corrected_as_before() -> None:
    torch.manual_seed(0)
    config = CONFIGURATIONS["msam-compact"]
    assert isinstance(config, ModelConfig)
    sizes = replace(config, encoder_depth=1, global_blocks=(0,), fusion_width=8, corrector_width=8)
    whole = TorchPredictor(build_model("", sizes), "cpu", "float32")
    bare = without(whole, ["detail-branch"])
    assert bare.capabilities == whole.capabilities
    assert np.array_equal(bare.fuse(first_looks()), whole.fuse(first_looks()))
    assert np.array_equal(bare.correct(correction()), whole.correct(correction()))


def test_without_the_detail_branch_the_decoder_answers(compact: TorchPredictor) -> None:
    rng = np.random.default_rng(0)
    patch = rng.normal(size=(64, 64, 64)).astype(np.float32)
    asked = (np.full((1, 3), 30, np.float32), np.array([1]), np.zeros((32, 32, 32), np.float32))
    bare = without(compact, ["detail-branch", "antialias"])
    answer = bare.decode(bare.encode(patch), *asked)
    with torch.inference_mode():
        coords, labels, prompt = (torch.from_numpy(a)[None] for a in asked)
        embedding = compact.network.encode(torch.from_numpy(patch)[None, None])
        expected, _ = compact.network.decode(embedding, coords, labels, prompt[None])
    np.testing.assert_allclose(answer.logits, expected[0, 0].numpy(), atol=1e-5)
    assert bare.capabilities == replace(compact.capabilities, antialias=False)
    # The model that it was made from keeps its own.
    assert compact.decode(compact.encode(patch), *asked).logits.shape == (64, 64, 64)


def test_what_is_not_there_cannot_be_left_out(compact: TorchPredictor) -> None:
    plain = ThresholdPredictor(Capabilities(32, 16))
    for name in INGREDIENTS:
        with pytest.raises(ModelError, match=f"has no {name}"):
            without(plain, [name])
    with pytest.raises(ModelError, match=r"no ingredient 'salt'; choose from finer-look"):
        without(compact, ["finer-look", "salt"])
    with pytest.raises(ModelError, match="has no finer-look"):
        without(compact, ["finer-look", "finer-look"])
