"""SAM's two-way transformer and mask heads in 3D: prompts and image embedding to mask logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MSAMLogic.model.config import ModelConfig
from MSAMLogic.model.doubling import Doubling3d
from MSAMLogic.model.layers import ChannelLayerNorm, TransformerMLP

MASK_TOKENS = 4


class DownsampledAttention(nn.Module):
    """Multi-head attention whose inner width is a fraction of its outer width.

    Args:
        width: channels of query, key, value and output.
        heads: attention heads.
        downsampling: ``width`` divided by the inner width.
    """

    def __init__(self, width: int, heads: int, downsampling: int = 1) -> None:
        super().__init__()
        inner = width // downsampling
        self.heads = heads
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from (B, Q, C) to (B, K, C); returns (B, Q, C)."""
        q, k, v = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.out_proj(out.transpose(1, 2).flatten(2))
        return projected


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves, tokens to image, an MLP on the tokens, image to tokens."""

    def __init__(self, config: ModelConfig, first: bool) -> None:
        super().__init__()
        width, heads = config.embedding_width, config.decoder_heads
        self.first = first
        self.self_attn = DownsampledAttention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = DownsampledAttention(width, heads, 2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = TransformerMLP(width, config.decoder_mlp_width, nn.ReLU)
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = DownsampledAttention(width, heads, 2)

    def forward(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update tokens (B, T, C) and image cells (B, g³, C)."""
        if self.first:  # the first layer has no residual and no positions: the tokens are the positions
            tokens = self.norm1(self.self_attn(tokens, tokens, tokens))
        else:
            q = tokens + token_pe
            tokens = self.norm1(tokens + self.self_attn(q, q, tokens))
        keys = image + image_pe
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_pe, keys, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(keys, tokens + token_pe, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """A stack of two-way blocks and a last attention from the tokens to the image."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.layers = nn.ModuleList(TwoWayBlock(config, index == 0) for index in range(config.decoder_depth))
        self.final_attn_token_to_image = DownsampledAttention(width, config.decoder_heads, 2)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, image: Tensor, image_pe: Tensor) -> tuple[Tensor, Tensor]:
        """Map tokens (B, T, C) and image cells (B, g³, C) to the same shapes."""
        token_pe = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe)
        attended = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final_attn(tokens + attended), image


class HeadMLP(nn.Module):
    """Three linear layers with ReLU between (hypernetworks and IoU head)."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            (nn.Linear(width, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, out))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width) to (B, out)."""
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        out: Tensor = self.layers[-1](x)
        return out


class MaskDecoder(nn.Module):
    """Predict the mask from the (adapted) image embedding and the click embeddings.

    Args:
        config: sizes; the defaults are the published 7,575,636 parameters. Mask tokens 1 to 3 are in the
            checkpoint and never read: token 0 is the answer.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.transformer = TwoWayTransformer(config)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, width)
        self.output_upscaling = nn.Sequential(
            Doubling3d(width, width // 4),
            ChannelLayerNorm(width // 4),
            nn.GELU(),
            Doubling3d(width // 4, width // 8),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            HeadMLP(width, width, width // 8) for _ in range(MASK_TOKENS)
        )
        self.iou_prediction_head = HeadMLP(width, config.iou_head_width, MASK_TOKENS)

    def forward(self, image: Tensor, image_pe: Tensor, sparse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decode one answer.

        Args:
            image: (B, C, g, g, g) embedding with the mask prompt already joined.
            image_pe: (1, C, g, g, g) position encoding of its cells.
            sparse: (B, T, C) click embeddings.

        Returns:
            Logits (B, 1, 4g, 4g, 4g), estimated IoU (B, 1) and the upscaled features
            (B, C / 8, 4g, 4g, 4g) that the logits were read from.
        """
        batch, grid = image.shape[0], image.shape[2:]
        heads = torch.cat((self.iou_token.weight, self.mask_tokens.weight))
        tokens = torch.cat((heads.expand(batch, -1, -1).to(sparse.dtype), sparse), dim=1)
        tokens, cells = self.transformer(
            tokens, image.flatten(2).transpose(1, 2), image_pe.flatten(2).transpose(1, 2)
        )
        features: Tensor = self.output_upscaling(cells.transpose(1, 2).unflatten(2, grid))
        weights = self.output_hypernetworks_mlps[0](tokens[:, 1])
        logits = torch.einsum("bc,bcdhw->bdhw", weights, features).unsqueeze(1)
        return logits, self.iou_prediction_head(tokens[:, 0])[:, :1], features
