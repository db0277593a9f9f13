"""Doubling the resolution: the numbers of torch's transposed convolution."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from MSAMLogic.model.doubling import Doubling3d


def reference(doubling: Doubling3d) -> nn.ConvTranspose3d:
    other = nn.ConvTranspose3d(doubling.in_channels, doubling.out_channels, kernel_size=2, stride=2)
    other.load_state_dict(doubling.state_dict())
    return other


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_numbers_and_gradients_are_torchs(batch: int, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    doubling = Doubling3d(6, 5)
    other = reference(doubling)
    volume = torch.randn(batch, 6, 3, 4, 5).contiguous(memory_format=layout)
    here, there = volume.clone().requires_grad_(), volume.clone().requires_grad_()
    found, expected = doubling(here), other(there)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(expected.shape)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(here.grad, there.grad)
    torch.testing.assert_close(doubling.weight.grad, other.weight.grad)
    torch.testing.assert_close(doubling.bias.grad, other.bias.grad)


def test_bfloat16_stays_bfloat16() -> None:
    volume = torch.randn(1, 8, 3, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert Doubling3d(8, 8)(volume).dtype == torch.bfloat16


def test_channels_lie_beside_each_other_in_memory() -> None:
    doubled = Doubling3d(8, 8)(torch.randn(1, 8, 3, 3, 3).to(memory_format=torch.channels_last_3d))
    assert doubled.is_contiguous(memory_format=torch.channels_last_3d)
