"""3D convolutions in integers of eight bits, for processors that multiply those quickest.

Most processors of the last years multiply four pairs of bytes and add them up in the time of one float
(Intel's VNNI); only some know bfloat16. Weights are rounded once, for each output channel; what comes in is
rounded to the range that it has, so nothing has to be calibrated, and sums and results are not rounded at
all (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference"; here only the products are integers). ``make bench`` tells what that saves.

torch calls this operator when it compiles quantised networks. Where another version of torch does not have
it, or has it otherwise, :func:`is_known` says so and convolutions stay as they were.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

# The largest integers of either kind. One less for what comes in: rounding must not leave the range.
_MOST_WEIGHT, _MOST_VALUE = 127, 254
_LEAST_SCALE = 1e-30  # its inverse is a float32 still
_FEWEST_CHANNELS = 16  # with less, rounding what comes in costs most of what is saved

_is_on: ContextVar[bool] = ContextVar("eight_bit", default=False)


class PackedWeights(NamedTuple):
    """Weights of one convolution as the operator wants them.

    Attributes:
        weights: integers in oneDNN's own order in memory.
        scales: (out channels,) what one of them is worth.
        zeros: (out channels,) where their zero lies.
    """

    weights: Tensor
    scales: Tensor
    zeros: Tensor


# Outside the modules, which are copied and sent to other processes; packed weights cannot be.
_Key = tuple[int, int, int, bool, tuple[int, ...]]
_packed: WeakKeyDictionary[nn.Conv3d, dict[_Key, PackedWeights]] = WeakKeyDictionary()


@contextmanager
def eight_bit_convolutions() -> Iterator[None]:
    """Let convolutions of this thread be computed in eight bits; without gradients only."""
    token = _is_on.set(True)
    try:
        yield
    finally:
        _is_on.reset(token)


def convolved(convolution: nn.Conv3d, volume: Tensor, first: int = 0) -> Tensor | None:
    """Return a convolution's float32 result in eight bits, channels last in memory.

    None where it is not to be had so: outside of :func:`eight_bit_convolutions`, with gradients, with too
    few channels or several groups, and where the volume is not finite.

    Args:
        convolution: zero padded, on the processor.
        volume: (B, c, D, H, W) float32, the input's channels from ``first`` on.
        first: not 0 for what channels that are not the first contribute; they bring no bias.
    """
    if not _is_on.get() or torch.is_grad_enabled() or convolution.groups > 1:
        return None
    cells = _cells_at_once(convolution, volume.shape)
    if cells * volume.shape[1] < _FEWEST_CHANNELS:
        return None
    volume = volume.contiguous(memory_format=torch.channels_last_3d)
    # As one row: of a volume with channels last torch reduces and rounds far more slowly.
    row = volume.permute(0, 2, 3, 4, 1).reshape(-1)
    lowest, highest = torch.aminmax(row)
    low, high = min(float(lowest), 0.0), max(float(highest), 0.0)
    scale = max((high - low) / _MOST_VALUE, _LEAST_SCALE)
    if not math.isfinite(high - low):
        return None
    zero = round(-low / scale)
    rounded = torch.add(torch.tensor(zero + 0.5), row, alpha=1 / scale).to(torch.uint8)
    batch, channels, depth, height, width = volume.shape
    integers = rounded.view(batch, depth, height, width // cells, cells * channels).permute(0, 4, 1, 2, 3)
    weights = _weights(convolution, slice(first, first + channels), zero != 0, integers.shape, cells)
    bias = convolution.bias if first == 0 else None
    found = _convolve(convolution, bias, integers, scale, zero, weights)
    if cells == 1:
        return found
    return found.permute(0, 2, 3, 4, 1).reshape(batch, depth, height, width, -1).permute(0, 4, 1, 2, 3)


def paired_weight(weight: Tensor) -> Tensor:
    """Return the weight of a convolution that takes two neighbours along the last axis for one cell.

    Args:
        weight: (out channels, in channels, d, h, 3).

    Returns:
        (2 x out channels, 2 x in channels, d, h, 3), both sides the first neighbour's channels first: so a
        volume lies in memory with channels last, and becomes (B, 2 C, D, H, W / 2) without a copy.
    """
    out_channels, in_channels, depth, height, _ = weight.shape
    paired = weight.new_zeros((2, out_channels, 2, in_channels, depth, height, 3))
    for to in range(2):
        for tap in range(3):
            # The neighbour that this tap of the first or second cell reads, counted from the pair before.
            pair, which = divmod(2 + to + tap - 1, 2)
            paired[to, :, which, :, :, :, pair] = weight[..., tap]
    return paired.reshape(2 * out_channels, 2 * in_channels, depth, height, 3)


@cache
def is_known() -> bool:
    """Return whether this torch, on this processor, convolves in eight bits as this module expects it to.

    Processors without VNNI add two products in 16 bits, which are too few for large ones: oneDNN computes
    there, too, but what is bright comes out too dark.
    """
    generator = torch.Generator().manual_seed(0)
    convolution = nn.Conv3d(_FEWEST_CHANNELS, 8, 3, padding=1)
    noise = torch.randn((1, _FEWEST_CHANNELS, 5, 6, 7), generator=generator)
    with torch.inference_mode():
        for parameter in convolution.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        if not _agrees(convolution, noise):
            return False
        convolution.weight.fill_(1.0)
        return _agrees(convolution, 5 + noise)  # all products are large


def _agrees(convolution: nn.Conv3d, volume: Tensor) -> bool:
    """Return whether a convolution comes out in eight bits nearly as without them."""
    expected = convolution(volume)
    try:
        with eight_bit_convolutions():
            found = convolved(convolution, volume)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return found is not None and bool((found - expected).square().mean().sqrt() < 0.03 * expected.std())


def _cells_at_once(convolution: nn.Conv3d, shape: torch.Size) -> int:
    """Return 2 where a convolution of few channels can take pairs for cells, else 1."""
    is_same = (convolution.kernel_size[2], convolution.stride[2], convolution.dilation[2]) == (3, 1, 1)
    is_few = shape[1] < _FEWEST_CHANNELS
    return 2 if is_few and is_same and convolution.padding[2] == 1 and shape[4] % 2 == 0 else 1


def _weights(
    convolution: nn.Conv3d, channels: slice, has_zero: bool, shape: torch.Size, cells: int
) -> PackedWeights:
    """Return the packed weights of some channels of volumes of a shape, from before if they are the same."""
    weight = convolution.weight.detach()
    version = 0 if weight.is_inference() else convolution.weight._version
    key = (weight.data_ptr(), version, channels.start, has_zero, tuple(shape))
    known = _packed.setdefault(convolution, {})
    if key not in known:
        weight = weight[:, channels]
        if any(other[:2] != key[:2] for other in known):
            known.clear()
        known[key] = _pack(convolution, paired_weight(weight) if cells == 2 else weight, has_zero, shape)
    return known[key]


def _pack(convolution: nn.Conv3d, weight: Tensor, has_zero: bool, shape: torch.Size) -> PackedWeights:
    scales = weight.abs().amax((1, 2, 3, 4)).clamp(min=1e-12) / _MOST_WEIGHT
    integers = (weight / scales[:, None, None, None, None]).round().to(torch.int8)
    packed = torch.ops.onednn.qconv_prepack(
        integers,
        scales,
        1.0,
        int(has_zero),  # only whether there is one is packed, not where
        list(convolution.stride),
        list(convolution.padding),
        list(convolution.dilation),
        1,
        list(shape),
    )
    return PackedWeights(packed, scales, torch.zeros(len(scales), dtype=torch.int64))


def _convolve(
    convolution: nn.Conv3d,
    bias: Tensor | None,
    integers: Tensor,
    scale: float,
    zero: int,
    weights: PackedWeights,
) -> Tensor:
    found: Tensor = torch.ops.onednn.qconv_pointwise(
        integers,
        scale,
        zero,
        *weights,
        bias if bias is None else bias.repeat(len(weights.scales) // len(bias)),
        list(convolution.stride),
        list(convolution.padding),
        list(convolution.dilation),
        1,
        1.0,
        0,
        torch.float32,
        "none",
        [],
        "",
    )
    return found
