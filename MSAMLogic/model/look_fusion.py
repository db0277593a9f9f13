"""Make one mask of the first looks at a lesion: a small network on the cube round it.

Each look answers at its own spacing, and one of them is chosen by how steady the lesion's size is. Yet a
finer look knows the edge better and a coarser one how far the lesion goes on. The fusion sees all of their
answers and the image at a resolution that the lesion's own size sets (:mod:`MSAMLogic.look_fusion`), so that
a nodule and a sarcoma look alike to it, and says where the lesion is.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from MSAMLogic.model.convolution import Conv3d
from MSAMLogic.model.cube_scene import CubeScene, voxel_channels
from MSAMLogic.model.detail_branch import ResidualBlock

# Widths, in cells, of the weights by which a click and its surroundings are described.
_SCENE_SIGMA, _INSIDE_SIGMA, _BUMP_SIGMA = 12.0, 1.6, 1.5
_CHANNELS = 16


class FirstLookTensors(NamedTuple):
    """First looks as tensors; what each is says :class:`MSAMLogic.first_looks.FirstLooks`.

    Attributes:
        image: (B, n, n, n) scanner values, NaN beyond the image.
        chosen: (B, n, n, n) logits, NaN where the chosen look shows nothing.
        answers: (B, 4, n, n, n) logits of all looks, NaN where they show nothing.
        click: (B, 3) in cells.
        voxel: (B, 3) cells that a voxel is long along each axis.
    """

    image: Tensor
    chosen: Tensor
    answers: Tensor
    click: Tensor
    voxel: Tensor


class LookFusion(nn.Module):
    """A U-shaped convolutional network over the cube round a lesion.

    Args:
        width: channels at the cube's full resolution, a multiple of 8; twice, six and eight times as many at
            a half, a quarter and an eighth of it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        half, quarter, eighth = 2 * width, 6 * width, 8 * width
        self.stem = Conv3d(_CHANNELS, width, kernel_size=3, padding=1)
        self.half_down = Conv3d(width, half, kernel_size=2, stride=2)
        self.half_block = ResidualBlock(half, half)
        self.quarter_down = Conv3d(half, quarter, kernel_size=2, stride=2)
        self.quarter_block = ResidualBlock(quarter, quarter)
        self.eighth_down = Conv3d(quarter, eighth, kernel_size=2, stride=2)
        self.eighth_blocks = nn.Sequential(ResidualBlock(eighth, eighth), ResidualBlock(eighth, eighth))
        self.quarter_up = nn.ConvTranspose3d(eighth, quarter, kernel_size=2, stride=2)
        self.merge_quarter = ResidualBlock(quarter, quarter)
        self.half_up = nn.ConvTranspose3d(quarter, half, kernel_size=2, stride=2)
        self.merge_half = ResidualBlock(half, half)
        self.full_up = nn.ConvTranspose3d(half, width, kernel_size=2, stride=2)
        self.merge_full = Conv3d(width, width, kernel_size=3, padding=1)
        self.head = Conv3d(width, 1, kernel_size=1)
        # Untrained it already says something sensible: mostly the chosen look, a little of all.
        self.chosen_weight = nn.Parameter(torch.tensor(0.8))
        self.answer_weights = nn.Parameter(torch.full((4,), 0.05))

    def forward(self, known: FirstLookTensors) -> Tensor:
        """Return logits (B, n, n, n) of the lesion."""
        chosen = torch.nan_to_num(known.chosen).clamp(-8, 8)
        answers = torch.nan_to_num(known.answers).clamp(-8, 8)
        with torch.no_grad(), torch.autocast(known.image.device.type, enabled=False):
            channels = fusion_channels(known)
        full = self.stem(channels).relu()
        half = self.half_block(self.half_down(full))
        quarter = self.quarter_block(self.quarter_down(half))
        eighth = self.eighth_blocks(self.eighth_down(quarter))
        quarter = self.merge_quarter(quarter + self.quarter_up(eighth))
        half = self.merge_half(half + self.half_up(quarter))
        full = self.merge_full((full + self.full_up(half)).relu()).relu()
        kept = self.chosen_weight * chosen + torch.einsum("k,bkxyz->bxyz", self.answer_weights, answers)
        out: Tensor = self.head(full)[:, 0].float() + kept
        return out


def fusion_channels(known: FirstLookTensors) -> Tensor:
    """Return what the fusion sees, (B, 16, n, n, n).

    Brightness is relative, to the scene's mean and deviation, to what lies under the click and to what the
    chosen look holds, so that it means the same in any modality and organ. What is darker or brighter than
    the click is told in units of the noise there: in a CT the scene spans air to bone, and soft tissues
    differ by less than a tenth of its deviation.
    """
    scene = CubeScene(known.image, known.click, _SCENE_SIGMA)
    n = known.image.shape[-1]
    chosen, answers = torch.nan_to_num(known.chosen), torch.nan_to_num(known.answers)
    # Of an empty look, what lies under the click.
    typical, spread = scene.spread((chosen > 0) + 0.01 * scene.near(_INSIDE_SIGMA))
    return torch.stack(
        (
            scene.values.tanh(),
            scene.contrast(4 * scene.noise),
            scene.likeness(scene.clicked, 2 * scene.noise),
            scene.likeness(scene.clicked, 5 * scene.noise),
            scene.likeness(typical, 2 * spread),
            (chosen / 3).tanh(),
            *(answers / 3).tanh().unbind(1),
            scene.near(_BUMP_SIGMA),
            scene.squared.sqrt() / (n / 2),
            1 - scene.within,
            *voxel_channels(known.voxel, n),
        ),
        dim=1,
    )
