"""The networks: :func:`build_model` by name, :class:`ModelConfig` for their sizes.

Importing this package imports torch; ``import MSAMLogic`` does not.
"""

from MSAMLogic.model.config import CONFIGURATIONS, ModelConfig
from MSAMLogic.model.msam import MSAM, PatchFeatures, Segmentation, build_model

__all__ = ["CONFIGURATIONS", "MSAM", "ModelConfig", "PatchFeatures", "Segmentation", "build_model"]
