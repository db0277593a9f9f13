"""MaskSAM as a whole: a patch to masks with classes, and these to a probability of each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.errors import ModelError
from MSAMLogic.model.masksam.config import MaskSAMConfig
from MSAMLogic.model.masksam.image_encoder import ImageEncoder
from MSAMLogic.model.masksam.input_block import InputBlock
from MSAMLogic.model.masksam.mask_decoder import MaskDecoder
from MSAMLogic.model.masksam.prompt_encoder import PromptEncoder
from MSAMLogic.model.masksam.prompt_generator import PromptGenerator
from MSAMLogic.model.masksam.published import is_frozen, load_sam
from MSAMLogic.model.network import Network


class ImageFeatures(NamedTuple):
    """What the image encoder gives.

    Attributes:
        embedding: (B, C, D, g, g).
        blocks: of each global block (B, encoder_width, D, g, g), the shallowest first.
    """

    embedding: Tensor
    blocks: tuple[Tensor, ...]


class ClassMasks(NamedTuple):
    """N masks with classes for each of the D slices of a patch; n is ``patch_size``, K the classes.

    Attributes:
        class_logits: (B, D, N, K + 2): background, the classes, and last no object.
        mask_logits: (B, D, N, n, n), positive inside.
        boxes: (B, D, N, 4), see :mod:`MSAMLogic.model.masksam.boxes`.
        auxiliary_mask_logits: (B, D, N, n, n), the prompt generator's.
        auxiliary_boxes: (B, D, N, 4), the prompt generator's.
    """

    class_logits: Tensor
    mask_logits: Tensor
    boxes: Tensor
    auxiliary_mask_logits: Tensor
    auxiliary_boxes: Tensor


class MaskSAM(Network):
    """SAM without clicks: it proposes what to segment itself, and says which class it is.

    Patches are normalised, shape (B, 1, n, n, D), axes (R, A, S). SAM sees each of the D slices as an image
    whose rows run along R and columns along A; adapters join the slices. Everything that SAM's checkpoints
    hold is frozen, also in training mode (SAM has no layer that acts differently in it).

    Args:
        config: sizes.
    """

    def __init__(self, config: MaskSAMConfig) -> None:
        super().__init__()
        self.config: MaskSAMConfig = config
        self.input_block = InputBlock(config.upsampling)
        self.image_encoder = ImageEncoder(config)
        self.prompt_generator = PromptGenerator(config)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not is_frozen(name))

    @property
    def capabilities(self) -> Capabilities:
        """What the network takes and gives: no clicks, and classes."""
        config = self.config
        return Capabilities(
            config.patch_size,
            config.mask_size,
            (config.spacing[0],),
            config.spacing[0],
            takes_clicks=False,
            background_clicks=False,
            classes=config.classes,
            slices=config.slices,
            slice_spacing=config.spacing[2],
        )

    def look(self, patch: Tensor) -> ImageFeatures:
        """Return the image features of a patch (B, 1, n, n, D).

        Raises:
            ModelError: when the shape is another.
        """
        expected = (1, *self.config.patch_shape)
        if patch.ndim != 5 or patch.shape[1:] != expected:
            raise ModelError(f"The patch has shape {tuple(patch.shape)}; give (batch, {expected}).")
        return ImageFeatures(*self.image_encoder(self.input_block(patch.movedim(-1, 2))))

    def answer(self, features: Any, coords: Tensor, labels: Tensor, mask_logits: Tensor) -> NoReturn:
        """Refuse: there are no clicks.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            "MaskSAM takes no clicks; let it propose lesions ('msam propose'), and refine them with another "
            "model."
        )

    def segment_classes(self, patch: Tensor) -> ClassMasks:
        """Return masks with classes of a patch (B, 1, n, n, D).

        Raises:
            ModelError: when the shape is another.
        """
        features = self.look(patch)
        prompts = self.prompt_generator(*features)
        inside = (prompts.mask_logits.detach() > 0).to(prompts.mask_logits.dtype)
        dense = self.prompt_encoder.encode_masks(inside)
        classes, masks, boxes = self.mask_decoder(
            features.embedding.transpose(1, 2),
            dense,
            self.prompt_encoder.dense_positions(),
            self.prompt_encoder.encode_boxes(prompts.boxes),
            prompts.class_tokens,
        )
        return ClassMasks(
            classes, self._enlarged(masks), boxes, self._enlarged(prompts.mask_logits), prompts.boxes
        )

    def classify(self, patch: Tensor) -> Tensor:
        """Return probabilities (B, K + 1, n, n, D) of background and the classes for a patch (B, 1, n, n, D).

        Raises:
            ModelError: when the shape is another.
        """
        masks = self.segment_classes(patch)
        return class_probabilities(masks.class_logits, masks.mask_logits)

    def load_published_state_dict(self, state: Mapping[str, Any], partial: bool = False) -> list[str]:
        """Fill the frozen parts with SAM's weights; see :func:`published.load_sam`."""
        return load_sam(self, state, partial)

    def load_sam_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Fill the frozen parts with SAM's weights, which are all that is published."""
        return load_sam(self, state)

    def _enlarged(self, masks: Tensor) -> Tensor:
        """Return mask logits (B, D, N, m, m) at the patch's resolution."""
        size = (self.config.patch_size,) * 2
        fine = nn.functional.interpolate(masks.float().flatten(0, 1), size=size, mode="bilinear")
        return fine.reshape(*masks.shape[:3], *size)


def class_probabilities(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Return what masks with classes say of each voxel, by Mask2Former's marginalisation.

    A class gains from each mask its probability there, no object left out; in the end the sums of a voxel
    are divided by their total. The class of the largest sum is unchanged by that.

    Args:
        class_logits: (B, D, N, K + 2).
        mask_logits: (B, D, N, n, n).

    Returns:
        (B, K + 1, n, n, D): background and the classes.
    """
    certainty = class_logits.float().softmax(dim=-1)[..., :-1]
    inside = mask_logits.float().sigmoid()
    with torch.autocast(inside.device.type, enabled=False):  # few bits would make ties
        sums = torch.einsum("bdqc,bdqhw->bchwd", certainty, inside)
    return sums / sums.sum(dim=1, keepdim=True).clamp(min=torch.finfo(sums.dtype).tiny)
