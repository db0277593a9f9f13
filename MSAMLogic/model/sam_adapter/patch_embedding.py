"""SAM's patch embedding of enlarged slices and the depth convolution behind it, as one convolution.

The release enlarges the patch trilinearly (128³ to 512³), repeats it to three channels, cuts every slice
into 16×16 tokens with SAM's frozen 2D embedding, and joins 16 slices by a depth-wise convolution. All of
this is linear and separates by axis: per axis a token sees 4 voxels and one neighbour at either side. So
the four steps are one convolution of the patch as it is, with a kernel of 6³ and a stride of 4 voxels,
and agree with them to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MSAMLogic.model.sam_adapter.config import SAMAdapterConfig


class ProjectSlices(nn.Module):
    """SAM's 2D patch embedding; holds its tensors under SAM's names.

    Args:
        width: channels of a token.
        token_size: pixels a side of a token.
    """

    def __init__(self, width: int, token_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=token_size, stride=token_size)


class PatchEmbedding(nn.Module):
    """A normalised patch to tokens.

    Args:
        config: sizes.
    """

    enlarging: Tensor

    def __init__(self, config: SAMAdapterConfig) -> None:
        super().__init__()
        width, size = config.encoder_width, config.token_size
        self.stride = config.voxels_per_token
        self.patch_embed = ProjectSlices(width, size)
        self.slice_embed = nn.Conv3d(width, width, (1, 1, size), (1, 1, size), groups=width)
        self.register_buffer("enlarging", _enlarging(config), persistent=False)

    def forward(self, cells: Tensor) -> Tensor:
        """Return tokens (B, g, g, g, width) of ``cells`` (B, 1, n, n, n), axes (row, column, slice)."""
        in_plane = self.patch_embed.proj.weight.sum(dim=1)  # the three channels are the same
        depth = self.slice_embed.weight[:, 0, 0, 0]
        enlarging = self.enlarging.to(in_plane.dtype)
        kernel = torch.einsum("cab,ai,bj,cd,dk->cijk", in_plane, enlarging, enlarging, depth, enlarging)
        flat = self.patch_embed.proj.bias
        assert flat is not None and self.slice_embed.bias is not None  # both are made with one
        bias = flat * depth.sum(dim=1) + self.slice_embed.bias
        padded = nn.functional.pad(cells, (1,) * 6, mode="replicate")
        tokens = nn.functional.conv3d(padded, kernel[:, None], bias, stride=self.stride)
        return tokens.permute(0, 2, 3, 4, 1)


def _enlarging(config: SAMAdapterConfig) -> Tensor:
    """Return the linear map (token_size, v + 2) from a token's voxels and neighbours to its pixels."""
    voxels = config.voxels_per_token + 2
    enlarged = nn.functional.interpolate(
        torch.eye(voxels)[None], scale_factor=float(config.enlargement), mode="linear"
    )[0]
    # Row: the voxel that is 1. The first and last enlargement's worth of pixels belong to the neighbours.
    return enlarged[:, config.enlargement : -config.enlargement].T.contiguous()
