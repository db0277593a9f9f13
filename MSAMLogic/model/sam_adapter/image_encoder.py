"""SAM's ViT-B over a volume: windows instead of slices, adapters in front of every block.

Tokens are laid out (row, column, slice): the two axes of SAM's 2D embedding first, the depth last.
Frozen as SAM gives it: patch embedding, position table, attention (with the relative positions of two
axes) and MLPs. Trained: the depth convolution and depth table, adapters, normalisations, the third axis
of the relative positions and the necks (paper section 3.1; the release's ``train.py``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MSAMLogic.model.convolution import Conv3d
from MSAMLogic.model.layers import ChannelLayerNorm, TransformerMLP
from MSAMLogic.model.sam_adapter.cells import instance_norm, linear
from MSAMLogic.model.sam_adapter.config import LEVELS, SAMAdapterConfig
from MSAMLogic.model.sam_adapter.patch_embedding import PatchEmbedding
from MSAMLogic.model.sam_adapter.window_attention import WindowAttention, Windows

_TRAINED = ("depth_embed", "slice_embed.", ".norm1.", ".norm2.", ".adapter.", ".rel_pos_d", "neck_3d.")
_TOKENS_AT_ONCE = 2048  # larger intermediate tensors are slower: each is fetched anew from the system


class SpatialAdapter(nn.Module):
    """Down-projection, depth-wise 3³ convolution, up-projection, a ReLU after each; added to its input.

    Args:
        width: channels of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width // 2
        self.linear1 = nn.Linear(width, hidden)
        self.conv = Conv3d(hidden, hidden, kernel_size=3, padding=1, groups=hidden)
        self.linear2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, g, g, g, width) to the same shape."""
        small = linear(self.linear1, x).relu().permute(0, 4, 1, 2, 3)
        small = self.conv(small).permute(0, 2, 3, 4, 1).relu()
        return x + linear(self.linear2, small).relu()


class Block(nn.Module):
    """Adapter, attention in windows (shifted by half a window in even blocks), MLP.

    Args:
        config: sizes.
        index: number of the block.
    """

    def __init__(self, config: SAMAdapterConfig, index: int) -> None:
        super().__init__()
        width, window = config.encoder_width, config.window_size
        table = config.position_table if index in config.global_blocks else config.sam_window_size
        self.adapter = SpatialAdapter(width)
        self.windows = Windows(config.grid_size, window, window // 2 if index % 2 == 0 else 0)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = WindowAttention(width, config.encoder_heads, window, table)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = TransformerMLP(width, int(width * config.mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, g, g, g, width) to the same shape."""
        x = self.adapter(x)
        volume = self.attn.window_size**3
        tables = self.attn.relative_positions()
        cells = x.flatten(1, 3)
        step = max(1, _TOKENS_AT_ONCE // volume)
        parts = []
        for start in range(0, len(self.windows.apart), step):
            # Behind the adapter, what happens in a window concerns no other.
            apart = self.windows.apart[start : start + step]
            order = self.windows.order[start * volume : (start + step) * volume]
            part = cells.index_select(1, order).reshape(len(x), len(apart), volume, -1)
            part = part + self.attn(self.norm1(part), tables, apart if self.windows.shifted else None)
            hidden = self.mlp.act(linear(self.mlp.lin1, self.norm2(part)))
            parts.append((part + linear(self.mlp.lin2, hidden)).flatten(1, 2))
        return torch.cat(parts, dim=1).index_select(1, self.windows.places).reshape(x.shape)


class InstanceNorm(nn.Module):
    """Each channel of each volume normalised by its own mean and variance, without parameters."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, D, H, W) to the same shape."""
        return instance_norm(x)


def neck(width: int, out: int, convolutions: bool) -> nn.Sequential:
    """Return what makes one level of features of tokens (B, width, g, g, g).

    Args:
        width: channels of a token.
        out: channels of the level.
        convolutions: whether a second convolution follows; see :class:`SAMAdapterConfig`.
    """
    first = Conv3d(width, out, 1, bias=False)
    if not convolutions:
        return nn.Sequential(first, InstanceNorm(), nn.ReLU())
    second = Conv3d(out, out, 3, padding=1, bias=False)
    return nn.Sequential(first, ChannelLayerNorm(out), second, ChannelLayerNorm(out))


class ImageEncoder(nn.Module):
    """A patch to four levels of features.

    Args:
        config: sizes; the defaults are the release's 96,974,604 parameters.
    """

    def __init__(self, config: SAMAdapterConfig) -> None:
        super().__init__()
        width, g, table = config.encoder_width, config.grid_size, config.position_table
        self.patch_embedding = PatchEmbedding(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, table, table, width))
        self.depth_embed = nn.Parameter(torch.zeros(1, g, width))
        self.pooling = table // g
        self.blocks = nn.ModuleList(Block(config, index) for index in range(config.encoder_depth))
        self.neck_3d = nn.ModuleList(
            neck(width, config.embedding_width, config.neck_convolutions) for _ in range(LEVELS)
        )
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(any(part in name for part in _TRAINED))

    def forward(self, cells: Tensor) -> list[Tensor]:
        """Return the levels, each (B, C, g, g, g), the deepest last.

        Args:
            cells: the patch (B, 1, n, n, n), axes (row, column, slice).
        """
        in_plane = nn.functional.avg_pool2d(self.pos_embed.permute(0, 3, 1, 2), self.pooling)
        positions = in_plane.permute(0, 2, 3, 1)[:, :, :, None] + self.depth_embed[:, None, None]
        tokens = self.patch_embedding(cells) + positions
        levels = []
        for index, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            level, rest = divmod(index * LEVELS, len(self.blocks))
            if not rest:
                levels.append(self.neck_3d[level - 1](tokens.permute(0, 4, 1, 2, 3)))
        return levels
