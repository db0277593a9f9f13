"""Where fewer than 32 bits save time: without instructions for them a processor computes more slowly."""

from __future__ import annotations

import torch

from MSAMLogic.model import eight_bit


def is_quick_in_bfloat16(device: torch.device) -> bool:
    """Return whether a device has instructions for bfloat16; of a GPU that is taken for granted."""
    return device.type != "cpu" or bool(torch.cpu._is_avx512_bf16_supported())


def is_quick_in_eight_bits(device: torch.device) -> bool:
    """Return whether a device is a processor with instructions for convolutions in eight bits."""
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    has_instructions = bool(known.get("avx512_vnni") or known.get("avx_vnni"))
    return device.type == "cpu" and has_instructions and eight_bit.is_known()
