"""Half and twice the resolution: the numbers of torch's own pooling and interpolation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from MSAMLogic.model.resampling import doubled, halved


@pytest.mark.parametrize("shape", [(1, 1, 8, 8, 8), (2, 3, 4, 6, 10), (1, 2, 2, 2, 2)])
def test_halved_is_the_mean_of_eight_cells(shape: tuple[int, ...]) -> None:
    volume = torch.randn(shape)
    torch.testing.assert_close(halved(volume), nn.functional.avg_pool3d(volume, 2))


@pytest.mark.parametrize("shape", [(1, 1, 8, 8, 8), (2, 3, 4, 5, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_doubled_is_trilinear(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    volume = torch.randn(shape, dtype=dtype)
    expected = nn.functional.interpolate(volume, scale_factor=2, mode="trilinear")
    torch.testing.assert_close(doubled(volume), expected)


def test_gradients_are_torchs() -> None:
    here, there = (torch.randn(1, 2, 4, 4, 4, generator=torch.manual_seed(0)).requires_grad_() for _ in "ab")
    weights = torch.randn(1, 2, 4, 4, 4)
    (halved(doubled(here)) * weights).sum().backward()
    larger = nn.functional.interpolate(there, scale_factor=2, mode="trilinear")
    (nn.functional.avg_pool3d(larger, 2) * weights).sum().backward()
    torch.testing.assert_close(here.grad, there.grad)


def test_doubling_keeps_full_precision_where_the_rest_has_less() -> None:
    volume = torch.randn(1, 1, 6, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        found = doubled(volume)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, nn.functional.interpolate(volume, scale_factor=2, mode="trilinear"))
