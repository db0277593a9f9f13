"""The networks: :func:`build_model` by name, :class:`ModelConfig` for their sizes.

Importing this package imports torch; ``import MSAMLogic`` does not.
"""

from MSAMLogic.model.build import build_model
from MSAMLogic.model.config import CONFIGURATIONS, ModelConfig
from MSAMLogic.model.masksam.config import MaskSAMConfig
from MSAMLogic.model.masksam.network import MaskSAM
from MSAMLogic.model.msam import MSAM, PatchFeatures, Segmentation
from MSAMLogic.model.network import Network

__all__ = [
    "CONFIGURATIONS",
    "MSAM",
    "MaskSAM",
    "MaskSAMConfig",
    "ModelConfig",
    "Network",
    "PatchFeatures",
    "Segmentation",
    "build_model",
]
