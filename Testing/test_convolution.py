"""The network's 3D convolution: torch's numbers, by oneDNN also for one small volume."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from MSAMLogic.model.convolution import Conv3d

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this build of torch comes without oneDNN"
)


def plain(convolution: Conv3d) -> nn.Conv3d:
    """Return torch's own convolution with the same weights."""
    other = nn.Conv3d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,
        convolution.stride,
        convolution.padding,
        convolution.dilation,
        convolution.groups,
        convolution.bias is not None,
        convolution.padding_mode,
    )
    other.load_state_dict(convolution.state_dict())
    return other


@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 2),
    width=st.sampled_from((1, 3, 8)),
    out=st.sampled_from((1, 8, 24)),
    kernel=st.sampled_from((1, 2, 3)),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    bias=st.booleans(),
    channels_last=st.booleans(),
)
def test_numbers_are_torchs(batch, width, out, kernel, stride, padding, bias, channels_last):
    torch.manual_seed(0)
    convolution = Conv3d(width, out, kernel, stride, padding, bias=bias)
    volume = torch.randn(batch, width, 7, 6, 9)
    if channels_last:
        volume = volume.to(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(convolution(volume), plain(convolution)(volume), rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(
    first=st.integers(1, 15),
    kernel=st.sampled_from((1, 3)),
    bias=st.booleans(),
    half=st.booleans(),
    channels_last=st.booleans(),
)
def test_what_channels_contribute_adds_up_to_the_whole(first, kernel, bias, half, channels_last):
    torch.manual_seed(0)
    convolution = Conv3d(16, 8, kernel, padding=kernel // 2, bias=bias)
    volume = torch.randn(1, 16, 7, 6, 9)
    if channels_last:
        volume = volume.to(memory_format=torch.channels_last_3d)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        parts = convolution.of_channels(volume[:, :first], 0) + convolution.of_channels(
            volume[:, first:], first
        )
        expected = plain(convolution)(volume)
    error = 0.05 if half else 1e-5
    torch.testing.assert_close(parts, expected, rtol=error, atol=error)


def test_gradients_are_torchs():
    torch.manual_seed(0)
    convolution = Conv3d(8, 16, 3, padding=1)
    reference = plain(convolution)
    volume = torch.randn(1, 8, 6, 6, 6)
    here, there = volume.clone().requires_grad_(), volume.clone().requires_grad_()
    convolution(here).square().sum().backward()
    reference(there).square().sum().backward()
    torch.testing.assert_close(here.grad, there.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(convolution.weight.grad, reference.weight.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("padding_mode", ["reflect", "circular"])
def test_padding_that_onednn_does_not_know_is_torchs(padding_mode):
    torch.manual_seed(0)
    convolution = Conv3d(2, 4, 3, padding=1, padding_mode=padding_mode)
    volume = torch.randn(1, 2, 5, 5, 5)
    torch.testing.assert_close(convolution(volume), plain(convolution)(volume))


def test_padding_by_name_is_torchs():
    torch.manual_seed(0)
    convolution = Conv3d(2, 4, 3, padding="same")
    volume = torch.randn(1, 2, 5, 5, 5)
    torch.testing.assert_close(convolution(volume), plain(convolution)(volume))


def test_half_precision_stays_half_precision():
    convolution = Conv3d(8, 8, 3, padding=1)
    volume = torch.randn(1, 8, 6, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert convolution(volume).dtype == torch.bfloat16
    assert copy.deepcopy(convolution).bfloat16()(volume.bfloat16()).dtype == torch.bfloat16


@needs_onednn
def test_one_small_volume_is_not_unfolded():
    volume = torch.randn(1, 16, 8, 8, 8)
    convolution = Conv3d(16, 16, 3, padding=1)

    def steps(layer: nn.Module) -> set[str]:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as watched:
            layer(volume)
        return {event.key for event in watched.key_averages()}

    assert "aten::slow_conv3d" in steps(plain(convolution))  # or torch has mended it and this file can go
    assert not any("slow_conv3d" in step for step in steps(convolution))
