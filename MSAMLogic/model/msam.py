"""M-SAM as a whole: encode a patch once, decode it after every click."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.errors import ModelError
from MSAMLogic.model.checkpoints import load_published
from MSAMLogic.model.config import ModelConfig
from MSAMLogic.model.corrector import CorrectionTensors, Corrector
from MSAMLogic.model.detail_branch import DetailBranch, ImageDetail
from MSAMLogic.model.image_encoder import ImageEncoder
from MSAMLogic.model.look_fusion import FirstLookTensors, LookFusion
from MSAMLogic.model.mask_decoder import MaskDecoder
from MSAMLogic.model.mask_enhanced_adapter import AdaptedImage, MaskEnhancedAdapter
from MSAMLogic.model.network import Network
from MSAMLogic.model.prompt_encoder import PromptEncoder
from MSAMLogic.model.resampling import halved


class PatchFeatures(NamedTuple):
    """What is computed once a patch.

    Attributes:
        embedding: (B, C, g, g, g) image embedding.
        detail: what the high-resolution branch sees of the image; None where the network has none.
        adapted: what the mask-enhanced adapter makes of the image alone; None where it is to be computed with
            each answer, or the network has no adapter.
    """

    embedding: Tensor
    detail: ImageDetail | None = None
    adapted: AdaptedImage | None = None


class Segmentation(NamedTuple):
    """The answer to the clicks so far.

    Attributes:
        logits: (B, 1, n, n, n) at patch resolution; positive is lesion.
        mask_logits: (B, 1, m, m, m), the mask prompt of the next click.
        iou: (B, 1), the network's own estimate of its IoU.
        decoder_logits: (B, 1, m, m, m), the mask decoder's answer before any high-resolution branch.
    """

    logits: Tensor
    mask_logits: Tensor
    iou: Tensor
    decoder_logits: Tensor


class MSAM(Network):
    """One network of the family that :class:`ModelConfig` describes.

    Patches are normalised, shape (B, 1, n, n, n), axes (R, A, S); click coordinates are patch voxels
    in the same order.

    Args:
        config: sizes.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)
        self.mask_enhanced_adapter = MaskEnhancedAdapter(config) if config.mask_enhanced_adapter else None
        self.detail_branch = DetailBranch(config) if config.detail_width else None
        width, channels = config.corrector_width, config.corrector_channels
        self.corrector = Corrector(width, channels) if width else None
        self.look_fusion = LookFusion(config.fusion_width) if config.fusion_width else None
        # Convolutions at full resolution like channels last. The detail branch was trained in bfloat16.
        at_full_resolution = (self.detail_branch, self.corrector, self.look_fusion)
        self.channels_last = any(part is not None for part in at_full_resolution)
        self.trained_in_bfloat16 = self.detail_branch is not None
        if config.lora_rank:  # the published recipe trains the update and leaves the encoder as it is
            for parameter in self.image_encoder.parameters():
                parameter.requires_grad_(False)
            for _, parameter in self.adaptation_parameters():
                parameter.requires_grad_(True)

    @property
    def capabilities(self) -> Capabilities:
        """What the network takes and gives."""
        config = self.config
        return Capabilities(
            config.patch_size,
            config.mask_size,
            config.spacings,
            config.first_spacing,
            config.antialias,
            config.all_clicks,
            config.first_looks,
            corrects=self.corrector is not None,
            fused_looks=config.first_looks if self.look_fusion is not None else (),
        )

    def encode(self, patch: Tensor) -> Tensor:
        """Return the image embedding of ``patch``.

        Args:
            patch: (B, 1, n, n, n).

        Returns:
            (B, C, g, g, g); for the published sizes (B, 384, 8, 8, 8).

        Raises:
            ModelError: when the shape is another.
        """
        n = self.config.patch_size
        if patch.ndim != 5 or patch.shape[1:] != (1, n, n, n):
            raise ModelError(f"The patch has shape {tuple(patch.shape)}; give (batch, 1, {n}, {n}, {n}).")
        embedding: Tensor = self.image_encoder(patch)
        return embedding

    def decode(
        self, embedding: Tensor, coords: Tensor, labels: Tensor, mask_logits: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the mask decoder's answer: prompt encoder, adapter, decoder.

        Args:
            embedding: (B, C, g, g, g) from :meth:`encode`.
            coords: (B, N, 3) clicks in patch voxels.
            labels: (B, N) of 1 (lesion) and 0 (background).
            mask_logits: (B, 1, m, m, m) previous answer, zeros before the first; published m is 32.

        Returns:
            Logits (B, 1, m, m, m) and estimated IoU (B, 1).

        Raises:
            ModelError: when a shape is another.
        """
        logits, iou, _ = self._decode(PatchFeatures(embedding), coords, labels, mask_logits)
        return logits, iou

    def look(self, patch: Tensor) -> PatchFeatures:
        """Return all that is computed once a patch (B, 1, n, n, n)."""
        embedding = self.encode(patch)
        detail = None if self.detail_branch is None else self.detail_branch.encode(patch)
        adapter = self.mask_enhanced_adapter
        return PatchFeatures(embedding, detail, None if adapter is None else adapter.of_image(embedding))

    def segment(
        self, features: PatchFeatures, coords: Tensor, labels: Tensor, mask_logits: Tensor
    ) -> Segmentation:
        """Return the answer at patch resolution; arguments as for :meth:`decode`.

        Without a high-resolution branch this is the decoder's answer, upsampled trilinearly.

        Raises:
            ModelError: when a shape is another, or the features lack what :meth:`look` computes.
        """
        decoded, iou, upscaled = self._decode(features, coords, labels, mask_logits)
        if self.detail_branch is None:
            size = (self.config.patch_size,) * 3
            logits = nn.functional.interpolate(decoded.float(), size=size, mode="trilinear")
            return Segmentation(logits, decoded, iou, decoded)
        if features.detail is None:
            raise ModelError("The features lack those of the high-resolution branch; give what look returns.")
        logits, quality = self.detail_branch(features.detail, upscaled, decoded, mask_logits, coords, labels)
        next_prompt = halved(logits).clamp(-10, 10)
        return Segmentation(logits, next_prompt, iou if quality is None else quality, decoded)

    def answer(
        self, features: PatchFeatures, coords: Tensor, labels: Tensor, mask_logits: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what a session needs: logits (B, 1, r, r, r), next mask prompt (B, 1, m, m, m), IoU (B, 1).

        Arguments as for :meth:`segment`. Without a high-resolution branch the logits are the decoder's:
        trilinear upsampling is linear, so the session samples the decoder's grid directly.
        """
        if self.detail_branch is None:
            logits, iou, _ = self._decode(features, coords, labels, mask_logits)
            return logits, logits, iou
        answer = self.segment(features, coords, labels, mask_logits)
        return answer.logits, answer.mask_logits, answer.iou

    def correct(self, known: CorrectionTensors) -> Tensor:
        """See :meth:`Network.correct`."""
        if self.corrector is None:
            return super().correct(known)
        logits: Tensor = self.corrector(known)
        return logits

    def fuse(self, known: FirstLookTensors) -> Tensor:
        """See :meth:`Network.fuse`."""
        if self.look_fusion is None:
            return super().fuse(known)
        logits: Tensor = self.look_fusion(known)
        return logits

    def load_published_state_dict(self, state: Mapping[str, Any], partial: bool = False) -> list[str]:
        """Fill the network from a published checkpoint; see :func:`checkpoints.load_published`."""
        return load_published(self, state, partial)

    def adaptation_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield name and tensor of what M-SAM trains: LoRA, prompt encoder, decoder, adapter."""
        for name, parameter in self.named_parameters():
            if not name.startswith("image_encoder.") or ".lora." in name:
                yield name, parameter

    def _decode(
        self, features: PatchFeatures, coords: Tensor, labels: Tensor, mask_logits: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        config, embedding = self.config, features.embedding
        m, g, width = config.mask_size, config.grid_size, config.embedding_width
        batch = embedding.shape[0]
        if embedding.shape != (batch, width, g, g, g):
            raise ModelError(
                f"The embedding has shape {tuple(embedding.shape)}; give {(batch, width, g, g, g)}, as "
                "encode returns it."
            )
        if (
            coords.ndim != 3
            or coords.shape != (batch, coords.shape[1], 3)
            or labels.shape != coords.shape[:2]
        ):
            raise ModelError(
                f"Clicks have shapes {tuple(coords.shape)} and {tuple(labels.shape)}; give "
                f"coordinates ({batch}, N, 3) and labels ({batch}, N)."
            )
        if mask_logits.shape != (batch, 1, m, m, m):
            raise ModelError(
                f"The mask prompt has shape {tuple(mask_logits.shape)}; give {(batch, 1, m, m, m)}."
            )
        sparse, dense = self.prompt_encoder(coords, labels, mask_logits)
        if self.mask_enhanced_adapter is None:
            joined = embedding + dense
        else:
            joined = self.mask_enhanced_adapter(embedding, dense, features.adapted)
        logits, iou, upscaled = self.mask_decoder(joined, self.prompt_encoder.dense_positions(), sparse)
        return logits, iou, upscaled
