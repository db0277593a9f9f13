"""Values brought from one cube to another: the numbers of SimpleITK's resampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MSAMLogic.between_cubes import brought_to
from MSAMLogic.geometry import RAS_AXES, PatchGrid, extract_patch

LPS_AXES = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
OBLIQUE_AXES = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def values(size: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(size,) * 3).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    spacings=st.tuples(st.floats(0.3, 4), st.floats(0.3, 4)),
    offset=st.tuples(*[st.floats(-9, 9)] * 3),
    axes=st.sampled_from((RAS_AXES, LPS_AXES, OBLIQUE_AXES)),
    outside=st.sampled_from((-6.0, np.nan)),
)
def test_between_cubes_that_lie_the_same_way(sizes, spacings, offset, axes, outside):
    known = PatchGrid((3.0, -2.0, 5.0), spacings[0], sizes[0], axes)
    wanted = PatchGrid(
        tuple(a + b for a, b in zip(known.centre, offset, strict=True)), spacings[1], sizes[1], axes
    )
    found = brought_to(wanted, values(sizes[0]), known, outside)
    expected = extract_patch(known.image(values(sizes[0])), wanted, outside)
    # On the very face of the last cell rounding decides whether a cell lies within.
    cells = known.voxels(wanted.world(np.moveaxis(np.indices(found.shape), 0, -1)))
    beyond = np.minimum(np.abs(cells + 0.5), np.abs(cells - sizes[0] + 0.5)).min(axis=-1) < 1e-6
    np.testing.assert_allclose(found[~beyond], expected[~beyond], atol=1e-4)


@pytest.mark.parametrize("axes", [LPS_AXES, OBLIQUE_AXES])
def test_between_cubes_that_lie_otherwise(axes):
    known, wanted = PatchGrid((0.0, 0.0, 0.0), 1.0, 8), PatchGrid((0.5, -0.3, 0.2), 0.7, 7, axes)
    found = brought_to(wanted, values(8), known, -6.0)
    assert np.array_equal(found, extract_patch(known.image(values(8)), wanted, -6.0))


def test_beyond_the_cube_nothing_is_known():
    known = PatchGrid((0.0, 0.0, 0.0), 1.0, 4)
    found = brought_to(PatchGrid((0.0, 0.0, 0.0), 1.0, 8), values(4), known, np.nan)
    np.testing.assert_allclose(found[2:6, 2:6, 2:6], values(4), atol=1e-6)
    assert np.isnan(found).sum() == 8**3 - 4**3


def test_half_precision_is_taken_as_it_is():
    known = PatchGrid((0.0, 0.0, 0.0), 1.0, 4)
    found = brought_to(known, values(4).astype(np.float16), known, np.nan)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values(4).astype(np.float16), atol=1e-6)
