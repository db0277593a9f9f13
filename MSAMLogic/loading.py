"""From a name or a path to a network with its weights."""

from __future__ import annotations

import json
from pathlib import Path

from MSAMLogic import weights
from MSAMLogic.errors import ModelError, WeightsError
from MSAMLogic.model import CONFIGURATIONS, ModelConfig, Network, build_model

_PUBLISHED_PREFIX = {"lora_sam.": "msam-vit-b", "image_encoder.": "sam-med3d-vit-b"}


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
            network: Network = build_model(architecture or "", ModelConfig.from_dict(json.loads(config)))
            network.load_state_dict(state)
        except (RuntimeError, ValueError, TypeError, ModelError) as error:
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
            raise WeightsError(f"{path.name} is no checkpoint of M-SAM or SAM-Med3D.")
    network = build_model(architecture)
    network.load_published_state_dict(state)
    return network


def _looks_like_a_path(name: str) -> bool:
    return Path(name).suffix in {".safetensors", ".pth", ".pt"} or "/" in name or "\\" in name
