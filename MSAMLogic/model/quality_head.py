"""How good an answer is, estimated from the answer itself.

A session that looks at a lesion at another spacing must say which answer is better. SAM's IoU head sees
the decoder's tokens only and knows nothing of the answer that the high-resolution branch made of them;
this head reads the branch's features under the answer, along its edge and round it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MSAMLogic.model.config import ModelConfig
from MSAMLogic.model.resampling import halved

_STATISTICS = 6
_EPSILON = 1e-4


def answer_statistics(logits: Tensor) -> Tensor:
    """Return what an answer's shape tells of its quality.

    Args:
        logits: (B, 1, r, r, r).

    Returns:
        (B, 6): logarithm of the share of the patch that is lesion; stability (the share of the cells
        above -1 that are above 1, as SAM measures it); mean certainty; how much of the faces is lesion,
        on average and on the worst face; lesion probability at the patch's middle.
    """
    values = logits.float()
    probability = values.sigmoid()
    axes = (1, 2, 3, 4)
    share = (values > 0).float().mean(axes)
    likely, possible = (values > 1).float().sum(axes), (values > -1).float().sum(axes)
    faces = torch.stack(
        [probability.select(axis, side).mean((1, 2, 3)) for axis in (2, 3, 4) for side in (0, -1)], dim=1
    )
    middle = values.shape[-1] // 2
    centre = probability[:, 0, middle - 2 : middle + 2, middle - 2 : middle + 2, middle - 2 : middle + 2]
    return torch.stack(
        [
            (share + _EPSILON).log(),
            likely / possible.clamp(min=1),
            (probability - 0.5).abs().mean(axes),
            faces.mean(dim=1),
            faces.amax(dim=1),
            centre.mean((1, 2, 3)),
        ],
        dim=1,
    )


class QualityHead(nn.Module):
    """Estimate the IoU of an answer with the lesion that was meant.

    It learns from the features but does not shape them: what is best for the mask stays best.

    Args:
        config: ``quality_width`` is the hidden width.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        half, quarter = 4 * config.detail_width, 8 * config.detail_width
        self.layers = nn.Sequential(
            nn.Linear(3 * half + quarter + _STATISTICS, config.quality_width),
            nn.ReLU(),
            nn.Linear(config.quality_width, config.quality_width),
            nn.ReLU(),
            nn.Linear(config.quality_width, 1),
        )

    def forward(self, logits: Tensor, half: Tensor, quarter: Tensor) -> Tensor:
        """Return the estimated IoU (B, 1) in [0, 1].

        Args:
            logits: (B, 1, n, n, n) the answer.
            half: (B, C, n/2, n/2, n/2) the branch's features that it was made of.
            quarter: (B, 2C, n/4, n/4, n/4) the same, coarser.
        """
        answer = halved(logits.detach().float())
        inside = answer.sigmoid()
        weights = torch.cat([inside, 4 * inside * (1 - inside), torch.ones_like(inside)], dim=1).flatten(2)
        features = half.detach().float().movedim(1, -1).flatten(1, 3)
        with torch.autocast(half.device.type, enabled=False):
            means = weights @ features / weights.sum(dim=2, keepdim=True).clamp(min=_EPSILON)
        described = torch.cat(
            [
                means.flatten(1),
                quarter.detach().float().mean((2, 3, 4)),
                answer_statistics(answer),
            ],
            dim=1,
        )
        estimate: Tensor = self.layers(described).float().sigmoid()
        return estimate
