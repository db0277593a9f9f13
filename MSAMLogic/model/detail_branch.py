"""A light high-resolution branch that joins the mask decoder's upsampling.

M-SAM answers on a grid four times coarser than its patch. That is enough for an organ and too little
for the edge of a small lesion; 3DSAM-adapter concatenates the image in its decoder for the same reason.
The branch is a small U-shaped convolutional network. Its descending half sees only the image and runs
once a patch, like the encoder; its ascending half runs for each click.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from MSAMLogic.model.config import ModelConfig
from MSAMLogic.model.convolution import Conv3d
from MSAMLogic.model.doubling import Doubling3d
from MSAMLogic.model.flooding import flooded
from MSAMLogic.model.likely_box import LikelyBox, likely_box
from MSAMLogic.model.quality_head import QualityHead
from MSAMLogic.model.resampling import doubled, halved
from MSAMLogic.model.residual_block import Contribution, JoiningBlock, ResidualBlock

# Widths, in patch voxels, of the bumps that mark a click: one to touch, one to reach out.
CLICK_SIGMAS = (1.5, 5.0)
# What still looks alike, in deviations of the noise at the click: strict and lenient.
AFFINITY_WIDTHS = (1.5, 4.0)
_FLOOD_STEPS = 28
_RIM = 1  # cells at half resolution, as far as the convolutions at full resolution see
# The patch is seen at several contrasts: z-scores of a CT span air to bone and soft tissue differs little.
_CONTRASTS = (0.3, 1.0, 4.0)


def click_maps(coords: Tensor, labels: Tensor, patch_size: int, size: int) -> Tensor:
    """Return Gaussian bumps at the clicks, on a grid of ``size`` cells a side over the patch.

    Args:
        coords: (B, N, 3) clicks in patch voxels.
        labels: (B, N), 1 for the lesion, 0 for background; any other value leaves no bump.
        patch_size: voxels a side of the patch.
        size: cells a side of the result.

    Returns:
        (B, 2 * len(CLICK_SIGMAS), size, size, size) in [0, 1]: for each sigma the lesion clicks, then
        the background clicks.
    """
    scale = patch_size / size
    centres = (torch.arange(size, device=coords.device, dtype=torch.float32) + 0.5) * scale - 0.5
    squared = (centres - coords.float().unsqueeze(-1)) ** 2  # (B, N, 3, size)
    maps = [gaussian_bumps(squared, labels == value, sigma) for sigma in CLICK_SIGMAS for value in (1, 0)]
    return torch.stack(maps, dim=1)


def gaussian_bumps(squared: Tensor, chosen: Tensor, sigma: float) -> Tensor:
    """Return the sum of Gaussian bumps at chosen points, (B, n, n, n), at most 1.

    Args:
        squared: (B, N, 3, n) squared distance of each cell from each point, along each axis.
        chosen: (B, N), which points count.
        sigma: width, in the unit of the distances.
    """
    profile = torch.exp(-squared / (2 * sigma**2))
    first = profile[:, :, 0] * chosen.float().unsqueeze(-1)
    return torch.einsum("bni,bnj,bnk->bijk", first, profile[:, :, 1], profile[:, :, 2]).clamp(max=1.0)


def clicked_brightness(patch: Tensor, coords: Tensor) -> tuple[Tensor, Tensor]:
    """Return the brightness under each click and the tissue's noise round it, each (B, N).

    Args:
        patch: (B, 1, n, n, n) normalised.
        coords: (B, N, 3) clicks in patch voxels.
    """
    n = patch.shape[-1]
    positions = torch.arange(n, device=patch.device, dtype=torch.float32)
    squared = (positions - coords.float().unsqueeze(-1)) ** 2

    def local_mean(values: Tensor, sigma: float) -> Tensor:
        profile = torch.exp(-squared / (2 * sigma**2))
        profile = profile / profile.sum(dim=-1, keepdim=True).clamp(min=1e-6)
        x = torch.einsum("bijk,bnk->bnij", values, profile[:, :, 2])
        x = torch.einsum("bnij,bnj->bni", x, profile[:, :, 1])
        return torch.einsum("bni,bni->bn", x, profile[:, :, 0])

    values = patch[:, 0].float()
    noise = (local_mean(values**2, 2.5) - local_mean(values, 2.5) ** 2).clamp(min=0).sqrt() + 0.03
    return local_mean(values, 1.2), noise


def click_affinity(image: Tensor, brightness: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
    """Return how much each voxel looks like what was clicked.

    A convolution cannot carry the brightness under a click to the rest of the patch, yet that is what
    tells a lesion from its neighbours, in any organ and modality. Brightness is compared in units of
    the tissue's own noise round the click, so the contrast of the scan does not matter.

    Args:
        image: (B, 1, r, r, r) the patch at the resolution of the result.
        brightness: (B, N) under the clicks, see :func:`clicked_brightness`.
        noise: (B, N) round the clicks.
        labels: (B, N), 1 for the lesion, 0 for background; any other value counts as no click.

    Returns:
        (B, 2 * len(AFFINITY_WIDTHS), r, r, r) in [0, 1]: for each width the lesion clicks, then the
        background clicks.
    """
    values = image[:, 0].float()
    maps = values.new_zeros((len(values), 2 * len(AFFINITY_WIDTHS), *values.shape[1:]))
    for column, value in enumerate((1, 0)):
        clicked = labels == value
        if not clicked.any():
            continue
        # The click that a voxel is most like is the same for each width.
        least = torch.full_like(values, torch.inf)
        for index in clicked.any(dim=0).nonzero().flatten().tolist():
            here = clicked[:, index, None, None, None]
            scaled = (values - brightness[:, index, None, None, None]) / noise[:, index, None, None, None]
            squared = scaled.square_().masked_fill_(~here, torch.inf)
            torch.minimum(least, squared, out=least)
        for row, width in enumerate(AFFINITY_WIDTHS):
            torch.exp(least * (-0.5 / width**2), out=maps[:, 2 * row + column])
    return maps


def _laid_out_as(other: Tensor, volume: Tensor) -> Tensor:
    """Return a volume with its channels first or last in memory, as they are in another, or a part of one."""
    last = other.stride(1) == 1
    return volume.contiguous(memory_format=torch.channels_last_3d if last else torch.contiguous_format)


class ImageDetail(NamedTuple):
    """What the detail branch computes once a patch.

    Attributes:
        patch: (B, 1, n, n, n).
        full: (B, C, n, n, n) features.
        half: what features at half the resolution contribute to each answer.
        quarter: what features at a quarter of it contribute.
    """

    patch: Tensor
    full: Tensor
    half: Contribution
    quarter: Contribution


class DetailBranch(nn.Module):
    """Refine the decoder's answer at full patch resolution.

    Args:
        config: sizes; ``detail_width`` channels at full resolution, four times as many at half and eight
            times at a quarter: full resolution is where the time goes.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.detail_width
        clicks = 2 * len(CLICK_SIGMAS)
        affinities = 2 * len(AFFINITY_WIDTHS)
        self.patch_size = config.patch_size
        half, quarter = 4 * width, 8 * width
        self.full_block = ResidualBlock(len(_CONTRASTS), width, normalised=False)
        self.half_down = Conv3d(width, half, kernel_size=2, stride=2)
        self.half_block = ResidualBlock(half, half)
        self.quarter_down = Conv3d(half, quarter, kernel_size=2, stride=2)
        self.quarter_block = ResidualBlock(quarter, quarter)

        decoder_features = config.embedding_width // 8
        self.join_half = JoiningBlock(half + decoder_features + 2 + clicks + 2 * affinities, half)
        self.join_down = Conv3d(half, quarter, kernel_size=2, stride=2)
        self.join_quarter = nn.Sequential(JoiningBlock(2 * quarter, quarter), ResidualBlock(quarter, quarter))
        self.half_up = Doubling3d(quarter, half)
        self.merge_half = ResidualBlock(half, half)
        self.full_up = Doubling3d(half, width)
        self.full_affinity = Conv3d(affinities, width, kernel_size=1)
        self.merge_full = ResidualBlock(width, width, normalised=False)
        self.head = Conv3d(width, 1, kernel_size=1)
        self.quality_head = QualityHead(config) if config.quality_width else None

    def encode(self, patch: Tensor) -> ImageDetail:
        """Return what a patch (B, 1, n, n, n) alone says: all that does not change from click to click."""
        contrasts = torch.cat([(scale * patch).tanh() for scale in _CONTRASTS], dim=1)
        full = self.full_block(contrasts)
        half = self.half_block(self.half_down(full))
        quarter = self.quarter_block(self.quarter_down(half))
        return ImageDetail(
            patch,
            full,
            self.join_half.contribution(half, 0),
            self._join_quarter.contribution(quarter, self.join_down.out_channels),
        )

    def forward(
        self,
        detail: ImageDetail,
        features: Tensor,
        logits: Tensor,
        mask_logits: Tensor,
        coords: Tensor,
        labels: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        """Return logits at full patch resolution, (B, 1, n, n, n), and their estimated IoU (B, 1) if known.

        Args:
            detail: what :meth:`encode` returned for the patch.
            features: (B, C / 8, n/2, n/2, n/2) upscaled features of the mask decoder.
            logits: (B, 1, n/2, n/2, n/2) answer of the mask decoder.
            mask_logits: (B, 1, n/2, n/2, n/2) previous answer, as prompted.
            coords: (B, N, 3) clicks in patch voxels.
            labels: (B, N) of 1 and 0.
        """
        patch, full, half, quarter = detail
        n, dtype = self.patch_size, full.dtype
        # The guides have no parameters, and differences of squares want full precision.
        with torch.no_grad(), torch.autocast(patch.device.type, enabled=False):
            bumps = click_maps(coords, labels, n, n // 2)
            clicked = clicked_brightness(patch, coords)
            affinity = click_affinity(halved(patch), *clicked, labels)
            seeds = (bumps[:, :2] > 0.3).float().repeat(1, len(AFFINITY_WIDTHS), 1, 1, 1)
            flood = flooded(affinity, seeds, _FLOOD_STEPS)
            guides = torch.cat((bumps, affinity, flood), dim=1).to(dtype)
        # Logits grow without bound; squashed, they stay in the range of their neighbours.
        answer, previous = ((x / 4).tanh().to(dtype) for x in (logits, mask_logits))
        shown = (features.to(dtype), torch.cat((answer, previous, guides), dim=1))
        # Laid out alike in memory they are joined as they lie; else torch turns them all round, and back.
        new = torch.cat([_laid_out_as(half.convolved, part) for part in shown], dim=1)
        x = self.join_half.joined(half, new, self.half_down.out_channels)
        low = self.join_quarter[1](self._join_quarter.joined(quarter, self.join_down(x), 0))
        merged = self.merge_half(x + self.half_up(low))
        out = doubled(logits.float())
        # On a GPU to ask where the lesion may be takes longer than to compute all of it.
        boxed = not self.training and patch.device.type == "cpu" and len(patch) == 1
        box = likely_box(logits, coords, labels, n) if boxed else None
        if box is None or not self._add_within(box, out, detail, merged, clicked, labels):
            out += self._at_full_resolution(patch, full, merged, clicked, labels)
        return out, self.quality_head(out, merged, low) if self.quality_head is not None else None

    def _at_full_resolution(
        self, patch: Tensor, full: Tensor, merged: Tensor, clicked: tuple[Tensor, Tensor], labels: Tensor
    ) -> Tensor:
        """Return what the branch adds to the decoder's answer, in a patch or a part of one."""
        with torch.no_grad(), torch.autocast(patch.device.type, enabled=False):
            alike = click_affinity(patch, *clicked, labels).to(full.dtype)
        alike = self.full_affinity(_laid_out_as(full, alike))
        x = self.merge_full(self.full_up(merged).add_(full).add_(alike))
        added: Tensor = self.head(x).float()
        return added

    def _add_within(
        self,
        box: LikelyBox,
        out: Tensor,
        detail: ImageDetail,
        merged: Tensor,
        clicked: tuple[Tensor, Tensor],
        labels: Tensor,
    ) -> bool:
        """Add to the decoder's answer in a box what the branch adds there, outside what it adds at the faces.

        Returns:
            False, and the answer as it was, where the lesion reaches a face and so may go on outside.
        """
        outer = box.grown(_RIM)
        patch, full, merged = (outer.of(volume) for volume in (detail.patch, detail.full, merged))
        added = box.of(self._at_full_resolution(patch, full, merged, clicked, labels), outer)
        within = box.of(out)
        if any((face > 0).any() for face in box.inner_faces(within + added)):
            return False
        at_faces = torch.cat(box.inner_faces(added)).mean()
        within += added - at_faces
        out += at_faces
        return True

    @property
    def _join_quarter(self) -> JoiningBlock:
        return cast("JoiningBlock", self.join_quarter[0])
