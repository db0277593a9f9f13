"""Every size of a 3DSAM-adapter, and the normalisations that it was trained with."""

from __future__ import annotations

from dataclasses import dataclass

from MSAMLogic.capabilities import IntensityRange
from MSAMLogic.errors import ModelError
from MSAMLogic.model.network_config import NetworkConfig

LEVELS = 4  # of features that the decoder joins

# Hounsfield units of each data set that the authors trained on, one network each: the release's
# dataset/datasets.py (the numbers of the paper's appendix).
INTENSITIES: dict[str, IntensityRange] = {
    "kits": IntensityRange(-54.0, 247.0, 59.53867, 55.457336),
    "pancreas": IntensityRange(-39.0, 204.0, 68.45214, 63.422806),
    "lits": IntensityRange(-48.0, 163.0, 60.057533, 40.198017),
    "colon": IntensityRange(-57.0, 175.0, 65.175035, 32.651197),
}


@dataclass(frozen=True)
class SAMAdapterConfig(NetworkConfig):
    """Sizes of one 3DSAM-adapter; the defaults are the release's, made from SAM's ViT-B.

    Attributes:
        patch_size: voxels a side of the cubic input patch.
        enlargement: times that the patch is enlarged before SAM's patch embedding, so that it is as large
            as a photograph: 128 voxels become 512.
        token_size: pixels a side, and slices, of the enlarged patch in one token.
        position_table: cells a side of SAM's position table, which is averaged down to the token grid.
        encoder_width: channels of the image encoder's tokens.
        encoder_depth: transformer blocks, a multiple of the four levels.
        encoder_heads: attention heads of each block.
        mlp_ratio: width of a block's MLP as a multiple of ``encoder_width``.
        window_size: tokens a side of the cubic attention windows.
        sam_window_size: tokens a side of SAM's own windows; says only how long its tables of relative
            positions are.
        global_blocks: indices of the blocks that attend globally in SAM, whose tables are longer. Here they
            attend in windows like all others.
        embedding_width: channels of each of the four levels.
        neck_convolutions: whether a level passes a second convolution, as in the release's class
            ``ImageEncoderViT_3d_v2`` that its ``train.py`` and ``test.py`` name, or not, as in its
            ``ImageEncoderViT_3d``.
        queries: learnt global queries of each layer of a prompt encoder.
        prompt_depth: layers of a prompt encoder.
        prompt_heads: attention heads of its layers.
        prompt_mlp_width: hidden width of their MLPs.
        decoder_width: channels of each level in the decoder.
        intensity: the data set, a key of :data:`INTENSITIES`, whose normalisation the weights expect.
        spacing: millimetres a voxel of a patch; 1 for all data sets of the release.
    """

    enlargement: int = 4
    token_size: int = 16
    position_table: int = 64
    encoder_width: int = 768
    encoder_depth: int = 12
    encoder_heads: int = 12
    mlp_ratio: float = 4.0
    window_size: int = 8
    sam_window_size: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    embedding_width: int = 256
    neck_convolutions: bool = False
    queries: int = 10
    prompt_depth: int = 2
    prompt_heads: int = 8
    prompt_mlp_width: int = 2048
    decoder_width: int = 128
    intensity: str = "kits"
    spacing: float = 1.0

    def __post_init__(self) -> None:
        """Check that the sizes fit each other.

        Raises:
            ModelError: when a size does not divide another, or there is no such intensity.
        """
        problems = []
        if self.token_size % (2 * self.enlargement):
            problems.append("token_size must be a multiple of twice the enlargement")
        elif self.patch_size % self.voxels_per_token:
            problems.append("patch_size must be a whole number of tokens")
        elif self.position_table % self.grid_size:
            problems.append("position_table must be a multiple of the tokens a side")
        elif self.grid_size % self.window_size:
            problems.append("the tokens a side must be a multiple of window_size")
        if self.window_size % 2:
            problems.append("window_size must be even")
        if self.encoder_depth % LEVELS:
            problems.append(f"encoder_depth must be a multiple of {LEVELS}")
        if self.encoder_width % (2 * self.encoder_heads):
            problems.append("encoder_width must be a multiple of twice encoder_heads")
        if self.embedding_width % (2 * self.prompt_heads):
            problems.append("embedding_width must be a multiple of twice prompt_heads")
        if self.intensity not in INTENSITIES:
            problems.append(f"intensity must be one of {', '.join(INTENSITIES)}")
        if not self.spacing > 0:
            problems.append("spacing must be positive")
        if problems:
            raise ModelError(f"This network configuration cannot be built: {'; '.join(problems)}.")

    @property
    def voxels_per_token(self) -> int:
        """Voxels a side of the patch in one token."""
        return self.token_size // self.enlargement

    @property
    def grid_size(self) -> int:
        """Tokens a side of the patch."""
        return self.patch_size // self.voxels_per_token
