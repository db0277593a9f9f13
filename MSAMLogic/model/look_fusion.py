"""Make one mask of the first looks at a lesion: a small network on the cube round it.

Each look answers at its own spacing, and one of them is chosen by how steady the lesion's size is. Yet a
finer look knows the edge better and a coarser one how far the lesion goes on. The fusion sees all of their
answers and the image at a resolution that the lesion's own size sets (:mod:`MSAMLogic.looking.look_fusion`),
so that a nodule and a sarcoma look alike to it, and says where the lesion is.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from MSAMLogic.model.cube_network import CubeNetwork
from MSAMLogic.model.cube_scene import CubeScene, voxel_channels

# Widths, in cells, of the weights by which a click and its surroundings are described.
_SCENE_SIGMA, _INSIDE_SIGMA, _BUMP_SIGMA = 12.0, 1.6, 1.5
_CHANNELS = 16


class FirstLookTensors(NamedTuple):
    """First looks as tensors; what each is says :class:`MSAMLogic.looking.first_looks.FirstLooks`.

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


class LookFusion(CubeNetwork):
    """A U-shaped convolutional network over the cube round a lesion.

    Args:
        width: channels at the cube's full resolution, a multiple of 8; twice, six and eight times as many at
            a half, a quarter and an eighth of it.
    """

    def __init__(self, width: int) -> None:
        super().__init__(_CHANNELS, (width, 2 * width, 6 * width, 8 * width))
        # Untrained it already says something sensible: mostly the chosen look, a little of all.
        self.chosen_weight = nn.Parameter(torch.tensor(0.8))
        self.answer_weights = nn.Parameter(torch.full((4,), 0.05))

    def forward(self, known: FirstLookTensors) -> Tensor:
        """Return logits (B, n, n, n) of the lesion."""
        chosen = torch.nan_to_num(known.chosen).clamp(-8, 8)
        answers = torch.nan_to_num(known.answers).clamp(-8, 8)
        with torch.no_grad(), torch.autocast(known.image.device.type, enabled=False):
            channels = fusion_channels(known)
        kept = self.chosen_weight * chosen + torch.einsum("k,bkxyz->bxyz", self.answer_weights, answers)
        return self.values(channels) + kept


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
