"""SAM's published weights (``sam_vit_b_01ec64.pth``) in the frozen parts of a MaskSAM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from MSAMLogic.errors import WeightsError

_TRAINED = (
    "input_block.",
    "prompt_generator.",
    "depth_positions",
    "_adapter.",
    ".class_token.",
    ".class_head.",
    ".box_head.",
)


def is_frozen(name: str) -> bool:
    """Whether a tensor of that name is SAM's and stays as it is; the others are trained."""
    return not any(part in name for part in _TRAINED)


def load_sam(network: nn.Module, state: Mapping[str, Any], partial: bool = False) -> list[str]:
    """Fill the frozen parts of a network with SAM's weights.

    Tables of positions are resized where SAM was made for images of another size: the grid of tokens
    bicubically, relative positions linearly.

    Args:
        network: the network to fill.
        state: SAM's name to tensor.
        partial: whether tensors of the frozen parts may be missing.

    Returns:
        Names of the network's tensors that the weights lack: those that are trained.

    Raises:
        WeightsError: when a name is no frozen tensor's, or one is missing, or a shape differs. The network
            is unchanged.
    """
    own = network.state_dict()
    frozen = {name for name in own if is_frozen(name)}
    unknown = sorted(set(state) - frozen)
    missing = sorted(frozen - set(state))
    if unknown or (missing and not partial):
        problem, name = ("unknown", unknown[0]) if unknown else ("missing", missing[0])
        raise WeightsError(
            f"This checkpoint does not fit MaskSAM's frozen parts ({problem}: {name}); give SAM's "
            "published ViT-B weights, sam_vit_b_01ec64.pth."
        )
    given = {name: _resized(name, torch.as_tensor(value), own[name].shape) for name, value in state.items()}
    wrong = [name for name, value in given.items() if value.shape != own[name].shape]
    if wrong:
        raise WeightsError(
            f"{wrong[0]} has shape {tuple(given[wrong[0]].shape)} in the checkpoint and "
            f"{tuple(own[wrong[0]].shape)} in the network; give SAM's weights of the same size."
        )
    network.load_state_dict(given, strict=False)
    return sorted(set(own) - set(given))


def _resized(name: str, value: Tensor, shape: torch.Size) -> Tensor:
    """Return a table of positions in the size that the network has, anything else as it is."""
    if value.shape == shape:
        return value
    if name.endswith("pos_embed") and value.ndim == 4 and value.shape[-1] == shape[-1]:
        size = (shape[1], shape[2])
        table = value.float().permute(0, 3, 1, 2)
        return nn.functional.interpolate(table, size=size, mode="bicubic").permute(0, 2, 3, 1)
    if name.rpartition(".")[2] in ("rel_pos_h", "rel_pos_w") and value.shape[1:] == shape[1:]:
        columns = value.float().T.unsqueeze(0)
        return nn.functional.interpolate(columns, size=shape[0], mode="linear")[0].T
    return value
