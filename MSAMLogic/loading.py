"""From a name or a path to a network with its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from MSAMLogic import weights
from MSAMLogic.errors import ModelError, WeightsError
from MSAMLogic.model import CONFIGURATIONS, Network, build_model
from MSAMLogic.model.config import SYSTEMS
from MSAMLogic.model.network_config import NetworkConfig
from MSAMLogic.model.sam_adapter.checkpoints import fitting
from MSAMLogic.model.sam_adapter.config import SAMAdapterConfig

_PUBLISHED_PREFIX = {
    "lora_sam.": "msam-vit-b",
    "image_encoder.": "sam-med3d-vit-b",
    "encoder_dict.": "3dsam-adapter",
}


def load_network(name: str) -> Network:
    """Return a network with its weights, on the CPU, in evaluation mode.

    Args:
        name: "default", another name of the registry, or the path of a weights file.

    Raises:
        WeightsError: when the weights are unknown, not downloaded yet, damaged or of another network.
    """
    if _looks_like_a_path(name):
        return read_network(Path(name))
    entry = weights.find_model(name)
    return read_network(weights.ensure_available(entry), entry.architecture)


def read_network(path: Path, architecture: str | None = None) -> Network:
    """Return the network of a weights file.

    Args:
        path: safetensors that this package wrote (sizes in their metadata), or a published checkpoint.
        architecture: a name of :data:`MSAMLogic.model.CONFIGURATIONS`; by default the file tells.

    Raises:
        WeightsError: when the file is missing, damaged or of another network.
    """
    if not path.is_file():
        raise WeightsError(
            f"There is no weights file {path}; check the path, or choose a name that 'msam models' lists."
        )
    state = weights.load_state(path)
    if path.suffix == ".safetensors":
        config = weights.load_metadata(path).get("config")
        if config is None:
            raise WeightsError(
                f"{path.name} does not say which network it is for; it was not written by this package."
            )
        try:
            sizes = json.loads(config)
            # A file without a system is of the time when there was but one.
            system = sizes.pop("system", "msam")
            if system not in SYSTEMS:
                raise WeightsError(
                    f"{path.name} is for a '{system}' network, which this version does not know; update "
                    "SlicerMSAM."
                )
            network: Network = build_model(architecture or "", SYSTEMS[system].from_dict(sizes))
            network.load_state_dict(state)
        except (RuntimeError, ValueError, TypeError, AttributeError, ModelError) as error:
            raise WeightsError(f"{path.name} does not fit the network that it describes: {error}") from error
        return network
    if architecture not in CONFIGURATIONS:
        architecture = next(
            (
                value
                for prefix, value in _PUBLISHED_PREFIX.items()
                if any(name.startswith(prefix) for name in state)
            ),
            None,
        )
        if architecture is None:
            raise WeightsError(f"{path.name} is no checkpoint of M-SAM, SAM-Med3D or 3DSAM-adapter.")
    network = build_model(architecture, _variant(architecture, state))
    network.load_published_state_dict(state)
    return network


def _variant(architecture: str, state: Mapping[str, Any]) -> NetworkConfig:
    """Return the sizes of a published checkpoint's network; 3DSAM-adapter's release has two encoders."""
    config = CONFIGURATIONS[architecture]
    return fitting(config, state) if isinstance(config, SAMAdapterConfig) else config


def _looks_like_a_path(name: str) -> bool:
    return name.endswith(weights.SUFFIXES) or "/" in name or "\\" in name
