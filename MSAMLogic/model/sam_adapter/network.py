"""3DSAM-adapter as a whole: look at a patch once, answer its clicks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.errors import ModelError
from MSAMLogic.model.network import Network
from MSAMLogic.model.sam_adapter.checkpoints import load_release, load_sam
from MSAMLogic.model.sam_adapter.config import INTENSITIES, LEVELS, SAMAdapterConfig
from MSAMLogic.model.sam_adapter.image_encoder import ImageEncoder
from MSAMLogic.model.sam_adapter.mask_decoder import MaskDecoder
from MSAMLogic.model.sam_adapter.prompt_encoder import PromptEncoder


class AdapterFeatures(NamedTuple):
    """What is computed once a patch; axes (row, column, slice) = (A, R, S).

    Attributes:
        deepest: (B, C, g, g, g), the level that the points are worked into.
        unprompted: (B, width, 2g, 2g, 2g), what the other levels and the patch give to the decoder.
    """

    deepest: Tensor
    unprompted: Tensor


class SAMAdapter(Network):
    """The network of 3DSAM-adapter: clicks for the lesion, all at once, to a mask.

    The release cuts SAM's 2D tokens from the slices of a scan as it is stored, axial ones: its arrays are
    (S, A, R). Patches and clicks are (R, A, S) here as for every network, and are turned inside.

    The network has no input for clicks against the lesion, takes no mask prompt and estimates no IoU.

    Args:
        config: sizes.
    """

    config: SAMAdapterConfig

    def __init__(self, config: SAMAdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoders = nn.ModuleList(PromptEncoder(config) for _ in range(LEVELS))
        self.mask_decoder = MaskDecoder(config)
        # The release's checkpoints hold one for each level, and only the last is ever used.
        self.prompt_encoders[:-1].requires_grad_(False)

    @property
    def capabilities(self) -> Capabilities:
        """What the network takes and gives."""
        config = self.config
        return Capabilities(
            config.patch_size,
            config.grid_size,
            (config.spacing,),
            config.spacing,
            all_clicks=True,
            background_clicks=False,
            intensity=INTENSITIES[config.intensity],
        )

    def look(self, patch: Tensor) -> AdapterFeatures:
        """Return all that is computed once a patch (B, 1, n, n, n), axes (R, A, S).

        Raises:
            ModelError: when the shape is another.
        """
        n = self.config.patch_size
        if patch.ndim != 5 or patch.shape[1:] != (1, n, n, n):
            raise ModelError(f"The patch has shape {tuple(patch.shape)}; give (batch, 1, {n}, {n}, {n}).")
        cells = patch.transpose(2, 3)
        *others, deepest = self.image_encoder(cells)
        return AdapterFeatures(deepest, self.mask_decoder.unprompted(others, cells))

    def class_logits(self, features: AdapterFeatures, coords: Tensor) -> Tensor:
        """Return the logits of background and lesion, (B, 2, n, n, n), axes (R, A, S).

        Args:
            features: what :meth:`look` returned.
            coords: (B, N, 3) points in patch voxels, axes (R, A, S).

        Raises:
            ModelError: when the points have another shape, or there are none.
        """
        return self.mask_decoder.at_patch_size(self._classes(features, coords)).transpose(2, 3)

    def lesion_logits(self, features: AdapterFeatures, coords: Tensor) -> Tensor:
        """Return lesion minus background, (B, 1, n, n, n); arguments and errors as :meth:`class_logits`.

        The softmax of the two classes is the sigmoid of this, and it is positive where lesion is larger.
        """
        background, lesion = self._classes(features, coords).chunk(2, dim=1)
        return self.mask_decoder.at_patch_size(lesion - background).transpose(2, 3)

    def answer(
        self, features: AdapterFeatures, coords: Tensor, labels: Tensor, mask_logits: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, 1, n, n, n), next mask prompt (B, 1, g, g, g) and 1.0 in place of an IoU (B, 1).

        Args:
            features: what :meth:`look` returned.
            coords: (B, N, 3) clicks in patch voxels.
            labels: (B, N) of 1: the network takes clicks for the lesion only.
            mask_logits: ignored, the network has no such input. What is returned as the next one is the
                answer averaged over tokens, so that a session can say where the lesion goes on.

        Raises:
            ModelError: when the clicks have another shape, there are none, or one is against the lesion.
        """
        if labels.shape != coords.shape[:2] or bool((labels != 1).any()):
            raise ModelError(
                "3DSAM-adapter takes clicks for the lesion only; give labels of 1, one for each click."
            )
        logits = self.lesion_logits(features, coords)
        prompt = nn.functional.avg_pool3d(logits, self.config.voxels_per_token)
        # Certainty is no estimate of overlap, so none is made up; 1 is what a look without one has.
        return logits, prompt, torch.ones(len(logits), 1, device=logits.device)

    def load_published_state_dict(self, state: Mapping[str, Any], partial: bool = False) -> list[str]:
        """Fill the network from a checkpoint of the release; see :func:`checkpoints.load_release`."""
        return load_release(self, state, partial)

    def load_sam_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Start from SAM's own 2D weights; see :func:`checkpoints.load_sam`."""
        return load_sam(self, state)

    def _classes(self, features: AdapterFeatures, coords: Tensor) -> Tensor:
        """Return both classes' logits (B, 2, 2g, 2g, 2g), axes (A, R, S)."""
        batch = len(features.deepest)
        if coords.ndim != 3 or coords.shape[::2] != (batch, 3) or not coords.shape[1]:
            raise ModelError(
                f"Clicks have shape {tuple(coords.shape)}; give coordinates ({batch}, N, 3), at least one."
            )
        # Voxels (R, A, S) as (slice, column, row).
        prompted = self.prompt_encoders[-1](features.deepest, coords[..., [2, 0, 1]])
        logits: Tensor = self.mask_decoder(prompted, features.unprompted)
        return logits
