"""Convolutions in eight bits: torch's numbers to about a hundredth, only where they are asked for."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from images import balls, middle
from test_convolution import plain
from torch import nn

from MSAMLogic import InteractiveSession, load_model
from MSAMLogic.errors import ModelError
from MSAMLogic.model import eight_bit
from MSAMLogic.model.convolution import Conv3d
from MSAMLogic.model.eight_bit import eight_bit_convolutions

# By what torch and the processor have, not by what the module says of itself: broken, it must fail and not be
# skipped.
_PROCESSOR = torch.cpu.get_capabilities()
_MULTIPLIES_BYTES = any(_PROCESSOR.get(name) for name in ("avx512_vnni", "avx_vnni"))
needs_eight_bits = pytest.mark.skipif(
    not (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.onednn, "qconv_pointwise")
        and _MULTIPLIES_BYTES
    ),
    reason="this torch, or this processor, has no convolution in eight bits",
)


def made(channels: int = 16, out: int = 24, **options: int) -> Conv3d:
    torch.manual_seed(0)
    return Conv3d(channels, out, kernel_size=3, **{"padding": 1, **options})


def rounded(convolution: Conv3d, volume: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode(), eight_bit_convolutions():
        return convolution(volume)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).square().mean().sqrt() / expected.std())


@needs_eight_bits
@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 2),
    channels=st.sampled_from((8, 9, 16, 20, 70)),
    out=st.sampled_from((1, 8, 24)),
    kernel=st.sampled_from((2, 3)),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    bias=st.booleans(),
    offset=st.sampled_from((-5.0, 0.0, 5.0)),
    size=st.sampled_from((1e-3, 1.0, 1e4)),
    positive=st.booleans(),
    channels_last=st.booleans(),
)
def test_numbers_are_torchs_to_a_hundredth(
    batch, channels, out, kernel, stride, padding, bias, offset, size, positive, channels_last
):
    torch.manual_seed(0)
    convolution = Conv3d(channels, out, kernel, stride, padding, bias=bias)
    volume = size * (torch.randn(batch, channels, 9, 8, 10) + offset)
    volume = volume.relu() if positive else volume
    if channels_last:
        volume = volume.to(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        expected = plain(convolution)(volume)
    found = rounded(convolution, volume)
    assert found.shape == expected.shape and found.dtype == torch.float32
    largest = max(float(volume.abs().max()), 1e-9) * float(convolution.weight.detach().abs().max())
    assert (found - expected).abs().max() <= 0.02 * largest * np.sqrt(channels * kernel**3)


@needs_eight_bits
def test_the_operator_is_known():
    assert eight_bit.is_known()


@needs_eight_bits
def test_it_really_rounds():
    convolution, volume = made(), torch.randn(1, 16, 8, 8, 8)
    with torch.no_grad():
        expected = convolution(volume)
    assert 1e-4 < error(rounded(convolution, volume), expected) < 0.02


@needs_eight_bits
@pytest.mark.parametrize("offset", [0.0, -0.5])
def test_values_are_rounded_to_the_nearest(offset):
    convolution, volume = made(out=8), torch.rand(1, 16, 8, 8, 8) + offset
    with torch.no_grad():
        convolution.weight.fill_(1.0)  # so that what is lost of the values adds up, 16 x 27 of them
        difference = rounded(convolution, volume) - convolution(volume)
    step = float(volume.max() - volume.min()) / 254
    assert difference[..., 2:-2, 2:-2, 2:-2].mean().abs() < 0.1 * 16 * 27 * step


@needs_eight_bits
def test_nothing_is_rounded_unasked_or_where_gradients_are_wanted():
    convolution, volume = made(), torch.randn(1, 16, 8, 8, 8)
    expected = plain(convolution)(volume)
    with torch.no_grad():
        torch.testing.assert_close(convolution(volume), expected, rtol=1e-4, atol=1e-5)
    with eight_bit_convolutions():
        found = convolution(volume)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    found.sum().backward()
    assert convolution.weight.grad is not None


@needs_eight_bits
@pytest.mark.parametrize(
    "channels, options",
    [(4, {}), (8, {"padding": 0}), (8, {"stride": 2}), (8, {"dilation": 2}), (32, {"groups": 2})],
)
def test_few_channels_and_groups_stay_exact(channels, options):
    convolution, volume = made(channels, **options), torch.randn(1, channels, 8, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(
            rounded(convolution, volume), plain(convolution)(volume), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("width", [2, 10])
def test_pairs_for_cells_give_the_same_numbers(channels, width):
    convolution, volume = made(channels, out=3, bias=False), torch.randn(2, channels, 5, 6, width)
    with torch.no_grad():
        expected = plain(convolution)(volume)
        # (B, 2 C, D, H, W / 2): each pair's first cell before its second.
        pairs = volume.unflatten(4, (-1, 2)).movedim(5, 1).flatten(1, 2)
        found = nn.functional.conv3d(pairs, eight_bit.paired_weight(convolution.weight), padding=1)
        found = found.unflatten(1, (2, -1)).movedim(1, 5).flatten(4)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@needs_eight_bits
def test_eight_channels_are_rounded_in_pairs_where_the_width_is_even():
    convolution = made(8)
    for width, is_rounded in ((8, True), (7, False)):
        volume = torch.randn(1, 8, 6, 7, width)
        with torch.no_grad():
            lost = error(rounded(convolution, volume), plain(convolution)(volume))
        assert (1e-4 < lost < 0.02) if is_rounded else lost < 1e-5


@needs_eight_bits
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_volume_that_is_not_finite_is_not_rounded(value):
    convolution, volume = made(), torch.randn(1, 16, 8, 8, 8)
    volume[0, 3, 4, 4, 4] = value
    with torch.no_grad():
        expected = plain(convolution)(volume)
    torch.testing.assert_close(rounded(convolution, volume), expected, rtol=1e-4, atol=1e-5, equal_nan=True)


@needs_eight_bits
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-40])
def test_a_volume_of_one_value_is_convolved(value):
    convolution, volume = made(), torch.full((1, 16, 8, 8, 8), value)
    with torch.no_grad():
        expected = plain(convolution)(volume)
    torch.testing.assert_close(rounded(convolution, volume), expected, rtol=0.02, atol=0.02)


@needs_eight_bits
def test_what_channels_contribute_adds_up_to_the_whole():
    convolution, volume = made(48), torch.randn(1, 48, 8, 8, 8)
    with torch.no_grad():
        expected = plain(convolution)(volume)
    for _ in range(2):
        with torch.inference_mode(), eight_bit_convolutions():
            known = convolution.of_channels(volume[:, :32], 0)
            new = convolution.of_channels(volume[:, 32:], 32)
        assert 0 < error(known + new, expected) < 0.02


@needs_eight_bits
def test_new_weights_are_seen():
    convolution, volume = made(), torch.randn(1, 16, 8, 8, 8)
    before = rounded(convolution, volume)
    with torch.no_grad():
        convolution.weight.mul_(-1)
        convolution.bias.mul_(-1)
    torch.testing.assert_close(rounded(convolution, volume), -before)
    convolution.weight = torch.nn.Parameter(-convolution.weight.detach())
    convolution.bias = torch.nn.Parameter(-convolution.bias.detach())
    torch.testing.assert_close(rounded(convolution, volume), before)


@needs_eight_bits
def test_shapes_and_signs_may_alternate():
    convolution = made()
    volumes = [torch.randn(1, 16, 8, 8, 8), torch.rand(1, 16, 8, 8, 8), torch.rand(2, 16, 5, 6, 7)]
    alone = [rounded(copy.deepcopy(convolution), volume) for volume in volumes]
    for _ in range(2):
        for volume, expected in zip(volumes, alone, strict=True):
            assert torch.equal(rounded(convolution, volume), expected)


@needs_eight_bits
def test_a_convolution_that_was_used_can_be_copied_and_sent():
    convolution, volume = made(), torch.randn(1, 16, 8, 8, 8)
    expected = rounded(convolution, volume)
    for other in (copy.deepcopy(convolution), pickle.loads(pickle.dumps(convolution))):
        assert torch.equal(rounded(other, volume), expected)
    assert set(convolution.state_dict()) == {"weight", "bias"}


@needs_eight_bits
def test_other_threads_are_left_alone():
    convolution, volume = made(), torch.randn(1, 16, 8, 8, 8)

    def elsewhere() -> torch.Tensor:
        with torch.inference_mode():
            return convolution(volume)

    with ThreadPoolExecutor(1) as pool, eight_bit_convolutions():
        found = pool.submit(elsewhere).result()
    with torch.no_grad():
        torch.testing.assert_close(found, plain(convolution)(volume), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(
    _PROCESSOR.get("architecture") != "x86_64" or _MULTIPLIES_BYTES,
    reason="this processor adds up in 32 bits",
)
def test_a_processor_that_adds_up_in_16_bits_is_not_taken():
    assert not eight_bit.is_known()
    with pytest.raises(ModelError, match="choose 'auto'"):
        load_model("default", device="cpu", precision="int8")


@pytest.mark.parametrize("trouble", [AttributeError("no such operator"), RuntimeError("other arguments")])
def test_where_torch_has_no_such_operator_nothing_is_rounded(monkeypatch, trouble):
    def missing(*_):
        raise trouble

    monkeypatch.setattr(eight_bit, "_convolve", missing)
    assert not eight_bit.is_known.__wrapped__()


def test_where_torch_convolves_otherwise_nothing_is_rounded(monkeypatch):
    monkeypatch.setattr(
        eight_bit, "_convolve", lambda convolution, bias, integers, *_: torch.zeros(1, 8, *integers.shape[2:])
    )
    assert not eight_bit.is_known.__wrapped__()


def test_it_must_be_there_to_be_asked_for(monkeypatch):
    monkeypatch.setattr(eight_bit, "is_known", lambda: False)
    with pytest.raises(ModelError, match="choose 'auto'"):
        load_model("default", device="cpu", precision="int8")


@needs_eight_bits
def test_a_session_draws_nearly_the_same_mask():
    centre = middle(balls())
    image = sitk.AdditiveGaussianNoise(balls(centres=[centre]), 15, 0, 1)
    masks = []
    for precision in ("float32", "int8"):
        session = InteractiveSession(load_model("default", device="cpu", precision=precision))
        session.set_image(image)
        session.click(centre)
        session.click((centre[0] + 9, centre[1], centre[2]), positive=False)
        masks.append(sitk.GetArrayFromImage(session.mask))
    assert not np.array_equal(*masks)
    assert 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum()) > 0.95
