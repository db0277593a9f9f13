"""Which recipe trains which system."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from MSAMLogic.errors import TrainingError

# A system's own recipe; the modules import their networks, so they are imported when they are needed.
_RECIPES = {
    "msam-vit-b": ("clicks", "msam_loss"),
    "sam-med3d-vit-b": ("clicks", "msam_loss"),
    "3dsam-adapter": ("sam_adapter", "sam_adapter_loss"),
    "masksam": ("masksam", "masksam_loss"),
}
SYSTEMS = tuple(_RECIPES)


class Recipe(Protocol):
    """See :mod:`MSAMLogic.training.recipes`."""

    def __call__(
        self, network: Any, batch: dict[str, Tensor], rng: np.random.Generator, /
    ) -> dict[str, Tensor]:
        """Return the figures of a batch, of which ``loss`` is minimised."""


def recipe_of(system: str, clicks: int) -> Recipe:
    """Return the recipe of a system.

    Args:
        system: one of :data:`SYSTEMS`.
        clicks: how many clicks are made on a patch, for systems that learn click after click.

    Raises:
        TrainingError: when there is no such system.
    """
    if system not in _RECIPES:
        raise TrainingError(f"There is no recipe for '{system}'; choose one of {', '.join(SYSTEMS)}.")
    module, name = _RECIPES[system]
    recipe: Any = getattr(import_module(f"MSAMLogic.training.recipes.{module}"), name)
    found: Recipe = partial(recipe, clicks=clicks) if module == "clicks" else recipe
    return found
