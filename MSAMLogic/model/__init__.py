"""The networks: :func:`build_model` by name, :class:`ModelConfig` for their sizes.

Importing this package imports torch; ``import MSAMLogic`` does not.
"""

from MSAMLogic.model.build import build_model
from MSAMLogic.model.config import CONFIGURATIONS, ModelConfig
from MSAMLogic.model.masksam.config import MaskSAMConfig
from MSAMLogic.model.masksam.network import MaskSAM
from MSAMLogic.model.msam import MSAM, PatchFeatures, Segmentation
from MSAMLogic.model.network import Network
from MSAMLogic.model.sam_adapter.config import SAMAdapterConfig
from MSAMLogic.model.sam_adapter.network import SAMAdapter

__all__ = [
    "CONFIGURATIONS",
    "MSAM",
    "MaskSAM",
    "MaskSAMConfig",
    "ModelConfig",
    "Network",
    "PatchFeatures",
    "SAMAdapter",
    "SAMAdapterConfig",
    "Segmentation",
    "build_model",
]
