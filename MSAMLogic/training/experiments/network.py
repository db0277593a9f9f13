"""The network of an experiment, untrained, started and trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from torch import nn

from MSAMLogic import weights
from MSAMLogic.errors import TrainingError
from MSAMLogic.geometry import Index, Point
from MSAMLogic.model import CONFIGURATIONS, ModelConfig, Network, build_model
from MSAMLogic.training.experiments.config import Adaptation, ExperimentConfig, SAMStart
from MSAMLogic.training.run import weights_of
from MSAMLogic.training.start import start_from

# What an adaptation makes of an M-SAM: without both additions it is SAM-Med3D.
_FAMILY: dict[Adaptation, dict[str, Any]] = {
    "none": {"lora_rank": 0, "mask_enhanced_adapter": False, "all_clicks": True},
    "full": {"lora_rank": 0, "mask_enhanced_adapter": False},
    "lora": {"mask_enhanced_adapter": False},
    "lora+mea": {},
}
_OTHERS: tuple[Adaptation, ...] = ("none", "full", "decoder", "adapter")


def first_network(config: ExperimentConfig, classes: tuple[str, ...]) -> Network:
    """Return the network that an experiment starts from, with what it trains marked.

    Args:
        config: the experiment.
        classes: names of the targets, for systems that name what they find.

    Raises:
        TrainingError: when system, sizes, adaptation and start do not fit each other.
        WeightsError: when the weights to start from cannot be read.
    """
    network = _build(config, classes)
    if isinstance(config.start, SAMStart):
        network.load_sam_state_dict(weights.load_state(config.start.sam))
    elif config.start is not None:
        start_from(network, config.start, config.system)
    if config.adaptation == "full":
        network.requires_grad_(True)
    if config.adaptation == "decoder":
        network.get_submodule("image_encoder").requires_grad_(False)
    return network


def trained_network(config: ExperimentConfig, classes: tuple[str, ...]) -> Network:
    """Return the network that an experiment measures: what it trained, or without training its start.

    Raises:
        TrainingError: when there is nothing trained yet, or it is another network's.
        WeightsError: when the weights cannot be read.
    """
    if config.adaptation == "none":
        return first_network(config, classes)
    path = weights_of(config)
    if not path.is_file():
        raise TrainingError(f"There are no weights {path} yet; run 'msam train' with the same file first.")
    network = _build(config, classes)
    try:
        network.load_state_dict(weights.load_state(path))
    except RuntimeError as error:
        raise TrainingError(f"{path} is of another network; move it away and train again.") from error
    return network


def parameter_groups(rates: Mapping[str, float], network: nn.Module) -> list[dict[str, Any]]:
    """Return the parameters to train, by learning rate, which is the group's ``scale``.

    Args:
        rates: see :class:`MSAMLogic.training.experiments.config.OptimiserConfig`.
        network: with what is trained marked.

    Raises:
        TrainingError: when a parameter has no learning rate.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        beginnings = [prefix for prefix in rates if name.startswith(prefix)]
        rate = rates.get(max(beginnings, key=len, default="default"))
        if rate is None:
            raise TrainingError(f"The optimiser has no rate for {name}; add a 'default'.")
        groups.setdefault(rate, []).append(parameter)
    return [{"params": parameters, "scale": rate} for rate, parameters in groups.items()]


def patch_shape(network: Network) -> tuple[Index, Point]:
    """Return the voxels of a patch along (R, A, S) and the millimetres between them."""
    capabilities = network.capabilities
    n, spacing = capabilities.patch_size, capabilities.first_spacing
    if not capabilities.slices:
        return (n, n, n), (spacing, spacing, spacing)
    return (n, n, capabilities.slices), (spacing, spacing, capabilities.slice_spacing)


def network_sizes(config: ExperimentConfig, classes: tuple[str, ...]) -> Any:
    """Return every size of an experiment's network, a configuration of :mod:`MSAMLogic.model`.

    Args:
        config: the experiment.
        classes: names of the targets, for systems that name what they find.

    Raises:
        TrainingError: when the system, an adaptation or a size does not exist.
        ModelError: when the sizes do not fit each other.
    """
    if config.system not in CONFIGURATIONS:
        raise TrainingError(f"This version has no network '{config.system}'; update SlicerMSAM.")
    sizes: Any = CONFIGURATIONS[config.system]
    is_family = isinstance(sizes, ModelConfig)
    if config.adaptation not in (_FAMILY if is_family else _OTHERS):
        known = ", ".join(_FAMILY if is_family else _OTHERS)
        raise TrainingError(f"{config.system} has no adaptation '{config.adaptation}'; choose from {known}.")
    names = {field.name for field in fields(sizes)}
    unknown = set(config.sizes) - names
    if unknown:
        raise TrainingError(f"{config.system} has no size '{sorted(unknown)[0]}'; correct sizes.")
    own = {key: tuple(value) if isinstance(value, list) else value for key, value in config.sizes.items()}
    if "classes" in names:
        own["classes"] = classes
    if is_family:
        own = _FAMILY[config.adaptation] | own
    return replace(sizes, **own)


def _build(config: ExperimentConfig, classes: tuple[str, ...]) -> Network:
    network: Network = build_model(config.system, network_sizes(config, classes))
    return network
