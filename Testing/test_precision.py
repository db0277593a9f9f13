"""A network is computed with fewer bits where that is quick and keeps its answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_model import TINY

from MSAMLogic.model import build_model, eight_bit
from MSAMLogic.predictor import TorchPredictor

DETAILED = replace(TINY, detail_width=8, patch_size=32, token_size=8)


@pytest.mark.parametrize(
    ("bfloat16", "instructions", "known", "expected"),
    [
        (True, {"avx512_vnni": True}, True, torch.bfloat16),
        (False, {"avx512_vnni": True}, True, torch.int8),
        (False, {"avx_vnni": True}, True, torch.int8),
        (False, {"avx512_vnni": True}, False, torch.float32),
        (False, {"avx512_vnni": False, "avx_vnni": False}, True, torch.float32),
        (False, {}, True, torch.float32),
    ],
)
def test_a_processor_computes_with_fewer_bits_only_with_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch,
    bfloat16: bool,
    instructions: dict[str, bool],
    known: bool,
    expected: torch.dtype,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bfloat16)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)
    monkeypatch.setattr(eight_bit, "is_known", lambda: known)
    trained_in_it, not_trained_in_it = (
        TorchPredictor(build_model("", sizes), "cpu").dtype for sizes in (DETAILED, TINY)
    )
    assert trained_in_it == expected
    assert not_trained_in_it == torch.float32


def test_a_torch_that_does_not_tell_its_instructions_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert TorchPredictor(build_model("", DETAILED), "cpu").dtype == torch.float32
