"""Correct a mask where a reader clicked it: a small network on the cube round the click.

The decoder answers to all clicks anew, so a click at one place can change the mask at another, and a mask
that was nearly right can get worse. The corrector sees the mask that was clicked at, the new answer and
the image, at a resolution that the depth of the error sets (:mod:`MSAMLogic.correction`), and says where
the lesion is in the cube round the click; elsewhere the mask stays.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from MSAMLogic.model.detail_branch import ResidualBlock, gaussian_bumps

# Widths, in cells, of the weights by which a click and its surroundings are described.
_CLICK_SIGMA, _NOISE_SIGMA, _SCENE_SIGMA, _BUMP_SIGMA = 0.8, 1.6, 8.0, 1.5
_CHANNELS = 13


class CorrectionTensors(NamedTuple):
    """Corrections as tensors; what each is says :class:`MSAMLogic.correction.Correction`.

    Attributes:
        image: (B, n, n, n) scanner values, NaN beyond the image.
        before: (B, n, n, n) share of each cell that the mask holds.
        distance: (B, n, n, n) cells to the edge of that mask, positive inside.
        answer: (B, n, n, n) logits.
        coords: (B, N, 3) clicks in cells, the correcting one last.
        labels: (B, N) of 1, 0 and, where a sample has fewer clicks than others, -1 in front.
        depth: (B,) cells between the correcting click and the edge.
    """

    image: Tensor
    before: Tensor
    distance: Tensor
    answer: Tensor
    coords: Tensor
    labels: Tensor
    depth: Tensor


class Corrector(nn.Module):
    """A U-shaped convolutional network over the cube round a click.

    Args:
        width: channels at the cube's full resolution, a multiple of 8; twice and six times as many at half
            and a quarter of it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        half, quarter = 2 * width, 6 * width
        self.stem = nn.Conv3d(_CHANNELS, width, kernel_size=3, padding=1)
        self.half_down = nn.Conv3d(width, half, kernel_size=2, stride=2)
        self.half_block = ResidualBlock(half, half)
        self.quarter_down = nn.Conv3d(half, quarter, kernel_size=2, stride=2)
        self.quarter_blocks = nn.Sequential(ResidualBlock(quarter, quarter), ResidualBlock(quarter, quarter))
        self.half_up = nn.ConvTranspose3d(quarter, half, kernel_size=2, stride=2)
        self.merge_half = ResidualBlock(half, half)
        self.full_up = nn.ConvTranspose3d(half, width, kernel_size=2, stride=2)
        self.merge_full = nn.Conv3d(width, width, kernel_size=3, padding=1)
        self.head = nn.Conv3d(width, 1, kernel_size=1)
        # Untrained it already says something sensible: a blend of the answer and the mask before it.
        self.answer_weight = nn.Parameter(torch.tensor(0.4))
        self.before_weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, known: CorrectionTensors) -> Tensor:
        """Return logits (B, n, n, n) of the lesion."""
        with torch.no_grad(), torch.autocast(known.image.device.type, enabled=False):
            channels = correction_channels(known)
        full = self.stem(channels).relu()
        half = self.half_block(self.half_down(full))
        quarter = self.quarter_blocks(self.quarter_down(half))
        half = self.merge_half(half + self.half_up(quarter))
        full = self.merge_full((full + self.full_up(half)).relu()).relu()
        kept = self.answer_weight * known.answer.clamp(-8, 8) + self.before_weight * (2 * known.before - 1)
        out: Tensor = self.head(full)[:, 0].float() + kept
        return out


def correction_channels(known: CorrectionTensors) -> Tensor:
    """Return what the corrector sees, (B, 13, n, n, n).

    Brightness is relative, to the cube's mean and deviation and to what lies under the click, so that it
    means the same in any modality and organ.
    """
    beyond = known.image.isnan()
    within = (~beyond).float()
    image = torch.nan_to_num(known.image)
    n = image.shape[-1]
    squared = _squared_distance(n, image.device)

    def mean(values: Tensor, sigma: float) -> Tensor:
        weight = torch.exp(-squared / (2 * sigma**2)) * within
        total = weight.sum((1, 2, 3)).clamp(min=1e-6)
        return ((values * weight).sum((1, 2, 3)) / total)[:, None, None, None]

    scene = mean(image, _SCENE_SIGMA)
    deviation = mean((image - scene) ** 2, _SCENE_SIGMA).sqrt() + 1e-3
    values = (image - scene) / deviation * within
    clicked = mean(values, _CLICK_SIGMA)
    noise = mean((values - mean(values, _NOISE_SIGMA)) ** 2, _NOISE_SIGMA).sqrt() + 0.05
    likeness = torch.exp(-0.5 * ((values - clicked) / (2 * noise)) ** 2) * within
    sign = (2 * known.labels[:, -1] - 1).float()[:, None, None, None]
    earlier = known.labels.clone()
    earlier[:, -1] = -1
    cells = torch.arange(n, device=image.device, dtype=torch.float32)
    along = (cells - known.coords.float().unsqueeze(-1)) ** 2
    everywhere = torch.ones_like(values)
    return torch.stack(
        (
            values.tanh(),
            (3 * (values - clicked)).tanh() * within,
            likeness,
            known.before,
            (known.distance / 8).clamp(-1, 1),
            (known.answer / 3).tanh(),
            gaussian_bumps(along, earlier == 1, _BUMP_SIGMA),
            gaussian_bumps(along, earlier == 0, _BUMP_SIGMA),
            sign * torch.exp(-squared / (2 * _BUMP_SIGMA**2)),
            sign * everywhere,
            (known.depth / 4).clamp(max=2)[:, None, None, None] * everywhere,
            beyond.float(),
            squared.sqrt() / (n / 2) * everywhere,
        ),
        dim=1,
    )


def _squared_distance(n: int, device: torch.device) -> Tensor:
    """Return the squared distance (n, n, n) of each cell from the cube's middle."""
    along = (torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2) ** 2
    return along[:, None, None] + along[None, :, None] + along[None, None, :]
