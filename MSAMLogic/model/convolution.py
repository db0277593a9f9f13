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
        return self._convolved(input, self.weight, self.bias, 0)

    def of_channels(self, input: Tensor, first: int) -> Tensor:
        """Return what some channels of the input contribute, and the bias where they are the first.

        A convolution is a sum over the channels of its input: what some of them contribute need not be
        computed again when others change.

        Args:
            input: (B, c, D, H, W), the channels from ``first`` on.
            first: index of its first channel in the whole input.

        Returns:
            (B, channels, D', H', W'); the contributions of all channels add up to the result, to rounding.
        """
        weight = self.weight[:, first : first + input.shape[1]]
        return self._convolved(input, weight, self.bias if first == 0 else None, first)

    def _convolved(self, input: Tensor, weight: Tensor, bias: Tensor | None, first: int) -> Tensor:
        padding = self.padding
        if isinstance(padding, str) or not self._is_for_onednn(input):
            plain: Tensor = self._conv_forward(input, weight, bias)
            return plain
        rounded = eight_bit.convolved(self, input, first)
        if rounded is not None:
            return rounded
        return torch.mkldnn_convolution(input, weight, bias, padding, self.stride, self.dilation, self.groups)

    def _is_for_onednn(self, input: Tensor) -> bool:
        return (
            input.device.type == "cpu"
            and input.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and max(self.kernel_size) > 1  # else it is one product of matrices in any case
            and self.padding_mode == "zeros"
            and _HAS_ONEDNN
        )
