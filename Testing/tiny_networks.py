"""Every system at a size that answers in milliseconds, and weights files of such networks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from test_model import TINY

from MSAMLogic.model import CONFIGURATIONS, build_model
from MSAMLogic.model.checkpoints import save_weights
from MSAMLogic.model.masksam.network import MaskSAM
from MSAMLogic.model.network import Network

_OWN = {"lora_rank", "mask_enhanced_adapter", "all_clicks"}  # these an experiment decides
SIZES: dict[str, dict[str, Any]] = {
    "msam-vit-b": {key: value for key, value in asdict(TINY).items() if key not in _OWN},
    "3dsam-adapter": {
        "patch_size": 32,
        "position_table": 8,
        "encoder_width": 16,
        "encoder_depth": 4,
        "encoder_heads": 2,
        "global_blocks": [1],
        "embedding_width": 16,
        "prompt_heads": 2,
        "prompt_mlp_width": 16,
        "decoder_width": 8,
    },
    "masksam": {
        "patch_size": 32,
        "slices": 4,
        "upsampling": 1,
        "queries": 18,
        "token_size": 8,
        "encoder_width": 16,
        "encoder_depth": 4,
        "encoder_heads": 2,
        "window_size": 3,
        "global_blocks": [1, 3],
        "embedding_width": 16,
        "decoder_heads": 2,
        "decoder_mlp_width": 16,
        "iou_head_width": 8,
        "generator_width": 8,
    },
}
SIZES["sam-med3d-vit-b"] = SIZES["msam-vit-b"]


def tiny_network(name: str, seed: int = 0, **sizes: Any) -> Network:
    """Return an untrained network of a system; a MaskSAM takes everything for its first class."""
    torch.manual_seed(seed)
    published = CONFIGURATIONS[name]
    network = build_model(name, type(published).from_dict(published.to_dict() | SIZES[name] | sizes))
    if isinstance(network, MaskSAM):
        with torch.no_grad():
            network.mask_decoder.class_head.bias[1] = 20.0
    return network


def tiny_weights(folder: Path, name: str, seed: int = 0, **sizes: Any) -> Path:
    """Write the weights file of a tiny network and return its path."""
    network = tiny_network(name, seed, **sizes)
    path = folder / f"{name}.safetensors"
    save_weights(path, network.config, network.state_dict())
    return path
