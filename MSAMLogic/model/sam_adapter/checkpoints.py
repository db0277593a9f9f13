"""The layouts of the release's checkpoints and of SAM's own, and how they map to this package's names.

The release's trainer stores ``encoder_dict``, ``feature_dict`` (a list of four prompt encoders) and
``decoder_dict`` beside the state of its optimisers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from MSAMLogic.errors import WeightsError
from MSAMLogic.model.checkpoints import fill
from MSAMLogic.model.sam_adapter.config import SAMAdapterConfig

_PARTS = ("encoder_dict", "feature_dict", "decoder_dict")

_MASK = re.compile(r"^encoder_dict\..*\.attn_mask$")
_RENAMED = (
    (re.compile(r"^encoder_dict\."), "image_encoder."),
    (re.compile(r"^image_encoder\.(patch_embed|slice_embed)\."), r"image_encoder.patch_embedding.\1."),
    (re.compile(r"^feature_dict\."), "prompt_encoders."),
    (re.compile(r"^decoder_dict\.cls\.0\."), "mask_decoder.join."),
    (re.compile(r"^decoder_dict\.cls\.3\."), "mask_decoder.classify."),
    *(
        (
            re.compile(rf"^decoder_dict\.mlahead\.head{level + 2}\.{place}\."),
            f"mask_decoder.heads.{level}.{name}.",
        )
        for level in range(4)
        for place, name in ((0, "conv1"), (3, "conv2"))
    ),
)
# What SAM has and the release's encoder has not: the 2D neck, and everything behind the encoder.
_UNUSED_OF_SAM = ("image_encoder.neck.", "prompt_encoder.", "mask_decoder.")
# What the network has and SAM has not, by its own names.
_NOT_OF_SAM = re.compile(
    r"\.(depth_embed|patch_embedding\.slice_embed\..*|neck_3d\..*|attn\.rel_pos_d|attn\.lr)$"
    r"|\.adapter\.|^prompt_encoders\.|^mask_decoder\."
)


def flattened(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors of a checkpoint of the release, nested or flat, under names joined by dots.

    What is no part of the network (optimisers, epoch) and the masks of shifted windows, which follow from
    the sizes, are left out. A state of another layout is returned as it is.
    """
    if any(part in state for part in _PARTS):
        state = dict(_leaves({part: state[part] for part in _PARTS if part in state}))
    return {name: value for name, value in state.items() if not _MASK.search(name)}


def own_name(name: str) -> str:
    """Return this package's name of a tensor of a flattened checkpoint of the release, or of SAM's."""
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    return name


def fitting(config: SAMAdapterConfig, state: Mapping[str, Any]) -> SAMAdapterConfig:
    """Return ``config`` with the necks that a flattened checkpoint of the release has."""
    return replace(config, neck_convolutions="encoder_dict.neck_3d.0.2.weight" in state)


def load_release(network: nn.Module, state: Mapping[str, Any], partial: bool = False) -> list[str]:
    """Fill a 3DSAM-adapter from a checkpoint of the release.

    Args:
        network: the network to fill.
        state: the whole checkpoint, or its tensors under names joined by dots.
        partial: accept that tensors are missing; they keep their present values.

    Returns:
        Names of the network's tensors that the checkpoint lacks; empty unless ``partial``.

    Raises:
        WeightsError: when a name is unknown or missing, or a shape differs. The network is unchanged.
    """
    return fill(network, {own_name(name): value for name, value in flattened(state).items()}, partial)


def load_sam(network: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """Start a 3DSAM-adapter from SAM's own 2D weights, ``sam_vit_b_01ec64.pth``.

    As in the release, every tensor of SAM's image encoder but its neck is taken with its shape as it is,
    and the relative positions along the depth start as the mean of SAM's two axes.

    Args:
        network: the network to fill.
        state: SAM's name to tensor.

    Returns:
        Names of the network's tensors that SAM does not give. Except for the relative positions along the
        depth they keep their present values.

    Raises:
        WeightsError: when a tensor of SAM's encoder is missing, has another shape, or is none that SAM
            ViT-B has. The network is unchanged.
    """
    given = {own_name(name): value for name, value in state.items() if not name.startswith(_UNUSED_OF_SAM)}
    own = network.state_dict()
    sams = {name for name in own if not _NOT_OF_SAM.search(name)}
    different = sorted(sams ^ set(given))
    if different:
        raise WeightsError(
            f"These are not SAM's weights for this network: {len(different)} tensors of the encoder are "
            f"missing or unknown ({different[0]}, ...). Give sam_vit_b_01ec64.pth."
        )
    for name in own:
        if name.endswith(".rel_pos_d"):
            h, w = (torch.as_tensor(given[f"{name[:-1]}{axis}"]) for axis in "hw")
            if h.shape == w.shape:  # if not, one of them is refused below
                given[name] = 0.5 * (h + w)
    missing = fill(network, given, partial=True)
    return sorted([*missing, *(name for name in own if name.endswith(".rel_pos_d"))])


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the tensors of nested mappings and sequences with their names joined by dots."""
    if isinstance(value, Mapping):
        parts: Iterator[tuple[Any, Any]] = iter(value.items())
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        parts = iter(enumerate(value))
    else:
        if value is not None:
            yield prefix, value
        return
    for name, part in parts:
        yield from _leaves(part, f"{prefix}.{name}" if prefix else str(name))
