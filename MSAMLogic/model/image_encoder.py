"""The 3D vision transformer that turns a patch into an image embedding (SAM-Med3D, after ViTDet)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MSAMLogic.model.config import ModelConfig
from MSAMLogic.model.convolution import Conv3d
from MSAMLogic.model.layers import ChannelLayerNorm, TransformerMLP
from MSAMLogic.model.relative_attention import RelativeAttention


class PatchEmbedding(nn.Module):
    """Non-overlapping cubes of voxels, each projected to one token."""

    def __init__(self, token_size: int, width: int) -> None:
        super().__init__()
        self.token_size = token_size
        self.proj = Conv3d(1, width, kernel_size=token_size, stride=token_size)

    def forward(self, patch: Tensor) -> Tensor:
        """Map (B, 1, n, n, n) voxels to (B, g, g, g, width) tokens.

        A convolution whose stride is its kernel is one matrix product over rearranged voxels, which
        runs several times faster than the convolution on a CPU.
        """
        t = self.token_size
        batch, g = patch.shape[0], patch.shape[2] // t
        cubes = patch.reshape(batch, g, t, g, t, g, t).permute(0, 1, 3, 5, 2, 4, 6)
        return nn.functional.linear(
            cubes.reshape(batch, g, g, g, t**3), self.proj.weight.flatten(1), self.proj.bias
        )


class EncoderBlock(nn.Module):
    """Pre-norm transformer block: attention, then MLP, both with a residual."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        width = config.encoder_width
        window = config.grid_size if index in config.global_blocks else config.window_size
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = RelativeAttention(width, config.encoder_heads, config.grid_size, window, config.lora_rank)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = TransformerMLP(width, int(width * config.mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, g, g, g, width) to the same shape."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ImageEncoder(nn.Module):
    """Patch embedding, absolute positions, transformer blocks and neck.

    Args:
        config: sizes; the defaults are the published 92.9 M parameters plus LoRA.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        g, width, out = config.grid_size, config.encoder_width, config.embedding_width
        self.patch_embed = PatchEmbedding(config.token_size, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, g, g, g, width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(EncoderBlock(config, index) for index in range(config.encoder_depth))
        self.neck = nn.Sequential(
            Conv3d(width, out, kernel_size=1, bias=False),
            ChannelLayerNorm(out),
            Conv3d(out, out, kernel_size=3, padding=1, bias=False),
            ChannelLayerNorm(out),
        )

    def forward(self, patch: Tensor) -> Tensor:
        """Map a normalised patch (B, 1, n, n, n), axes (R, A, S), to (B, C, g, g, g)."""
        x = self.patch_embed(patch) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.neck(x.movedim(-1, 1))
        return out
