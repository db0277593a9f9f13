"""The tensor names of published checkpoints, and how they map to this package's modules.

SAM-Med3D stores its tensors under ``model_state_dict`` with the names of SAM; M-SAM's trainer prefixes
the network with ``lora_sam.sam.`` and its adapter with ``bidatt.``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from MSAMLogic.errors import WeightsError
from MSAMLogic.files import atomic_path
from MSAMLogic.model.config import SYSTEMS
from MSAMLogic.model.network_config import NetworkConfig

_RENAMED = (
    (re.compile(r"^lora_sam\.sam\."), ""),
    (re.compile(r"\.attn\.qkv\.qkv\."), ".attn.qkv."),
    (re.compile(r"\.attn\.qkv\.(linear_[ab]_[qv])\."), r".attn.lora.\1."),
    # The adapter: one feature branch a side, its attention a module of its own.
    (
        re.compile(r"^bidatt\.bidirectional_attentions\.0\.(prompt|image)_(conv\d|norm|addnorm\d)\."),
        r"bidatt.\1.\2.",
    ),
    (
        re.compile(r"^bidatt\.bidirectional_attentions\.0\.(prompt|image)_multiheadattn\."),
        r"bidatt.\1.attention.",
    ),
    (re.compile(r"^bidatt\.bidirectional_attentions\.0\.mlp1\."), "bidatt.image.mlp."),
    (re.compile(r"^bidatt\.bidirectional_attentions\.0\.mlp2\."), "bidatt.prompt.mlp."),
    (re.compile(r"^(bidatt\..*(?:attention))\.(rel_pos_|qkv|proj)"), r"\1.attn.\2"),
    (re.compile(r"^bidatt\."), "mask_enhanced_adapter."),
)


def published_to_own_name(name: str) -> str:
    """Return this package's name of a tensor of a published checkpoint."""
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    return name


def load_published(network: nn.Module, state: Mapping[str, Any], partial: bool = False) -> list[str]:
    """Fill ``network`` with the tensors of a published checkpoint.

    Args:
        network: the network to fill.
        state: published name to tensor or array; also the whole checkpoint with the tensors under
            ``model_state_dict``.
        partial: accept a checkpoint that lacks whole tensors of the network, for example SAM-Med3D's
            as the starting point of an M-SAM; what it lacks keeps its present values.

    Returns:
        Names of the network's tensors that the checkpoint lacks; empty unless ``partial``.

    Raises:
        WeightsError: when a name is unknown or missing, or a shape differs. The network is unchanged.
    """
    state = state.get("model_state_dict", state)
    return fill(network, {published_to_own_name(name): value for name, value in state.items()}, partial)


def fill(network: nn.Module, state: Mapping[str, Any], partial: bool = False) -> list[str]:
    """Fill ``network`` with tensors or arrays under this package's own names.

    Args:
        network: the network to fill.
        state: own name to tensor or array.
        partial: accept that whole tensors of the network are missing; they keep their present values.

    Returns:
        Names of the network's tensors that ``state`` lacks; empty unless ``partial``.

    Raises:
        WeightsError: when a name is unknown or missing, or a shape differs. The network is unchanged.
    """
    own = network.state_dict()
    given: dict[str, Tensor] = {
        name: value if isinstance(value, Tensor) else torch.from_numpy(np.asarray(value, order="C"))
        for name, value in state.items()
    }
    unknown = sorted(set(given) - set(own))
    missing = sorted(set(own) - set(given))
    wrong = [
        f"{name} is {tuple(given[name].shape)}, the network's {tuple(own[name].shape)}"
        for name in sorted(set(own) & set(given))
        if given[name].shape != own[name].shape
    ]
    if unknown or wrong or (missing and not partial):
        details = [
            *(f"unknown: {_some(unknown)}" for _ in unknown[:1]),
            *(f"missing: {_some(missing)}" for _ in missing[:1] if not partial),
            *(f"of another shape: {_some(wrong)}" for _ in wrong[:1]),
        ]
        raise WeightsError(
            f"This checkpoint does not fit the network ({'; '.join(details)}). "
            "Choose the architecture that the checkpoint was made for."
        )
    network.load_state_dict(given, strict=not partial)
    return missing


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def save_weights(path: Path, config: NetworkConfig, state: Mapping[str, Tensor]) -> None:
    """Write a network's tensors as float16 safetensors, atomically; its system and sizes as metadata."""
    system = next(name for name, kind in SYSTEMS.items() if type(config) is kind)
    tensors = {
        name: value.detach()
        .to("cpu", torch.float16 if value.is_floating_point() else value.dtype)
        .contiguous()
        for name, value in state.items()
    }
    with atomic_path(path) as partial:
        # One entry: safetensors puts several in any order, and the same weights should be the same file.
        description = json.dumps({"system": system} | config.to_dict())
        save_file(tensors, partial, metadata={"config": description})
