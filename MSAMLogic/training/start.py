"""Where a network's first weights come from."""

from __future__ import annotations

from MSAMLogic.errors import TrainingError
from MSAMLogic.loading import load_network
from MSAMLogic.model import Network


def start_from(network: Network, name: str, title: str) -> list[str]:
    """Fill a network with the weights of a smaller one, and return the names of what it has beyond them.

    Args:
        network: what to fill.
        name: weights of the registry, or a path.
        title: what to call the network in a message.

    Raises:
        TrainingError: when the weights hold parts that the network has not.
        WeightsError: when the weights cannot be read.
    """
    given, own = load_network(name).state_dict(), network.state_dict()
    unfit = [part for part, value in given.items() if part not in own or own[part].shape != value.shape]
    if unfit:
        raise TrainingError(
            f"The weights of '{name}' hold parts that {title} has not ({unfit[0]}, ...); choose the network "
            "that they are for, or start from others."
        )
    network.load_state_dict(given, strict=False)
    return sorted(set(own) - set(given))
