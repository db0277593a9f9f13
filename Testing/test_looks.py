"""Which of several looks a session goes on with."""

from __future__ import annotations

import numpy as np
import pytest

from MSAMLogic.geometry import PatchGrid
from MSAMLogic.looks import Look, best_look


@pytest.mark.parametrize(
    ("estimates", "chosen"),
    [((0.8, 0.81), 0.5), ((0.3, 0.8), 3.0), ((-0.2, -0.1), 3.0), ((-0.1,), 0.5), ((0.0, -1.0), 0.5)],
)
def test_the_finest_of_the_good_looks_goes_on_whatever_the_estimates(
    estimates: tuple[float, ...], chosen: float
) -> None:
    nothing = np.zeros((2, 2, 2), np.float16)
    looks = [
        Look(PatchGrid((0.0, 0.0, 0.0), spacing, 8), nothing, nothing, estimate)
        for spacing, estimate in zip((0.5, 3.0), estimates, strict=False)
    ]
    assert best_look(looks).grid.spacing == chosen
