"""A 3D convolution that is quick on a processor also for one small volume."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MSAMLogic.model import eight_bit

_HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


class Conv3d(nn.Conv3d):
    """:class:`torch.nn.Conv3d` with the same numbers to rounding, always by oneDNN where that can be.

    In integers of eight bits where :mod:`MSAMLogic.model.eight_bit` is asked for.

    On a processor torch hands a float32 volume to oneDNN only if it comes in a batch or is large (batch x
    channels x two of its sides > 20,480; ``use_mkldnn`` in ATen/native/Convolution.cpp). Else it unfolds the
    volume and multiplies matrices, several times slower. A click is one volume, and many processors know no
    bfloat16, which oneDNN always gets. ``make bench`` compares both.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, D, H, W) to (B, channels, D', H', W')."""
        padding = self.padding
        if isinstance(padding, str) or not self._is_for_onednn(input):
            return super().forward(input)
        rounded = eight_bit.convolved(self, input)
        if rounded is not None:
            return rounded
        return torch.mkldnn_convolution(
            input, self.weight, self.bias, padding, self.stride, self.dilation, self.groups
        )

    def _is_for_onednn(self, input: Tensor) -> bool:
        return (
            input.device.type == "cpu"
            and input.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and max(self.kernel_size) > 1  # else it is one product of matrices in any case
            and self.padding_mode == "zeros"
            and _HAS_ONEDNN
        )
