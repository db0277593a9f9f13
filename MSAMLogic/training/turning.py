"""Turning patches: which way their axes run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def random_rotation(degrees: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the matrix of a rotation by up to ``degrees`` about any axis (Rodrigues' formula)."""
    vector = rng.standard_normal(3)
    angle = np.deg2rad(rng.uniform(-degrees, degrees))
    x, y, z = vector / np.linalg.norm(vector)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
