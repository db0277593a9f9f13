"""The networks agree with the authors' released ones, tensor by tensor."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from MSAMLogic.model import MSAM, build_model

PARTS = {
    "image_encoder": 93_072_384,
    "prompt_encoder": 8_668,
    "mask_decoder": 7_575_636,
    "mask_enhanced_adapter": 17_145_024,
}
EMBEDDING_TOLERANCE = 1e-4
LOGIT_TOLERANCE = 5e-4


def tensor_from_seed(key: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Make the float32 tensor that the reference outputs were computed with, from its name alone."""
    values = np.random.default_rng(zlib.crc32(key.encode()) + seed).standard_normal(shape, dtype=np.float32)
    if "gaussian" in key:
        return values
    if "rel_pos" in key:
        return np.float32(0.02) * values
    if len(shape) >= 2:
        is_table = any(part in key for part in ("pos_embed", "token", "point", "no_mask"))
        scale = 0.2 if is_table else 0.5 / np.sqrt(np.prod(shape[1:]))
        return values * np.float32(scale)
    return 1 + np.float32(0.1) * values if key.endswith("weight") else np.float32(0.1) * values


class Reference:
    """A network filled from the seed, its patch's embedding, and the outputs to agree with."""

    def __init__(self, folder: Path, name: str, architecture: str) -> None:
        keys = json.loads((folder / f"{name}_keys.json").read_text())
        self.outputs = np.load(folder / f"{name}_seed0.npz")
        self.network: MSAM = build_model(architecture)
        self.network.load_published_state_dict({k: tensor_from_seed(k, tuple(s)) for k, s in keys.items()})
        noise = np.random.default_rng(1_000).standard_normal((1, 1, 128, 128, 128), dtype=np.float32)
        self.patch = torch.from_numpy(noise)
        with torch.inference_mode():
            self.embedding = self.network.encode(self.patch)


@pytest.fixture(
    scope="module", params=[("msam", "msam-vit-b"), ("sammed3d", "sam-med3d-vit-b")], ids=lambda p: p[1]
)
def reference(request: pytest.FixtureRequest, parity_folder: Path) -> Reference:
    return Reference(parity_folder, *request.param)


def difference(mine: torch.Tensor, theirs: NDArray[np.float32]) -> float:
    assert tuple(mine.shape) == theirs.shape
    return float(np.abs(mine.numpy() - theirs).max())


def test_image_embedding(reference: Reference) -> None:
    assert difference(reference.embedding, reference.outputs["image_embedding"]) < EMBEDDING_TOLERANCE


def test_dense_position_encoding(reference: Reference) -> None:
    mine = reference.network.prompt_encoder.dense_positions()
    assert difference(mine, reference.outputs["dense_pe"]) < EMBEDDING_TOLERANCE


@pytest.mark.parametrize("mode", ["latest", "all"])
def test_five_clicks(reference: Reference, mode: str) -> None:
    clicks = torch.from_numpy(reference.outputs["clicks"])
    mask_logits = torch.zeros(1, 1, 32, 32, 32)
    for number in range(5):
        given = clicks[None, number : number + 1] if mode == "latest" else clicks[None, : number + 1]
        with torch.inference_mode():
            mask_logits, iou = reference.network.decode(
                reference.embedding, given[..., :3].float(), given[..., 3], mask_logits
            )
        assert difference(mask_logits[0], reference.outputs[f"logits_{mode}_click"][number]) < LOGIT_TOLERANCE
        assert difference(iou[0], reference.outputs[f"iou_{mode}_click"][number]) < LOGIT_TOLERANCE


def test_tokens_after_windowed_and_global_blocks(reference: Reference) -> None:
    if "tokens_after_block_0" not in reference.outputs:
        assert reference.network.mask_enhanced_adapter is None  # only M-SAM's file has them
        return
    encoder = reference.network.image_encoder
    with torch.inference_mode():
        tokens = encoder.patch_embed(reference.patch) + encoder.pos_embed
        for index, block in enumerate(encoder.blocks[:3]):
            tokens = block(tokens)
            if index in (0, 2):
                expected = reference.outputs[f"tokens_after_block_{index}"]
                assert difference(tokens, expected) < EMBEDDING_TOLERANCE


def test_adapter_at_the_first_click(reference: Reference) -> None:
    adapter = reference.network.mask_enhanced_adapter
    if adapter is None:
        assert "mea_embedding_zero_mask" not in reference.outputs
        return
    with torch.inference_mode():
        dense = reference.network.prompt_encoder.mask_downscaling(torch.zeros(1, 1, 32, 32, 32))
        joined = adapter(reference.embedding, dense)
    assert difference(joined, reference.outputs["mea_embedding_zero_mask"]) < EMBEDDING_TOLERANCE


def count(module: torch.nn.Module | None) -> int:
    return 0 if module is None else sum(p.numel() for p in module.parameters())


def test_parameter_counts_of_msam() -> None:
    network = build_model("msam-vit-b")
    assert {part: count(getattr(network, part)) for part in PARTS} == PARTS
    assert count(network) == 117_801_712
    assert sum(p.numel() for _, p in network.adaptation_parameters()) == 24_876_784
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 24_876_784


def test_parameter_count_of_sam_med3d() -> None:
    assert count(build_model("sam-med3d-vit-b")) == 100_509_232
