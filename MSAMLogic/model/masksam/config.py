"""The sizes of a MaskSAM."""

from __future__ import annotations

import math
from dataclasses import dataclass

from MSAMLogic.errors import ModelError
from MSAMLogic.model.network_config import NetworkConfig


@dataclass(frozen=True)
class MaskSAMConfig(NetworkConfig):
    """Sizes of one MaskSAM; the defaults are SAM ViT-B with 91 M frozen and 14 M trained parameters.

    Patches have shape (n, n, slices), axes (R, A, S): the third axis is depth, and each of its slices is an
    image to SAM.

    Attributes:
        classes: names of the labels 1, 2, ...; 0 is background, which has a class of its own.
        queries: masks that compete for the classes in each slice, N.
        slices: voxels of a patch along depth.
        patch_size: voxels a side of a slice, n.
        upsampling: how much finer than a slice the image is that SAM sees; 1, 2, 4, ...
        spacing: millimetres a voxel along (R, A, S) at which an image is looked at.
        token_size: pixels a side of one of SAM's tokens.
        encoder_width: channels of the image encoder's tokens.
        encoder_depth: transformer blocks of the image encoder.
        encoder_heads: attention heads of each block.
        mlp_ratio: width of a block's MLP as a multiple of ``encoder_width``.
        window_size: tokens a side of an attention window.
        global_blocks: indices of the blocks that attend without a window; the prompt generator reads the
            features behind them.
        embedding_width: channels of image embedding, prompts and decoder, a square number.
        decoder_depth: layers of the two-way transformer.
        decoder_heads: attention heads of the two-way transformer.
        decoder_mlp_width: hidden width of the two-way transformer's MLP.
        iou_head_width: hidden width of SAM's head that estimates IoU, which is kept and never read.
        generator_width: channels of the prompt generator. The authors' code has 64 to 256; 112 makes
            the trained parameters the 14 M of the paper's Table 5.
    """

    classes: tuple[str, ...] = ("lesion",)
    queries: int = 8
    slices: int = 8
    patch_size: int = 256
    upsampling: int = 2
    spacing: tuple[float, float, float] = (1.5, 1.5, 3.0)
    token_size: int = 16
    encoder_width: int = 768
    encoder_depth: int = 12
    encoder_heads: int = 12
    mlp_ratio: float = 4.0
    window_size: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    embedding_width: int = 256
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp_width: int = 2048
    iou_head_width: int = 256
    generator_width: int = 112

    def __post_init__(self) -> None:
        """Check that the sizes fit each other.

        Raises:
            ModelError: when they do not.
        """
        problems = []
        if not self.classes or len(set(self.classes)) < len(self.classes):
            problems.append("classes must be one or more different names")
        if self.queries < len(self.classes) + 1:
            problems.append("queries must be enough for all classes and the background")
        if self.slices < 1:
            problems.append("slices must be positive")
        if len(self.spacing) != 3 or min(self.spacing) <= 0 or self.spacing[0] != self.spacing[1]:
            problems.append("spacing must be three positive numbers, the first two equal")
        if self.upsampling < 1 or self.upsampling & (self.upsampling - 1):
            problems.append("upsampling must be a power of two")
        if self.image_size % self.token_size:
            problems.append("patch_size times upsampling must be a multiple of token_size")
        if self.encoder_width % self.encoder_heads or self.encoder_width % 4:
            problems.append("encoder_width must be a multiple of encoder_heads and of 4")
        if self.embedding_width % 8 or (self.embedding_width // 2) % self.decoder_heads:
            problems.append("embedding_width must be a multiple of 8 and its half of decoder_heads")
        if math.isqrt(self.embedding_width) ** 2 != self.embedding_width:
            problems.append("embedding_width must be a square number")
        if len(self.global_blocks) < 2 or not set(self.global_blocks) <= set(range(self.encoder_depth)):
            problems.append("global_blocks must be at least two of the blocks")
        if problems:
            raise ModelError(f"This network configuration cannot be built: {'; '.join(problems)}.")

    @property
    def image_size(self) -> int:
        """Pixels a side of the image that SAM sees."""
        return self.patch_size * self.upsampling

    @property
    def grid_size(self) -> int:
        """Tokens a side of a slice, g."""
        return self.image_size // self.token_size

    @property
    def mask_size(self) -> int:
        """Pixels a side of mask prompts and decoded masks, m."""
        return 4 * self.grid_size

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        """Voxels of a patch along (R, A, S)."""
        return (self.patch_size, self.patch_size, self.slices)
