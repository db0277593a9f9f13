"""What the networks of all papers have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.errors import ModelError
from MSAMLogic.model.corrector import CorrectionTensors
from MSAMLogic.model.look_fusion import FirstLookTensors


class Network(nn.Module, ABC):
    """A network that looks at a patch once and answers clicks in it.

    Patches are normalised, shape (B, 1, n, n, n), axes (R, A, S); click coordinates are patch voxels in
    the same order.

    Attributes:
        config: its sizes, a dataclass; ``to_dict()`` describes them, ``from_dict()`` of its class reads that.
        channels_last: whether it runs faster with channels as the last axis in memory.
        trained_in_bfloat16: whether bfloat16 keeps its answers.
    """

    config: Any
    channels_last: bool = False
    trained_in_bfloat16: bool = False

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What the network takes and gives."""

    @abstractmethod
    def look(self, patch: Tensor) -> Any:
        """Return all that is computed once a patch (B, 1, n, n, n): a tuple of tensors, maybe nested."""

    @abstractmethod
    def answer(
        self, features: Any, coords: Tensor, labels: Tensor, mask_logits: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, 1, r, r, r), next mask prompt (B, 1, m, m, m) and estimated IoU (B, 1).

        Args:
            features: what :meth:`look` returned.
            coords: (B, N, 3) clicks in patch voxels.
            labels: (B, N) of 1 (lesion) and 0 (background).
            mask_logits: (B, 1, m, m, m), the previous mask prompt, zeros before the first.
        """

    def correct(self, known: CorrectionTensors) -> Tensor:
        """Return logits (B, n, n, n) of the lesion in the cube round a correcting click.

        Raises:
            ModelError: when the network has no corrector.
        """
        raise ModelError("This model has no corrector; its answers stand for themselves.")

    def fuse(self, known: FirstLookTensors) -> Tensor:
        """Return logits (B, n, n, n) of the lesion in the cube round it.

        Raises:
            ModelError: when the network makes no one mask of several looks.
        """
        raise ModelError("This model makes no one mask of several looks; each answer stands for itself.")

    def classify(self, patch: Tensor) -> Tensor:
        """Return probabilities (B, K + 1, n, n, D) of background and K classes, of a network that knows them.

        Args:
            patch: (B, 1, n, n, D).

        Raises:
            ModelError: when the network segments what is clicked.
        """
        raise ModelError("This model segments what is clicked; choose one that names what it finds.")

    def load_sam_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Start from SAM's own weights, ``sam_vit_b_01ec64.pth``; returns the names that they do not give.

        Args:
            state: names and tensors.

        Raises:
            ModelError: when the network has nothing of SAM.
            WeightsError: when a name is unknown or missing, or a shape differs. The network is unchanged.
        """
        raise ModelError(
            f"A {type(self).__name__} does not start from SAM's weights; name a model that it can load."
        )

    @abstractmethod
    def load_published_state_dict(self, state: Mapping[str, Any], partial: bool = False) -> list[str]:
        """Fill the network from a checkpoint of its authors; returns the names of tensors that it lacks.

        Args:
            state: names and tensors.
            partial: whether tensors may be missing.

        Raises:
            WeightsError: when a name is unknown or missing, or a shape differs. The network is unchanged.
        """
