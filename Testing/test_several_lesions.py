"""Several lesions within one patch: which of them a click is for, and when for another one; no torch."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import SimpleITK as sitk
from images import balls, middle
from predictors import CorrectingPredictor, ThresholdPredictor, as_before, obey

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.correcting.correction import Correction
from MSAMLogic.geometry import ImageGrid, extract_patch
from MSAMLogic.meant_lesion import other_lesion
from MSAMLogic.session import Click, InteractiveSession
from MSAMLogic.session_state import Lesion
from MSAMLogic.voxels import EMPTY, VoxelSet

Point = tuple[float, float, float]
RADIUS, SMALL_RADIUS, APART = 6.0, 3.0, 17.0
CENTRE = middle(balls())
GRID = ImageGrid.of(balls())


def beside(point: Point, millimetres: float) -> Point:
    return (point[0] + millimetres, point[1], point[2])


OTHER = beside(CENTRE, APART)


def ball(centre: Point, radius: float) -> np.ndarray:
    """Return (k, j, i), true in a bright ball of the image."""
    return sitk.GetArrayFromImage(balls(centres=[centre], radius=radius)) == 100


def two_balls(other_radius: float = SMALL_RADIUS, apart: float = APART) -> sitk.Image:
    other = balls(centres=[beside(CENTRE, apart)], radius=other_radius)
    return sitk.Maximum(balls(centres=[CENTRE], radius=RADIUS), other)


def everything(correction: Correction) -> np.ndarray:
    """Draw all of the cube, as a corrector may that takes a click far from a mask for a deep error."""
    return np.full(correction.image.shape, 5.0 if correction.labels[-1] else -5.0, np.float32)


def lesion_of(mask: np.ndarray) -> Lesion:
    return Lesion((), (), VoxelSet.of(mask, GRID.whole), EMPTY)


@pytest.mark.parametrize(
    ("apart", "radius", "is_other"),
    [
        (RADIUS + 3.0, 1.0, False),  # nearer than 0.75 of the mask's radius
        (RADIUS + 5.5, 1.0, True),
        (RADIUS + 10.0, 4.0, True),
        (RADIUS + 10.0, 5.5, False),  # no smaller than what the distance asks for
    ],
)
def test_a_lesion_is_another_where_it_is_far_for_the_mask_and_small_for_the_distance(
    apart: float, radius: float, is_other: bool
) -> None:
    known, point = lesion_of(ball(CENTRE, RADIUS)), beside(CENTRE, apart)
    found = lesion_of(ball(point, radius))
    assert other_lesion(known.voxels, GRID, Click(point), lambda: found) is (found if is_other else None)


@pytest.mark.parametrize("wrong", ["against it", "nothing there", "elsewhere", "joined", "no mask"])
def test_no_other_lesion_is_found_where_there_is_none(wrong: str) -> None:
    known, there = ball(CENTRE, RADIUS), ball(OTHER, SMALL_RADIUS)
    shown = {
        "nothing there": np.zeros_like(there),
        "elsewhere": ball(beside(OTHER, 8.0), SMALL_RADIUS),
        "joined": there | (known & ball(beside(CENTRE, RADIUS), 2.0)),
    }.get(wrong, there)
    mask = VoxelSet.of(known & (wrong != "no mask"), GRID.whole)
    click = Click(OTHER, positive=wrong != "against it")
    assert other_lesion(mask, GRID, click, lambda: lesion_of(shown)) is None


def started(predictor: ThresholdPredictor, image: sitk.Image | None = None) -> InteractiveSession:
    session = InteractiveSession(predictor)
    session.set_image(image or two_balls())
    session.click(CENTRE)
    return session


def array(session: InteractiveSession) -> np.ndarray:
    return sitk.GetArrayFromImage(session.mask).astype(bool)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * np.count_nonzero(one & other) / (one.sum() + other.sum()))


def test_a_small_lesion_far_beside_a_mask_is_drawn_by_itself() -> None:
    predictor = CorrectingPredictor(everything)
    session = started(predictor)
    before = array(session)
    session.click(OTHER)
    assert not predictor.corrections
    assert (array(session) >= before).all()
    assert dice(array(session) & ~before, ball(OTHER, SMALL_RADIUS)) > 0.7  # in cells of 1.5 mm


def test_what_is_as_large_as_it_is_far_is_more_of_the_same_lesion() -> None:
    predictor = CorrectingPredictor(obey)
    session = started(predictor, two_balls(other_radius=7.0, apart=16.0))
    session.click(beside(CENTRE, 16.0))
    (correction,) = predictor.corrections
    assert correction.before.any()


def test_a_click_near_a_mask_is_about_its_edge_whatever_is_there() -> None:
    predictor = CorrectingPredictor(obey)
    session = started(predictor, two_balls(other_radius=1.5, apart=RADIUS + 4.0))
    session.click(beside(CENTRE, RADIUS + 4.0))
    assert len(predictor.corrections) == 1


def test_where_a_first_look_shows_nothing_the_mask_is_corrected() -> None:
    predictor = CorrectingPredictor(obey)
    session = started(predictor)
    session.click(beside(CENTRE, -APART))
    assert len(predictor.corrections) == 1


@pytest.mark.parametrize("clicked", [0, 1])
def test_a_further_click_is_for_the_lesion_that_it_is_nearest_to(clicked: int) -> None:
    """It lies in both patches; a correction sees the mask of one lesion alone."""
    predictor = CorrectingPredictor(obey)
    session = started(predictor)
    lesions = [array(session)]
    session.click(OTHER)
    lesions.append(array(session) & ~lesions[0])
    session.click(beside(CENTRE, (RADIUS + 3.0, APART - SMALL_RADIUS - 3.0)[clicked]))
    (correction,) = predictor.corrections
    seen = sitk.GetImageFromArray(lesions[clicked].astype(np.float32))
    seen.CopyInformation(session.mask)
    expected = extract_patch(seen, correction.cube, antialias=True)
    assert expected.any()
    np.testing.assert_allclose(correction.before, expected, atol=1e-4)


@pytest.mark.parametrize("which", [0, 1])
def test_a_click_against_a_lesion_takes_away_from_the_one_that_holds_it(which: int) -> None:
    session = started(CorrectingPredictor(lambda correction: obey(correction, 2.0)))
    session.click(OTHER)
    before = array(session)
    # Towards the other lesion, in whose patch it lies as deep.
    point = (beside(CENTRE, RADIUS - 1.0), beside(OTHER, 1.0 - SMALL_RADIUS))[which]
    session.click(point, positive=False)
    gone = before & ~array(session)
    index = session.mask.TransformPhysicalPointToIndex(point)
    assert gone[index[::-1]]
    lesion, other = (ball(CENTRE, RADIUS), ball(OTHER, SMALL_RADIUS))[:: 1 if which == 0 else -1]
    assert (gone & lesion).any() and not (gone & other).any()


def test_a_click_against_what_two_lesions_hold_takes_it_away_from_both() -> None:
    def grow(correction: Correction) -> np.ndarray:
        """Draw far over the other lesion for it, and obey a click against it."""
        return everything(correction) if correction.labels[-1] else obey(correction, 4.0)

    session = started(CorrectingPredictor(grow))
    session.click(OTHER)
    session.click(beside(CENTRE, RADIUS + 2.0))
    first, second = (lesion.voxels for lesion in session._state.lesions)
    point = OTHER
    assert all(session._grid.nearest(point) in voxels for voxels in (first, second))
    session.click(point, positive=False)
    assert not array(session)[session.mask.TransformPhysicalPointToIndex(point)[::-1]]


def test_a_small_lesion_beyond_the_patch_is_drawn_by_itself_whatever_a_coarser_patch_would_join() -> None:
    class Joining(CorrectingPredictor):
        """Takes everything for lesion where it is told two clicks."""

        def decode(self, features, coords, labels, prompt):  # type: ignore[no-untyped-def]
            answer = super().decode(features, coords, labels, prompt)
            return answer._replace(logits=np.full_like(answer.logits, 5.0)) if len(labels) > 1 else answer

    capabilities = Capabilities(32, 16, (1.0, 1.5, 3.0), 1.0, all_clicks=True, corrects=True)
    predictor = Joining(as_before, capabilities)
    session = started(predictor, two_balls(apart=22.0))
    before = array(session)
    session.click(beside(CENTRE, 22.0))
    assert (array(session) >= before).all()
    assert dice(array(session) & ~before, ball(beside(CENTRE, 22.0), SMALL_RADIUS)) > 0.7


def test_undo_redo_and_the_same_clicks_again_give_the_same_masks() -> None:
    session = started(CorrectingPredictor(obey))
    masks = [array(session)]
    for point, positive in ((OTHER, True), (beside(OTHER, 2.0), False), (beside(CENTRE, 4.0), False)):
        session.click(point, positive)
        masks.append(array(session))
    assert all((a != b).any() for a, b in pairwise(masks))
    for mask in masks[-2::-1]:
        session.undo()
        assert (array(session) == mask).all()
    for mask in masks[1:]:
        session.redo()
        assert (array(session) == mask).all()
    clicks = [Click(click.point, click.positive) for click in session.clicks]
    session.set_clicks(clicks[:2])
    assert (array(session) == masks[1]).all()
    session.set_clicks(clicks)
    assert (array(session) == masks[-1]).all()


def given(image: sitk.Image, *lesions: np.ndarray) -> sitk.Image:
    mask = sitk.GetImageFromArray(np.any(lesions, axis=0).astype(np.uint8))
    mask.CopyInformation(image)
    return mask


def test_a_small_lesion_far_beside_a_given_mask_leaves_that_as_it_is() -> None:
    predictor = CorrectingPredictor(everything)
    session, image = InteractiveSession(predictor), two_balls()
    session.set_image(image)
    session.set_mask(given(image, ball(CENTRE, RADIUS)))
    before = array(session)
    session.click(OTHER)
    assert not predictor.corrections
    assert (array(session) >= before).all()
    assert dice(array(session) & ~before, ball(OTHER, SMALL_RADIUS)) > 0.7
    # Both can be corrected after that, each by itself.
    session.click(beside(CENTRE, 3.0 - RADIUS), positive=False)
    assert predictor.corrections and not array(session)[ball(CENTRE, RADIUS)].all()


def test_a_given_lesion_beside_the_one_that_was_clicked_is_corrected_and_not_found_anew() -> None:
    predictor = CorrectingPredictor(obey)
    session, image = InteractiveSession(predictor), two_balls(other_radius=4.0)
    session.set_image(image)
    session.set_mask(given(image, ball(CENTRE, RADIUS), ball(OTHER, 4.0)))
    session.click(beside(CENTRE, -RADIUS - 2.0))  # for the first one
    before = array(session)
    session.click(beside(OTHER, 2.0), positive=False)
    gone = before & ~array(session)
    assert gone.any() and not (gone & ball(CENTRE, RADIUS)).any()


def test_a_network_that_does_not_correct_says_itself_how_far_a_click_reaches() -> None:
    predictor = ThresholdPredictor()
    session = started(predictor)
    encoded = predictor.encoded
    session.click(OTHER)
    assert predictor.encoded == encoded  # in the patch that was there
    assert dice(array(session), ball(CENTRE, RADIUS) | ball(OTHER, SMALL_RADIUS)) > 0.8


def test_a_failing_look_leaves_the_session_as_it_was() -> None:
    predictor = CorrectingPredictor(as_before)
    session = started(predictor)
    before = array(session)

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    predictor.decode = fail  # type: ignore[assignment, method-assign]
    with pytest.raises(RuntimeError, match="out of memory"):
        session.click(OTHER)
    assert (array(session) == before).all() and len(session.clicks) == 1
