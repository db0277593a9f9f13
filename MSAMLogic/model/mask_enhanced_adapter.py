"""M-SAM's Mask-Enhanced Adapter: the previous mask and the image embedding refine each other.

It takes the place of SAM's plain sum ``image embedding + mask embedding`` in front of the decoder
(M-SAM, section 2.2; names of the release's ``bidatt``).
"""

from __future__ import annotations

from typing import NamedTuple

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

    def updated(self, own: Tensor) -> Tensor:
        """Return what the convolutions make of ``own``, (B, g, g, g, C) both: ``u`` of the paper."""
        convolved = self.act(self.norm(self._channels_last(self.conv1, own)))
        out: Tensor = self.addnorm1(self._channels_last(self.conv2, convolved) + own)
        return out

    def forward(self, own: Tensor, updated: Tensor, other: Tensor) -> Tensor:
        """Refine ``own``, of which :meth:`updated` is known, with ``other`` added to its attention.

        All are (B, g, g, g, C).
        """
        attended = self.addnorm2(self.attention(updated + own + other) + updated)
        out: Tensor = self.addnorm3(self.mlp(attended) + attended)
        return out

    @staticmethod
    def _channels_last(convolution: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = convolution(x.movedim(-1, 1)).movedim(1, -1)
        return out


class AdaptedImage(NamedTuple):
    """What the adapter makes of the image alone, both (B, g, g, g, C).

    Attributes:
        normed: the normalised embedding, ``i`` of the paper.
        updated: what its convolutions make of it, ``u_i``.
    """

    normed: Tensor
    updated: Tensor


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

    def of_image(self, image: Tensor) -> AdaptedImage:
        """Return what an image embedding (B, C, g, g, g) alone says, the same for every click."""
        i = self.add_norm3(image.movedim(1, -1))
        return AdaptedImage(i, self.image.updated(i))

    def forward(self, image: Tensor, mask: Tensor, adapted: AdaptedImage | None = None) -> Tensor:
        """Join ``image`` and ``mask`` embeddings, both (B, C, g, g, g); returns the same shape.

        Args:
            image: the image embedding.
            mask: the mask embedding.
            adapted: what :meth:`of_image` returned for the image, where that was kept.
        """
        p = self.add_norm2(mask.movedim(1, -1))
        i, updated = self.of_image(image) if adapted is None else adapted
        joined = self.image(i, updated, p) + i + self.prompt(p, self.prompt.updated(p), i) + p
        out = self.add_norm(self.multi_head_self_attention(joined) + joined)
        both: Tensor = out + self.mlp(out)
        return both.movedim(-1, 1)
