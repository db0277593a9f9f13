"""A session whose network corrects: a further click changes what it is about, and nothing else; no torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk
from images import AXIAL, LEFT_HANDED, balls, middle, oblique, volume
from numpy.typing import NDArray
from predictors import CorrectingPredictor, as_before, obey

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.correcting.correction import Correction
from MSAMLogic.geometry import PatchGrid, extract_patch
from MSAMLogic.predictor import Answer
from MSAMLogic.session import Click, InteractiveSession

FloatArray = NDArray[np.float32]
Point = tuple[float, float, float]
RADIUS = 8.0


def nothing(correction: Correction) -> FloatArray:
    return np.full(correction.image.shape, -5, np.float32)


def started(
    rule: Callable[[Correction], FloatArray], direction: tuple[float, ...] = AXIAL
) -> tuple[InteractiveSession, CorrectingPredictor, Point]:
    centre = middle(balls(direction=direction))
    predictor = CorrectingPredictor(rule)
    session = InteractiveSession(predictor)
    session.set_image(balls(centres=[centre], radius=RADIUS, direction=direction))
    session.click(centre)
    return session, predictor, centre


def beside(centre: Point, millimetres: float) -> Point:
    return (centre[0] + millimetres, centre[1], centre[2])


def array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image).astype(bool)


def distances(image: sitk.Image, point: Point) -> np.ndarray:
    """Return the distance (k, j, i) of each voxel from a point."""
    k, j, i = np.indices(tuple(reversed(image.GetSize())))
    matrix = np.asarray(image.GetDirection()).reshape(3, 3) * np.asarray(image.GetSpacing())
    world = np.stack((i, j, k), axis=-1) @ matrix.T + np.asarray(image.GetOrigin())
    return np.linalg.norm(world - np.asarray(point), axis=-1)


def distances_in_cube(correction: Correction) -> np.ndarray:
    """Return the distance (n, n, n) in cells of each cell from the correcting click."""
    offset = np.stack(np.indices(correction.image.shape)) - correction.coords[-1][:, None, None, None]
    return np.linalg.norm(offset, axis=0)


def test_the_first_click_is_answered_by_the_network_alone() -> None:
    session, predictor, _ = started(nothing)
    assert not predictor.corrections
    assert array(session.mask).any()


@pytest.mark.parametrize("direction", [AXIAL, LEFT_HANDED, oblique()])
def test_a_further_click_changes_the_mask_round_it_and_nothing_else(direction: tuple[float, ...]) -> None:
    session, predictor, centre = started(lambda correction: obey(correction, 3.0), direction)
    before = array(session.mask)
    click = beside(centre, 6.0)
    session.click(click, positive=False)
    after = array(session.mask)
    (correction,) = predictor.corrections
    reach = 3 * correction.cube.spacing
    away = distances(session.mask, click)
    assert not after[away < reach - correction.cube.spacing].any()
    assert (after == before)[away > reach + 4 * correction.cube.spacing].all()


@pytest.mark.parametrize("positive", [True, False])
def test_a_click_for_the_lesion_takes_nothing_away_and_one_against_it_adds_nothing(positive: bool) -> None:
    """The corrector obeys the click and would turn round all of its cube but for that and the first click."""

    def turn_round(correction: Correction) -> FloatArray:
        obeying, before = obey(correction, 4.0), as_before(correction)
        offset = np.stack(np.indices(before.shape)) - correction.coords[0][:, None, None, None]
        stays = (obeying != before) | (np.linalg.norm(offset, axis=0) < 2.0)
        return np.where(stays, obeying, -before).astype(np.float32)

    session, _, centre = started(turn_round)
    before = array(session.mask)
    session.click(beside(centre, RADIUS + 3.0 if positive else 5.0), positive=positive)
    after = array(session.mask)
    assert (after > before).any() == positive
    assert (after < before).any() != positive


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize(("logit", "is_lesion"), [(-0.2, True), (-1.0, False)])
def test_what_is_lesion_with_a_little_less_than_even_odds_belongs_to_the_mask(
    positive: bool, logit: float, is_lesion: bool
) -> None:
    def unsure(correction: Correction) -> FloatArray:
        obeying = obey(correction, 1.0)
        distance = distances_in_cube(correction)
        return np.where(distance < 1.2 * correction.depth, obeying, logit).astype(np.float32)

    session, _, centre = started(unsure)
    before = array(session.mask)
    click = beside(centre, RADIUS + 3.0 if positive else 5.0)
    session.click(click, positive=positive)
    away = distances(session.mask, click)
    # Beyond what the click itself asks for, and where it counts more than the first click.
    near, far = (9.0, 11.0) if positive else (5.0, 6.5)
    ring = (away > near) & (away < far) & (before != positive)
    ring &= away < distances(session.mask, centre) - 2.0
    assert ring.any() and (array(session.mask)[ring] == is_lesion).all()


def test_the_correction_knows_the_click_the_mask_and_the_answer() -> None:
    session, predictor, centre = started(obey)
    click = beside(centre, 6.0)
    session.click(click, positive=False)
    (correction,) = predictor.corrections
    n = correction.image.shape[0]
    assert correction.cube.centre == pytest.approx(click)
    assert correction.coords[-1] == pytest.approx((n - 1) / 2)
    assert correction.labels.tolist() == [1, 0]
    offset = correction.cube.voxels(np.array(centre))
    assert correction.coords[0] == pytest.approx(offset, abs=1e-3)
    # The click lies two millimetres within a ball of eight.
    assert correction.depth * correction.cube.spacing == pytest.approx(2.0, abs=1.1)
    inside = correction.before > 0.5
    assert inside[tuple(np.rint(offset).astype(int))]
    assert (correction.answer[n // 2, n // 2, n // 2] < 0) and inside[n // 2, n // 2, n // 2]
    bright = correction.image > 50
    assert (bright == inside)[~np.isnan(correction.image)].mean() > 0.9


SAGITTAL = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # slices from side to side


@pytest.mark.parametrize(("direction", "slices_along"), [(AXIAL, 2), (SAGITTAL, 0)])
def test_the_correction_knows_how_thick_the_slices_are(
    direction: tuple[float, ...], slices_along: int
) -> None:
    spacing = (0.8, 0.8, 2.5)
    centre = middle(balls(spacing=spacing, direction=direction))
    predictor = CorrectingPredictor(obey)
    session = InteractiveSession(predictor)
    session.set_image(balls(spacing=spacing, direction=direction, centres=[centre], radius=RADIUS))
    session.click(centre)
    session.click(beside(centre, 5.0), positive=False)
    (correction,) = predictor.corrections
    axes = np.asarray(correction.cube.axes).reshape(3, 3)
    across = np.abs(axes[slices_along]) > 0.99  # of the cube's axes, the one from slice to slice
    assert across.sum() == 1
    millimetres = correction.voxel * correction.cube.spacing
    assert millimetres[across] == pytest.approx(2.5) and millimetres[~across] == pytest.approx([0.8, 0.8])


def test_beyond_the_image_the_correction_knows_nothing() -> None:
    session, predictor, _ = started(obey)
    corner = session.mask.TransformIndexToPhysicalPoint((2, 2, 2))
    session.set_mask(sitk.Paste(session.mask, session.mask[0:6, 0:6, 0:6] + 1, (6, 6, 6)))
    session.click(corner, positive=False)
    (correction,) = predictor.corrections
    assert np.isnan(correction.image).any() and not np.isnan(correction.image).all()
    # The mask reaches the image's faces, and fades out within a voxel of them.
    assert correction.before[np.isnan(correction.image)].mean() < 0.05 < correction.before.max()


def test_a_click_that_confirms_the_mask_leaves_it_as_it_is() -> None:
    session, predictor, centre = started(obey)
    session.click(beside(centre, 5.0), positive=False)
    before = array(session.mask)
    session.click(beside(centre, -2.0))
    assert len(predictor.corrections) == 1 and len(session.clicks) == 3
    assert (array(session.mask) == before).all()
    session.undo()
    assert len(session.clicks) == 2


def test_a_first_click_into_a_given_mask_is_answered_by_the_network() -> None:
    session, predictor, centre = started(nothing)
    whole = array(session.mask)
    rough = sitk.BinaryErode(session.mask, (2, 2, 2))
    session.set_mask(rough)
    session.click(centre)
    assert not predictor.corrections
    assert (array(session.mask) == whole).mean() > 0.999 and whole.sum() > array(rough).sum()


def test_clicks_build_on_what_was_corrected() -> None:
    session, predictor, centre = started(obey)
    session.click(beside(centre, 5.0), positive=False)
    first = array(session.mask)
    session.click(beside(centre, -5.0), positive=False)
    second = array(session.mask)
    taken, added = (first & ~second).sum(), (second & ~first).sum()
    assert taken > 100 and added < 0.03 * first.sum()
    # What the first correction took away is no longer there when the second comes.
    cell = np.rint(predictor.corrections[1].cube.voxels(np.array(beside(centre, 5.0)))).astype(int)
    assert (cell >= 0).all() and (cell < 32).all()
    assert predictor.corrections[1].before[tuple(cell)] < 0.5


def test_the_network_is_told_the_mask_that_is_seen() -> None:
    class Remembers(CorrectingPredictor):
        def decode(self, features: object, coords: FloatArray, labels: object, prompt: FloatArray) -> Answer:
            self.prompt = prompt
            return super().decode(features, coords, labels, prompt)  # type: ignore[arg-type]

    centre = middle(balls())
    predictor = Remembers(lambda correction: obey(correction, 8.0))  # takes more than the network does
    session = InteractiveSession(predictor)
    session.set_image(balls(centres=[centre], radius=RADIUS))
    session.click(centre)
    session.click(beside(centre, 6.0), positive=False)
    seen = extract_patch(session.mask, PatchGrid(centre, 3.0, 16), antialias=True)
    session.click(beside(centre, 10.0))
    clear = np.abs(seen - 0.5) > 0.25
    assert ((predictor.prompt > 0) == (seen > 0.5))[clear].all() and (seen > 0.75).any()


def test_undo_and_redo_go_through_corrections() -> None:
    session, _, centre = started(obey)
    before = array(session.mask)
    session.click(beside(centre, 5.0), positive=False)
    after = array(session.mask)
    session.undo()
    assert (array(session.mask) == before).all()
    session.redo()
    assert (array(session.mask) == after).all()


def test_replacing_all_clicks_gives_what_the_clicks_gave() -> None:
    session, _, centre = started(obey)
    session.click(beside(centre, 5.0), positive=False)
    session.click(beside(centre, -5.0), positive=False)
    wanted = array(session.mask)
    clicks = list(session.clicks)
    session.reset()
    session.set_clicks(clicks)
    assert (array(session.mask) == wanted).all()
    session.set_clicks([*clicks[:1], Click(beside(centre, -5.0), False)])
    assert array(session.mask).sum() > wanted.sum()


def test_a_given_mask_is_corrected_where_it_is_clicked() -> None:
    session, predictor, centre = started(obey)
    given = session.mask
    session.set_mask(given)
    click = beside(centre, 5.0)
    session.click(click, positive=False)
    after, before = array(session.mask), array(given)
    (correction,) = predictor.corrections
    reach = 4 * correction.cube.spacing
    away = distances(given, click)
    assert (after == before)[away > reach + 4 * correction.cube.spacing].all()
    assert not after[away < reach - correction.cube.spacing].any()


# The first patch round i = 25 ends at i = 49: 48 is near its border, 52 beyond it, 80 far.
@pytest.mark.parametrize("further", [35, 48, 52, 80])
def test_what_was_taken_from_a_given_mask_stays_taken_when_another_part_is_clicked(further: int) -> None:
    predictor = CorrectingPredictor(obey)
    session = InteractiveSession(predictor)
    image = balls(size=(140, 40, 40), centres=[(60.0, 0.0, 50.0)], radius=6.0)
    given = sitk.Image(image.GetSize(), sitk.sitkUInt8)
    given.CopyInformation(image)
    given[15:125, 12:28, 12:28] = 1
    session.set_image(image)
    session.set_mask(given)
    one, other = (given.TransformIndexToPhysicalPoint((i, 20, 14)) for i in (25, further))
    session.click(one, positive=False)
    first = array(session.mask)
    assert first.sum() < array(given).sum()
    session.click(other, positive=False)
    second = array(session.mask)
    assert second.sum() < first.sum()
    # A cell or two of the edge between both may be drawn anew.
    assert (second & ~first).sum() < 30


def test_what_a_lesion_kept_beyond_its_patch_can_be_taken_away() -> None:
    session, predictor, centre = started(lambda correction: correction.before * 0 + 5)  # all of the cube
    session.click(beside(centre, 20.0))  # twelve millimetres from the mask: a cube of 192 mm
    grown = array(session.mask)
    far = np.argwhere(grown)[np.argmax(distances(session.mask, centre)[grown])]
    point = session.mask.TransformIndexToPhysicalPoint([int(v) for v in far[::-1]])
    predictor.rule = nothing
    clicks = len(predictor.corrections)
    session.click(point, positive=False)
    assert len(predictor.corrections) == clicks + 1
    assert not array(session.mask)[tuple(far)]


def test_a_correction_that_loses_every_lesion_click_gives_way_to_the_answer() -> None:
    session, predictor, centre = started(nothing)
    click = beside(centre, 6.0)
    session.click(click, positive=False)
    assert len(predictor.corrections) == 1
    after = array(session.mask)
    away = distances(session.mask, click)
    # The network takes a ball of four patch voxels of 1.5 mm away.
    assert after.any() and not after[away < 4.0].any()
    assert after[(away > 9.0) & (distances(session.mask, centre) < RADIUS - 2)].all()


def test_a_correction_takes_back_nothing_that_earlier_clicks_asked_for() -> None:
    session, predictor, centre = started(obey)
    taken, kept = beside(centre, 5.0), beside(centre, -4.0)
    session.click(taken, positive=False)
    # All of the cube, and the place of the earlier click too.
    predictor.rule = lambda correction: np.full(correction.image.shape, 5, np.float32)
    session.click(beside(centre, -11.0))
    mask = session.mask
    assert mask[mask.TransformPhysicalPointToIndex(beside(centre, -11.0))]
    assert mask[mask.TransformPhysicalPointToIndex(kept)]
    assert not mask[mask.TransformPhysicalPointToIndex(taken)]


def test_a_click_that_is_not_obeyed_is_looked_at_more_closely() -> None:
    session, predictor, centre = started(obey)
    click = beside(centre, 20.0)
    coarsest: list[float] = []

    def sees_only_what_is_large(correction: Correction) -> FloatArray:
        coarsest.append(correction.cube.spacing)
        return obey(correction) if correction.cube.spacing < 0.6 * coarsest[0] else as_before(correction)

    predictor.rule = sees_only_what_is_large
    before = array(session.mask)
    session.click(click)
    assert [spacing / coarsest[0] for spacing in coarsest] == pytest.approx([1.0, 0.5], rel=0.01)
    after = array(session.mask)
    away = distances(session.mask, click)
    assert after[away < 3 * coarsest[1]].all() and (after & ~before).any()
    assert (after == before)[away > 8 * coarsest[1]].all()


@pytest.mark.parametrize(("beyond", "positive"), [(20.0, True), (4.0, False)])
def test_a_click_is_obeyed_even_if_the_corrector_never_does(beyond: float, positive: bool) -> None:
    session, predictor, centre = started(as_before)
    click = beside(centre, beyond)
    before = array(session.mask)
    session.click(click, positive)
    after, away = array(session.mask), distances(session.mask, click)
    depth = abs(beyond - RADIUS)
    assert len(predictor.corrections) == 3
    assert (after[away < 0.35 * depth] == positive).all()
    assert (after == before)[away > depth].all() and (after != before).any()


def test_against_a_given_mask_clicks_may_leave_nothing() -> None:
    session, _, centre = started(nothing)
    session.set_mask(session.mask)
    session.click(beside(centre, 5.0), positive=False)
    assert volume(session.mask) < 500


def test_a_corrector_that_fails_leaves_the_session_as_it_was() -> None:
    def fails(correction: Correction) -> FloatArray:
        raise RuntimeError("no memory")

    session, _, centre = started(fails)
    before, clicks = array(session.mask), session.clicks
    with pytest.raises(RuntimeError):
        session.click(beside(centre, 5.0), positive=False)
    assert session.clicks == clicks
    assert (array(session.mask) == before).all()


def test_the_changed_sub_region_holds_every_change() -> None:
    session, _, centre = started(obey)
    before = session.mask
    part = session.click(beside(centre, 5.0), positive=False)
    start = before.TransformPhysicalPointToIndex(part.GetOrigin())
    pasted = sitk.Paste(before, part, part.GetSize(), (0, 0, 0), start)
    assert (array(pasted) == array(session.mask)).all()


def test_a_network_that_does_not_correct_is_not_asked() -> None:
    centre = middle(balls())
    predictor = CorrectingPredictor(nothing, Capabilities(32, 16, (1.5,), 1.5, all_clicks=True))
    session = InteractiveSession(predictor)
    session.set_image(balls(centres=[centre], radius=RADIUS))
    session.click(centre)
    session.click(beside(centre, 5.0), positive=False)
    assert not predictor.corrections
