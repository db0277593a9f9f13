"""From a name to an untrained network, for every system of the papers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from MSAMLogic.errors import ModelError
from MSAMLogic.model.config import CONFIGURATIONS, ModelConfig
from MSAMLogic.model.masksam.config import MaskSAMConfig
from MSAMLogic.model.masksam.network import MaskSAM
from MSAMLogic.model.msam import MSAM
from MSAMLogic.model.network import Network
from MSAMLogic.model.sam_adapter.config import SAMAdapterConfig
from MSAMLogic.model.sam_adapter.network import SAMAdapter


@overload
def build_model(name: str, config: ModelConfig) -> MSAM: ...
@overload
def build_model(name: str, config: MaskSAMConfig) -> MaskSAM: ...
@overload
def build_model(name: str, config: Any = None) -> Network: ...
def build_model(name: str, config: Any = None) -> Network:
    """Return an untrained network in evaluation mode.

    Args:
        name: a key of :data:`config.CONFIGURATIONS`, for example ``"msam-vit-b"``.
        config: sizes to use in place of the named ones.

    Raises:
        ModelError: when no configuration has that name.
    """
    if config is None:
        if name not in CONFIGURATIONS:
            raise ModelError(f"There is no network '{name}'; choose one of {', '.join(CONFIGURATIONS)}.")
        config = CONFIGURATIONS[name]
    return _SYSTEMS[type(config)](config).eval()


_SYSTEMS: dict[type, Callable[[Any], Network]] = {
    ModelConfig: MSAM,
    SAMAdapterConfig: SAMAdapter,
    MaskSAMConfig: MaskSAM,
}
