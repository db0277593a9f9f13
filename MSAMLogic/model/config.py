"""Every size of the M-SAM family in one dataclass, and the named networks of all systems."""

from __future__ import annotations

from dataclasses import dataclass

from MSAMLogic.errors import ModelError
from MSAMLogic.model.masksam.config import MaskSAMConfig
from MSAMLogic.model.network_config import NetworkConfig
from MSAMLogic.model.sam_adapter.config import SAMAdapterConfig


@dataclass(frozen=True)
class ModelConfig(NetworkConfig):
    """Sizes of one M-SAM network.

    The defaults are the published configuration (``vit_b_ori`` of SAM-Med3D with M-SAM's LoRA and
    mask-enhanced adapter): a 128³ patch in 16³-voxel tokens.

    Attributes:
        patch_size: voxels a side of the cubic input patch.
        token_size: voxels a side of one token; ``patch_size / token_size`` tokens a side.
        encoder_width: channels of the image encoder's tokens.
        encoder_depth: transformer blocks of the image encoder.
        encoder_heads: attention heads of each block.
        mlp_ratio: width of a block's MLP as a multiple of ``encoder_width``.
        window_size: tokens a side of an attention window; the token grid is padded up to it.
        global_blocks: indices of the blocks that attend without a window, hence without padding.
        embedding_width: channels of the image embedding, prompt tokens and decoder; a multiple of 24.
        lora_rank: rank of the low-rank update of query and value; 0 leaves it out.
        mask_enhanced_adapter: whether the adapter replaces ``image + mask embedding``.
        adapter_heads: attention heads of the adapter.
        decoder_depth: layers of the two-way transformer.
        decoder_heads: attention heads of the two-way transformer.
        decoder_mlp_width: hidden width of the two-way transformer's MLP.
        iou_head_width: hidden width of the head that estimates IoU.
        detail_width: channels at full patch resolution of the high-resolution branch; 0 leaves it out,
            as published.
        quality_width: hidden width of the head that estimates the IoU of the branch's answer; 0 leaves
            the estimate to the mask decoder, as published.
        corrector_width: channels at full resolution of the corrector, which keeps what a correcting click
            is not about; 0 leaves it out, as published.
        corrector_channels: how much the corrector sees: 20, or the 13 that the first ones saw.
        fusion_width: channels at full resolution of the network that makes one mask of the first looks; 0
            leaves it out, as published.
        all_clicks: whether a decode sees all clicks of the patch (SAM-Med3D) or the newest (M-SAM).
        spacings: millimetres a voxel at which the network may look at an image, ascending. The
            published networks know 1.5 mm only.
        first_spacing: the member of ``spacings`` used for the first look at a lesion.
        first_looks: members of ``spacings`` at which a lesion is looked at first; how steady its size is
            chooses among them. Empty: ``first_spacing`` alone.
        antialias: whether a patch coarser than the image averages over its voxels.
    """

    patch_size: int = 128
    token_size: int = 16
    encoder_width: int = 768
    encoder_depth: int = 12
    encoder_heads: int = 12
    mlp_ratio: float = 4.0
    window_size: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    embedding_width: int = 384
    lora_rank: int = 4
    mask_enhanced_adapter: bool = True
    adapter_heads: int = 6
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp_width: int = 2048
    iou_head_width: int = 256
    detail_width: int = 0
    quality_width: int = 0
    corrector_width: int = 0
    corrector_channels: int = 13
    fusion_width: int = 0
    all_clicks: bool = False
    spacings: tuple[float, ...] = (1.5,)
    first_spacing: float = 1.5
    first_looks: tuple[float, ...] = ()
    antialias: bool = False

    def __post_init__(self) -> None:
        """Check that the sizes fit each other.

        Raises:
            ModelError: when a size does not divide another, or the tokens outgrow a window.
        """
        problems = []
        if self.patch_size % self.token_size:
            problems.append("patch_size must be a multiple of token_size")
        if self.encoder_width % self.encoder_heads:
            problems.append("encoder_width must be a multiple of encoder_heads")
        if self.embedding_width % 24 or self.embedding_width % self.adapter_heads:
            problems.append("embedding_width must be a multiple of 24 and of adapter_heads")
        if (self.embedding_width // 2) % self.decoder_heads:
            problems.append("half of embedding_width must be a multiple of decoder_heads")
        if self.grid_size > self.window_size and len(set(self.global_blocks)) < self.encoder_depth:
            problems.append("windowed blocks need the token grid to fit one window")
        if self.detail_width and self.patch_size != 2 * self.mask_size:
            problems.append("the detail branch needs patch_size to be twice the mask grid")
        if self.quality_width and not self.detail_width:
            problems.append("the quality head needs the detail branch")
        if self.corrector_width % 8:
            problems.append("corrector_width must be a multiple of 8")
        if self.corrector_channels not in (13, 20):
            problems.append("corrector_channels must be 13 or 20")
        if self.fusion_width % 8:
            problems.append("fusion_width must be a multiple of 8")
        if self.fusion_width and len(self.first_looks) not in (2, 3, 4):
            problems.append("a fusion needs two to four first_looks")
        if self.first_spacing not in self.spacings:
            problems.append("first_spacing must be one of spacings")
        if not set(self.first_looks) <= set(self.spacings):
            problems.append("first_looks must be members of spacings")
        if list(self.spacings) != sorted(self.spacings) or min(self.spacings, default=0) <= 0:
            problems.append("spacings must be positive and ascending")
        if problems:
            raise ModelError(f"This network configuration cannot be built: {'; '.join(problems)}.")

    @property
    def grid_size(self) -> int:
        """Tokens a side of the patch."""
        return self.patch_size // self.token_size

    @property
    def mask_size(self) -> int:
        """Voxels a side of the logits that the mask decoder answers with and takes as a prompt."""
        return 4 * self.grid_size


# The system that a weights file is for, as it is written in the file, and what describes its sizes.
SYSTEMS: dict[str, type[NetworkConfig]] = {
    "msam": ModelConfig,
    "3dsam-adapter": SAMAdapterConfig,
    "masksam": MaskSAMConfig,
}

CONFIGURATIONS: dict[str, NetworkConfig] = {
    "msam-vit-b": ModelConfig(),
    "sam-med3d-vit-b": ModelConfig(lora_rank=0, mask_enhanced_adapter=False, all_clicks=True),
    # The default weights: the same parts at laptop size. The lesion's size chooses the spacing, and a
    # high-resolution branch joins the upsampling, because one cell of the mask grid of a 128³ patch at
    # 1.5 mm is a whole 6 mm nodule.
    "msam-compact": ModelConfig(
        patch_size=64,
        token_size=8,
        encoder_width=192,
        encoder_depth=6,
        encoder_heads=3,
        global_blocks=(0, 1, 2, 3, 4, 5),
        embedding_width=192,
        lora_rank=0,
        adapter_heads=3,
        decoder_heads=6,
        decoder_mlp_width=512,
        iou_head_width=128,
        detail_width=8,
        quality_width=64,
        all_clicks=True,
        spacings=(0.375, 0.53, 0.75, 1.06, 1.5, 2.12, 3.0, 4.24, 6.0),
        first_spacing=1.5,
        first_looks=(0.75, 1.5, 3.0, 4.24),
        antialias=True,
    ),
    "masksam": MaskSAMConfig(),
    "3dsam-adapter": SAMAdapterConfig(),
}
