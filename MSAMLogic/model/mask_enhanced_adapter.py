"""M-SAM's Mask-Enhanced Adapter: the previous mask and the image embedding refine each other.

It takes the place of SAM's plain sum ``image embedding + mask embedding`` in front of the decoder
(M-SAM, section 2.2; names of the release's ``bidatt``).
"""

from __future__ import annotations

from torch import Tensor, nn

from MSAMLogic.model.config import ModelConfig
from MSAMLogic.model.convolution import Conv3d
from MSAMLogic.model.layers import TransformerMLP
from MSAMLogic.model.relative_attention import RelativeAttention


def _norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, eps=1e-6)


class AdapterAttention(nn.Module):
    """``MLP(LN2(proj(MHSA(LN1(x))) + x))``: a transformer block without its last residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.norm1 = _norm(width)
        self.attn = RelativeAttention(width, config.adapter_heads, config.grid_size, config.grid_size)
        self.norm2 = _norm(width)
        self.mlp = TransformerMLP(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, g, g, g, C) to the same shape."""
        out: Tensor = self.mlp(self.norm2(self.attn(self.norm1(x)) + x))
        return out


class FeatureBranch(nn.Module):
    """One side of the mask-enhanced feature block: convolutions, attention across, MLP."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.conv1 = Conv3d(width, width, kernel_size=3, padding=1)
        self.norm = _norm(width)
        self.conv2 = Conv3d(width, width, kernel_size=1)
        self.addnorm1 = _norm(width)
        self.addnorm2 = _norm(width)
        self.addnorm3 = _norm(width)
        self.attention = AdapterAttention(config)
        self.mlp = TransformerMLP(width, 4 * width)
        self.act = nn.GELU()

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Refine ``own`` with ``other`` added to its attention; all (B, g, g, g, C)."""
        convolved = self.act(self.norm(self._channels_last(self.conv1, own)))
        updated = self.addnorm1(self._channels_last(self.conv2, convolved) + own)
        attended = self.addnorm2(self.attention(updated + own + other) + updated)
        out: Tensor = self.addnorm3(self.mlp(attended) + attended)
        return out

    @staticmethod
    def _channels_last(convolution: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = convolution(x.movedim(-1, 1)).movedim(1, -1)
        return out


class MaskEnhancedAdapter(nn.Module):
    """Join an image embedding with a mask embedding.

    Args:
        config: sizes; the defaults are the published 17,145,024 parameters.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.prompt = FeatureBranch(config)
        self.image = FeatureBranch(config)
        self.multi_head_self_attention = AdapterAttention(config)
        self.add_norm = _norm(width)
        self.add_norm2 = _norm(width)
        self.add_norm3 = _norm(width)
        self.add_norm4 = _norm(width)  # in the published checkpoint, read by nothing
        self.mlp = TransformerMLP(width, 4 * width)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Join ``image`` and ``mask`` embeddings, both (B, C, g, g, g); returns the same shape."""
        p = self.add_norm2(mask.movedim(1, -1))
        i = self.add_norm3(image.movedim(1, -1))
        joined = self.image(i, p) + i + self.prompt(p, i) + p
        out = self.add_norm(self.multi_head_self_attention(joined) + joined)
        adapted: Tensor = out + self.mlp(out)
        return adapted.movedim(-1, 1)
