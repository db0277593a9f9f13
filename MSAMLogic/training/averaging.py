"""The mean of the weights of several runs: where they differ by chance, often better than each of them.

Runs that start from the same weights end close enough together for their mean to be a network (Wortsman et
al. 2022, "Model soups").
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from MSAMLogic.errors import TrainingError
from MSAMLogic.loading import read_network
from MSAMLogic.model.checkpoints import save_weights


def average_weights(files: Sequence[Path], output: Path, kept: Sequence[str] = ()) -> None:
    """Write the mean of several weights files.

    Args:
        files: of networks of the same sizes.
        output: where to write it, safetensors.
        kept: parts of the network that stay as they are in the first file, by the names of its attributes
            (``look_fusion``).

    Raises:
        TrainingError: when there are fewer than two files, two are of different sizes, or a part to be kept
            is none of the network's.
        WeightsError: when a file is missing or damaged.
        OSError: when the output cannot be written.
    """
    if len(files) < 2:
        raise TrainingError("A mean needs at least two weights files; name another.")
    networks = [read_network(file) for file in files]
    for file, network in zip(files, networks, strict=True):
        if network.config != networks[0].config:
            raise TrainingError(f"{file} is of another network than {files[0]}; only alike ones have a mean.")
    parts = [name for name, _ in networks[0].named_children()]
    for part in kept:
        if part not in parts:
            raise TrainingError(f"There is no part '{part}' to keep; choose among {', '.join(parts)}.")
    states = [network.state_dict() for network in networks]
    mean = {
        name: torch.stack([state[name].float() for state in states]).mean(dim=0)
        if value.is_floating_point() and name.split(".")[0] not in kept
        else value
        for name, value in states[0].items()
    }
    save_weights(output, networks[0].config, mean)
