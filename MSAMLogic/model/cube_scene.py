"""The brightness in a cube relative to a click, so that it means the same in any modality and organ."""

from __future__ import annotations

import torch
from torch import Tensor

_AXES = (1, 2, 3)
# Widths, in cells, of the weights by which a click and its surroundings are described.
_CLICK_SIGMA, _NOISE_SIGMA = 0.8, 1.6
# Added to every noise and spread, in deviations of the scene.
_LEAST_NOISE = 0.05


class CubeScene:
    """What the cells of a cube look like, seen from a click in it.

    Args:
        image: (B, n, n, n) scanner values, NaN beyond the image.
        click: (B, 3) in cells.
        sigma: cells; how far round the click the scene goes whose mean and deviation make the unit.

    Attributes:
        within: (B, n, n, n) 1 in the image, 0 beyond.
        squared: (B, n, n, n) squared distance in cells from the click.
        values: (B, n, n, n) brightness in deviations of the scene from its mean, 0 beyond the image.
        clicked: (B, 1, 1, 1) brightness under the click.
        noise: (B, 1, 1, 1) deviation of the brightness close to the click.
    """

    def __init__(self, image: Tensor, click: Tensor, sigma: float) -> None:
        self.within = (~image.isnan()).float()
        known = torch.nan_to_num(image)
        self._along = _squared_along(click.float(), image.shape[-1])
        self.squared = self._along[0] + self._along[1] + self._along[2]
        scene = self.mean(known, self.near(sigma))
        deviation = self.mean((known - scene) ** 2, self.near(sigma)).sqrt() + 1e-3
        self.values = (known - scene) / deviation * self.within
        self.clicked = self.mean(self.values, self.near(_CLICK_SIGMA))
        self.noise = self.noise_above(_LEAST_NOISE)

    def near(self, sigma: float) -> Tensor:
        """Return weights (B, n, n, n) that fall off with the distance from the click, sigma in cells."""
        # A Gaussian is a product along the axes, so it takes 3 n exponentials and not n³.
        x, y, z = (torch.exp(-squared / (2 * sigma**2)) for squared in self._along)
        return x * y * z

    def mean(self, values: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted mean (B, 1, 1, 1) of values (B, n, n, n) in the image."""
        total = (weight * self.within).sum(_AXES).clamp(min=1e-6)
        return ((values * weight * self.within).sum(_AXES) / total)[:, None, None, None]

    def noise_above(self, least: float) -> Tensor:
        """Return the deviation (B, 1, 1, 1) of the brightness close to the click, and so much more."""
        return self.spread(self.near(_NOISE_SIGMA), least)[1]

    def spread(self, weight: Tensor, least: float = _LEAST_NOISE) -> tuple[Tensor, Tensor]:
        """Return the weighted mean and deviation (B, 1, 1, 1) of the brightness, and so much more."""
        typical = self.mean(self.values, weight)
        deviation = self.mean((self.values - typical) ** 2, weight).sqrt()
        return typical, deviation + least

    def contrast(self, unit: Tensor | float) -> Tensor:
        """Return how much brighter than the click each cell is (B, n, n, n), from -1 to 1."""
        return ((self.values - self.clicked) / unit).tanh() * self.within

    def likeness(self, brightness: Tensor, width: Tensor) -> Tensor:
        """Return how like a brightness each cell is (B, n, n, n), 0 to 1."""
        return torch.exp(-0.5 * ((self.values - brightness) / width) ** 2) * self.within


def voxel_channels(voxel: Tensor, n: int) -> list[Tensor]:
    """Return three channels (B, n, n, n) that say how long a voxel is along each axis of a cube.

    Args:
        voxel: (B, 3) cells that a voxel is long; NaN where that is unknown.
        n: cells a side.
    """
    long = torch.nan_to_num(voxel.float().log2(), nan=0.0).clamp(-1, 4) / 4
    return [long[:, axis, None, None, None].expand(-1, n, n, n) for axis in range(3)]


def _squared_along(point: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the squared distance along each axis of a cube's cells from a point (B, 3) in cells.

    Their sum is (B, n, n, n), the squared distance.
    """
    along = (torch.arange(n, device=point.device, dtype=torch.float32) - point[..., None]) ** 2
    return along[:, 0, :, None, None], along[:, 1, None, :, None], along[:, 2, None, None, :]
