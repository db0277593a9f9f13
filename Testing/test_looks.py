"""Which of several looks a session goes on with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.geometry import ImageGrid, PatchGrid, Point
from MSAMLogic.looking.look_again import first_looks
from MSAMLogic.looking.looks import (
    Look,
    as_large,
    lesion_extent,
    sharpest_look,
    show_little,
    steadiest_look,
)
from MSAMLogic.session_state import Click

LARGE = ImageGrid((300, 300, 300), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
CELLS = 32
SPACINGS = (0.75, 1.5, 3.0, 6.0)


def look(spacing: float, diameter: float, centre: Point = (0.0, 0.0, 0.0)) -> Look:
    """A look at a ball of so many millimetres in the middle of the patch."""
    grid = PatchGrid(centre, spacing, CELLS)
    axis = (np.arange(CELLS) + 0.5 - CELLS / 2) * spacing
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    logits = np.where(distance < diameter / 2, 5.0, -5.0).astype(np.float16)
    return Look(grid, logits, logits)


@pytest.mark.parametrize(
    ("diameters", "chosen"),
    [
        ((10.0, 10.0, 10.0, 60.0), 1.5),  # a nodule, taken for more where it is a speck
        ((8.0, 16.0, 60.0, 60.0), 6.0),  # from within a large lesion, the fine looks see no edge
        ((8.0, 40.0, 44.0, 120.0), 3.0),
        ((0.0, 12.0, 12.0, 12.0), 3.0),
    ],
)
def test_the_look_whose_lesion_keeps_its_size_in_its_neighbours_goes_on(
    diameters: tuple[float, ...], chosen: float
) -> None:
    looks = [look(spacing, diameter) for spacing, diameter in zip(SPACINGS, diameters, strict=True)]
    assert steadiest_look(looks, LARGE).grid.spacing == chosen
    assert steadiest_look(looks[::-1], LARGE).grid.spacing == chosen


@pytest.mark.parametrize(
    ("fine", "coarse", "little"),
    [
        (12.0, 12.0, True),
        (9.0, 12.0, True),
        (12.0, 24.0, False),  # it seems to grow with the patch
        (40.0, 12.0, False),  # it shrinks
        (20.0, 20.0, False),  # they agree on a lesion that is not little
        (60.0, 12.0, False),  # cut off by the finer patch
        (0.0, 12.0, False),
        (12.0, 0.0, False),
    ],
)
def test_two_looks_show_little_where_they_agree_on_something_small(
    fine: float, coarse: float, little: bool
) -> None:
    assert show_little(look(1.5, fine), look(3.0, coarse)) is little


@pytest.mark.parametrize(
    ("diameters", "chosen"),
    [
        ((4.5, 10.0, 60.0, 110.0), 0.75),  # a speck, and an organ that grows with the patch
        ((4.5, 10.0, 60.0, 75.0), 6.0),  # two coarse looks agree on something large
        ((4.5, 11.0, 28.0, 50.0), 6.0),  # growing, but nowhere something else
        ((4.5, 60.0, 110.0), 3.0),  # a single fine look may lie within what the coarser ones show
    ],
)
def test_coarse_looks_at_something_else_count_where_it_is_steady(
    diameters: tuple[float, ...], chosen: float
) -> None:
    looks = [look(spacing, d) for spacing, d in zip(SPACINGS, diameters, strict=False)]
    assert steadiest_look(looks, LARGE).grid.spacing == chosen
    assert steadiest_look(looks[::-1], LARGE).grid.spacing == chosen


class Balls:
    """Answers of a network that sees a ball, of another size at each spacing."""

    def __init__(self, diameters: dict[float, float]) -> None:
        self.capabilities = Capabilities(
            CELLS, CELLS, SPACINGS, 1.5, all_clicks=True, first_looks=tuple(diameters)
        )
        self.grid = LARGE
        self.diameters = diameters
        self.made: list[float] = []

    def answer(self, grid: PatchGrid, clicks: Sequence[Click], prompt: np.ndarray) -> Look:
        assert grid.centre == clicks[-1].point and not prompt.any()
        self.made.append(grid.spacing)
        return look(grid.spacing, self.diameters[grid.spacing], grid.centre)


@pytest.mark.parametrize(
    ("diameters", "made", "chosen"),
    [
        ({0.75: 5, 1.5: 5, 3.0: 6, 6.0: 6}, [0.75, 1.5, 3.0], 0.75),  # little
        ({0.75: 9, 1.5: 10, 3.0: 60, 6.0: 150}, SPACINGS, 0.75),  # in something else
        ({0.75: 16, 1.5: 16, 3.0: 16, 6.0: 18}, SPACINGS, 1.5),
        ({0.75: 9, 1.5: 40, 3.0: 42, 6.0: 44}, SPACINGS, 3.0),
        ({0.75: 9, 1.5: 40, 3.0: 42}, [0.75, 1.5, 3.0], 3.0),
        ({0.75: 9, 1.5: 40}, [0.75, 1.5], 0.75),
        ({1.5: 40, 3.0: 42}, [1.5, 3.0], 1.5),
        ({0.75: 9}, [0.75], 0.75),
    ],
)
def test_looks_are_made_from_fine_to_coarse_until_two_show_little(
    diameters: dict[float, float], made: Sequence[float], chosen: float
) -> None:
    answers = Balls(diameters)
    looks, best = first_looks(answers, [Click((150.0, 150.0, 150.0))])
    assert answers.made == [look.grid.spacing for look in looks] == list(made)
    assert best.grid.spacing == chosen


def test_a_single_look_goes_on() -> None:
    only = look(1.5, 0.0)
    assert steadiest_look([only], LARGE) is only


def test_a_look_that_takes_a_small_image_for_the_lesion_does_not_count() -> None:
    crop = ImageGrid((30, 30, 30), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), LARGE.direction)  # 27 ml
    looks = [look(spacing, diameter) for spacing, diameter in zip(SPACINGS, (9, 14, 36, 38), strict=True)]
    assert steadiest_look(looks, LARGE).grid.spacing == 6.0
    assert steadiest_look(looks, crop).grid.spacing == 0.75  # of two looks, which agree or not, the finer
    whole = looks[2:]
    assert steadiest_look(whole, crop) in whole  # nothing else is known


@settings(max_examples=40, deadline=None)
@given(st.floats(4.0, 14.0), st.floats(2.0, 20.0), st.integers(0, 99))
def test_a_smaller_answer_is_raised_to_a_volume_and_a_larger_one_stays(
    diameter: float, wanted: float, seed: int
) -> None:
    steep = look(0.75, diameter)
    axis = (np.arange(CELLS) + 0.5 - CELLS / 2) * 0.75
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    noise = np.random.default_rng(seed).normal(0, 0.05, distance.shape)
    logits = (diameter / 2 - distance + noise).astype(np.float16)
    before = Look(steep.grid, logits, logits)
    volume = float((distance < wanted / 2).sum()) * 0.75**3
    after = as_large(before, volume)
    assert (after.logits >= before.logits).all()
    if volume <= before.volume:
        assert after is before
    elif wanted - diameter < 8:
        # Half-precision logits come in steps, and cells of one step are raised together.
        assert after.volume == pytest.approx(volume, rel=0.1, abs=3 * 0.75**3)
        assert np.array_equal(after.prompt > 0, after.logits > 0)
    elif wanted - diameter > 11:
        assert after.volume < volume  # 5 at most: an answer is not raised out of nothing


def test_an_answer_that_is_sure_of_its_edge_is_hardly_raised() -> None:
    sure = Look(look(0.75, 8.0).grid, 4 * look(0.75, 8.0).logits, look(0.75, 8.0).prompt)
    assert as_large(sure, 4 * sure.volume).volume == sure.volume


def faint(spacing: float, diameter: float) -> Look:
    """A look at a ball whose logits fall off towards its edge and beyond."""
    grid = PatchGrid((0.0, 0.0, 0.0), spacing, CELLS)
    axis = (np.arange(CELLS) + 0.5 - CELLS / 2) * spacing
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    logits = (diameter / 2 - distance).astype(np.float16)
    return Look(grid, logits, logits)


def test_the_finest_look_that_shows_the_whole_lesion_draws_it_as_large_as_the_chosen_one() -> None:
    looks = [faint(0.375, 6.0), faint(0.75, 7.0), faint(1.5, 10.0), faint(3.0, 40.0)]
    found = sharpest_look(looks[2], looks)
    assert found.grid.spacing == 0.75  # 10 mm are more than half of the finest patch
    assert found.volume == pytest.approx(looks[2].volume, rel=0.1)


def test_a_lesion_that_finer_patches_cut_stays_with_the_chosen_look() -> None:
    looks = [faint(0.75, 20.0), faint(1.5, 30.0), faint(3.0, 40.0)]
    assert sharpest_look(looks[2], looks) is looks[2]
    assert sharpest_look(looks[0], looks) is looks[0]
    cut = faint(1.5, 60.0)
    assert sharpest_look(cut, [faint(0.75, 4.0), cut]) is cut
    empty = look(1.5, 0.0)
    assert sharpest_look(empty, [faint(0.75, 4.0), empty]) is empty


@pytest.mark.parametrize(
    ("click", "low", "high"), [(2.0, 6, 10), (12.0, 6, 10), (16.0, 18, 26), (8.0, 6, 10)]
)
def test_of_several_parts_the_one_nearest_to_the_click_is_the_lesion(
    click: float, low: int, high: int
) -> None:
    logits = np.full((CELLS,) * 3, -5.0, np.float16)
    logits[6:10, 20:24, 20:24] = logits[18:26, 20:24, 20:24] = 5.0
    parts = Look(PatchGrid((0.0, 0.0, 0.0), 1.5, CELLS), logits, logits)
    extent = lesion_extent(parts, np.array([click, 22.0, 22.0]))
    assert extent is not None
    assert (extent.low[0], extent.high[0]) == (low - 0.5, high - 0.5)
    assert extent.volume == pytest.approx((high - low) * 16 * 1.5**3)
    whole = lesion_extent(parts)
    assert whole is not None and (whole.low[0], whole.high[0]) == (5.5, 25.5)
