"""SAM's mask decoder, frozen, with adapters, a classifier token and heads for class and box.

Module names are those of SAM's checkpoints; adapters, ``class_token``, ``class_head`` and ``box_head`` are
MaskSAM's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from MSAMLogic.model.layers import ChannelLayerNorm, TransformerMLP
from MSAMLogic.model.mask_decoder import MASK_TOKENS, DownsampledAttention, HeadMLP
from MSAMLogic.model.masksam.adapters import DConvAdapter, DMLPAdapter
from MSAMLogic.model.masksam.config import MaskSAMConfig
from MSAMLogic.model.masksam.prompt_generator import learnt_boxes

_PARALLEL_SCALE = 0.5  # of the adapter beside an MLP, in the authors' code


class Shape(NamedTuple):
    """How the batch axis of the decoder, patch by slice by query, unfolds: (B, D, N)."""

    batch: int
    slices: int
    queries: int


class AdaptedTwoWayBlock(nn.Module):
    """SAM's two-way block with a DMLPAdapter behind both attentions of the tokens and beside their MLP.

    A DConvAdapter follows the attention of the image.

    Args:
        config: sizes.
        first: whether it is the first block, which has no residual and no positions.
    """

    def __init__(self, config: MaskSAMConfig, first: bool) -> None:
        super().__init__()
        width, heads, slices = config.embedding_width, config.decoder_heads, config.slices
        self.first = first
        self.grid = config.grid_size
        self.self_attn = DownsampledAttention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = DownsampledAttention(width, heads, 2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = TransformerMLP(width, config.decoder_mlp_width, nn.ReLU)
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = DownsampledAttention(width, heads, 2)
        self.self_attention_adapter = DMLPAdapter(width, slices, skip=True)
        self.token_attention_adapter = DMLPAdapter(width, slices, skip=True)
        self.mlp_adapter = DMLPAdapter(width, slices, skip=False)
        self.image_attention_adapter = DConvAdapter(width, skip=True)

    def forward(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor, shape: Shape
    ) -> tuple[Tensor, Tensor]:
        """Update tokens (B·D·N, T, C) and image cells (B·D·N, g², C)."""
        if self.first:
            attended = self.self_attn(tokens, tokens, tokens)
            tokens = self.norm1(adapted(self.self_attention_adapter, attended, shape))
        else:
            q = tokens + token_pe
            attended = self.self_attn(q, q, tokens)
            tokens = self.norm1(tokens + adapted(self.self_attention_adapter, attended, shape))
        keys = image + image_pe
        attended = self.cross_attn_token_to_image(tokens + token_pe, keys, image)
        tokens = self.norm2(tokens + adapted(self.token_attention_adapter, attended, shape))
        beside = adapted(self.mlp_adapter, tokens, shape)
        tokens = self.norm3(tokens + self.mlp(tokens) + _PARALLEL_SCALE * beside)
        attended = self.cross_attn_image_to_token(keys, tokens + token_pe, tokens)
        image = self.norm4(image + self._adapt_image(attended, shape))
        return tokens, image

    def _adapt_image(self, cells: Tensor, shape: Shape) -> Tensor:
        """Adapt image cells (B·D·N, g², C), the slices of each query as a volume."""
        volumes = cells.reshape(*shape, self.grid, self.grid, -1).transpose(1, 2)
        out: Tensor = self.image_attention_adapter(volumes.flatten(0, 1))
        return out.reshape(volumes.shape).transpose(1, 2).reshape(cells.shape)


def adapted(adapter: DMLPAdapter, tokens: Tensor, shape: Shape) -> Tensor:
    """Adapt tokens (B·D·N, T, C) over the slices of each query."""
    out: Tensor = adapter(tokens.reshape(*shape, *tokens.shape[1:]))
    return out.flatten(0, 2)


class AdaptedTwoWayTransformer(nn.Module):
    """A stack of adapted two-way blocks and a last, adapted attention from the tokens to the image."""

    def __init__(self, config: MaskSAMConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.layers = nn.ModuleList(
            AdaptedTwoWayBlock(config, index == 0) for index in range(config.decoder_depth)
        )
        self.final_attn_token_to_image = DownsampledAttention(width, config.decoder_heads, 2)
        self.norm_final_attn = nn.LayerNorm(width)
        self.final_attention_adapter = DMLPAdapter(width, config.slices, skip=True)

    def forward(self, tokens: Tensor, image: Tensor, image_pe: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        """Map tokens (B·D·N, T, C) and image cells (B·D·N, g², C) to the same shapes."""
        token_pe = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe, shape)
        attended = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        tokens = tokens + adapted(self.final_attention_adapter, attended, shape)
        return self.norm_final_attn(tokens), image


class MaskDecoder(nn.Module):
    """From prompts to masks, classes and boxes, each query of each slice for itself but for the adapters.

    Of SAM's heads, mask token 0 answers; the tokens for ambiguous prompts and the estimate of the IoU are in
    the checkpoint and never read. The box head, three layers on the mask token, has no counterpart in the
    authors' model, whose criterion has the loss of the final boxes but whose trainers leave it off.

    Args:
        config: sizes.
    """

    def __init__(self, config: MaskSAMConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.transformer = AdaptedTwoWayTransformer(config)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2),
            ChannelLayerNorm(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            HeadMLP(width, width, width // 8) for _ in range(MASK_TOKENS)
        )
        self.iou_prediction_head = HeadMLP(width, config.iou_head_width, MASK_TOKENS)
        self.class_token = nn.Embedding(1, width)
        self.class_head = nn.Linear(width, len(config.classes) + 2)
        self.box_head = HeadMLP(width, width, 4)

    def forward(
        self, image: Tensor, dense: Tensor, positions: Tensor, sparse: Tensor, class_tokens: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode all queries of all slices.

        Args:
            image: (B, D, C, g, g) embedding.
            dense: (B, D, N, C, g, g) embedding of the mask prompts.
            positions: (D, C, g, g) of the image cells.
            sparse: (B, D, N, 2, C) tokens of the boxes.
            class_tokens: (B, D, N, C) of the generator; the global one is added to them.

        Returns:
            Class logits (B, D, N, K + 2): background, the classes, no object; mask logits
            (B, D, N, m, m); boxes (B, D, N, 4).
        """
        shape = Shape(*dense.shape[:3])
        grid = dense.shape[-2:]
        heads = torch.cat((self.iou_token.weight, self.mask_tokens.weight)).to(sparse.dtype)
        classifier = (self.class_token.weight + class_tokens.unsqueeze(3)).to(sparse.dtype)
        tokens = torch.cat((heads.expand(*shape, -1, -1), sparse, classifier), dim=3).flatten(0, 2)
        cells = (image.unsqueeze(2) + dense).flatten(0, 2).flatten(2).transpose(1, 2)
        places = positions.flatten(2).transpose(1, 2)[None, :, None].expand(*shape, -1, -1).flatten(0, 2)
        tokens, cells = self.transformer(tokens, cells, places, shape)
        features = self.output_upscaling(cells.transpose(1, 2).unflatten(2, grid))
        mask_token = tokens[:, 1]
        masks = torch.einsum("bc,bchw->bhw", self.output_hypernetworks_mlps[0](mask_token), features)
        classes: Tensor = self.class_head(tokens[:, -1])
        boxes = learnt_boxes(self.box_head(mask_token).sigmoid())
        return classes.reshape(*shape, -1), masks.reshape(*shape, *masks.shape[1:]), boxes.reshape(*shape, -1)
