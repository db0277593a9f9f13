"""A network is computed in bfloat16 where that is quick and keeps its answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_model import TINY

from MSAMLogic.model import build_model
from MSAMLogic.predictor import TorchPredictor

DETAILED = replace(TINY, detail_width=8, patch_size=32, token_size=8)


@pytest.mark.parametrize("has_instructions", [True, False])
def test_a_processor_computes_in_bfloat16_only_with_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, has_instructions: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_instructions)
    trained_in_it, not_trained_in_it = (
        TorchPredictor(build_model("", sizes), "cpu").dtype for sizes in (DETAILED, TINY)
    )
    assert trained_in_it == (torch.bfloat16 if has_instructions else torch.float32)
    assert not_trained_in_it == torch.float32
