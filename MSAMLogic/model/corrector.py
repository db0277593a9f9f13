"""Correct a mask where a reader clicked it: a small network on the cube round the click.

The decoder answers to all clicks anew, so a click at one place can change the mask at another, and a mask
that was nearly right can get worse. The corrector sees the mask that was clicked at, the new answer and
the image, at a resolution that the depth of the error sets (:mod:`MSAMLogic.correcting.correction`), and
says where the lesion is in the cube round the click; elsewhere the mask stays.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from MSAMLogic.model.cube_network import CubeNetwork
from MSAMLogic.model.cube_scene import CubeScene, voxel_channels
from MSAMLogic.model.detail_branch import gaussian_bumps

# Widths, in cells, of the weights by which a click and its surroundings are described.
_SCENE_SIGMA, _INSIDE_SIGMA, _BUMP_SIGMA = 8.0, 1.6, 1.5
_FAINT = 0.01  # deviations of the scene; a contrast of soft tissue beside bone and air is hardly more
_RING = 4.0  # cells; so far beyond its edge what surrounds the mask goes


class CorrectionTensors(NamedTuple):
    """Corrections as tensors; what each is says :class:`MSAMLogic.correcting.correction.Correction`.

    Attributes:
        image: (B, n, n, n) scanner values, NaN beyond the image.
        before: (B, n, n, n) share of each cell that the mask holds.
        distance: (B, n, n, n) cells to the edge of that mask, positive inside.
        answer: (B, n, n, n) logits.
        coords: (B, N, 3) clicks in cells, the correcting one last.
        labels: (B, N) of 1, 0 and, where a sample has fewer clicks than others, -1 in front.
        depth: (B,) cells between the correcting click and the edge.
        voxel: (B, 3) cells that a voxel is long along each axis; NaN where that is unknown.
    """

    image: Tensor
    before: Tensor
    distance: Tensor
    answer: Tensor
    coords: Tensor
    labels: Tensor
    depth: Tensor
    voxel: Tensor


class Corrector(CubeNetwork):
    """A U-shaped convolutional network over the cube round a click.

    Args:
        width: channels at the cube's full resolution, a multiple of 8; twice and six times as many at half
            and a quarter of it.
        channels: how many of :func:`correction_channels` it sees, from the first on; the first correctors
            saw 13.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__(channels, (width, 2 * width, 6 * width))
        self.channels = channels
        # Untrained it already says something sensible: a blend of the answer and the mask before it.
        self.answer_weight = nn.Parameter(torch.tensor(0.4))
        self.before_weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, known: CorrectionTensors) -> Tensor:
        """Return logits (B, n, n, n) of the lesion."""
        with torch.no_grad(), torch.autocast(known.image.device.type, enabled=False):
            channels = correction_channels(known)[:, : self.channels]
        kept = self.answer_weight * known.answer.clamp(-8, 8) + self.before_weight * (2 * known.before - 1)
        return self.values(channels) + kept


def correction_channels(known: CorrectionTensors) -> Tensor:
    """Return what the corrector sees, (B, 20, n, n, n).

    Brightness is relative, to the cube's mean and deviation, to what lies under the click and to what the
    mask holds and what surrounds it, so that it means the same in any modality and organ. What is darker or
    brighter than the click is told in deviations of the scene, and in units of the noise there: in a CT the
    scene spans air to bone, and soft tissues differ by less than a tenth of its deviation.
    """
    n = known.image.shape[-1]
    clicks = known.coords.float()
    middle = torch.full_like(clicks[:, -1], (n - 1) / 2)  # where the correcting click is
    scene = CubeScene(known.image, middle, _SCENE_SIGMA)
    sign = (2 * known.labels[:, -1] - 1).float()[:, None, None, None]
    earlier = known.labels.clone()
    earlier[:, -1] = -1
    cells = torch.arange(n, device=clicks.device, dtype=torch.float32)
    along = (cells - clicks.unsqueeze(-1)) ** 2
    everywhere = torch.ones_like(scene.values)
    bump, noise = scene.near(_BUMP_SIGMA), scene.noise_above(_FAINT)
    # Of no mask, or no surroundings, what lies under the click.
    little = 0.01 * scene.near(_INSIDE_SIGMA)
    inside, spread_inside = scene.spread(known.before + little, _FAINT)
    ring = (known.distance < 0) & (known.distance >= -_RING)
    outside, spread_outside = scene.spread(ring.float() + little, _FAINT)
    return torch.stack(
        (
            scene.values.tanh(),
            scene.contrast(1 / 3),
            scene.likeness(scene.clicked, 2 * scene.noise),
            known.before,
            (known.distance / 8).clamp(-1, 1),
            (known.answer / 3).tanh(),
            gaussian_bumps(along, earlier == 1, _BUMP_SIGMA),
            gaussian_bumps(along, earlier == 0, _BUMP_SIGMA),
            sign * bump,
            sign * everywhere,
            (known.depth / 4).clamp(max=2)[:, None, None, None] * everywhere,
            1 - scene.within,
            scene.squared.sqrt() / (n / 2),
            scene.contrast(4 * noise),
            scene.likeness(scene.clicked, 5 * noise),
            scene.likeness(inside, 2 * spread_inside),
            scene.likeness(outside, 2 * spread_outside),
            *voxel_channels(known.voxel, n),
        ),
        dim=1,
    )
