"""Where a network's first weights come from."""

from __future__ import annotations

import torch
from torch import Tensor

from MSAMLogic.errors import TrainingError
from MSAMLogic.loading import load_network
from MSAMLogic.model import Network


def start_from(network: Network, name: str, title: str) -> list[str]:
    """Fill a network with the weights of a smaller one, and return the names of what it has beyond them.

    A convolution that sees more channels than the given one did is blind to the new ones, so that it answers
    as before until it learns.

    Args:
        network: what to fill.
        name: weights of the registry, or a path.
        title: what to call the network in a message.

    Raises:
        TrainingError: when the weights hold parts that the network has not.
        WeightsError: when the weights cannot be read.
    """
    given, own = load_network(name).state_dict(), network.state_dict()
    given = {part: _widened(value, own[part]) if part in own else value for part, value in given.items()}
    unfit = [part for part, value in given.items() if part not in own or own[part].shape != value.shape]
    if unfit:
        raise TrainingError(
            f"The weights of '{name}' hold parts that {title} has not ({unfit[0]}, ...); choose the network "
            "that they are for, or start from others."
        )
    network.load_state_dict(given, strict=False)
    return sorted(set(own) - set(given))


def _widened(given: Tensor, own: Tensor) -> Tensor:
    """Return a convolution's weights with zeros for the input channels that another has beyond them."""
    if given.ndim != 5 or given.shape[1] >= own.shape[1]:
        return given
    if own.shape[0] != given.shape[0] or own.shape[2:] != given.shape[2:]:
        return given
    new = torch.zeros_like(own[:, given.shape[1] :])
    return torch.cat((given, new), dim=1)
