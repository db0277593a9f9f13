"""Where bfloat16 saves time: a processor without instructions for it computes it several times slower."""

from __future__ import annotations

import torch


def is_quick_in_bfloat16(device: torch.device) -> bool:
    """Return whether a device has instructions for bfloat16; of a GPU that is taken for granted."""
    return device.type != "cpu" or bool(torch.cpu._is_avx512_bf16_supported())
