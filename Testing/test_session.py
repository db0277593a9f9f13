"""The interactive session, with a predictor whose answers can be foreseen; needs no torch."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from images import AXIAL, CORONAL, LEFT_HANDED, SAGITTAL, balls, centroid, middle, oblique, volume
from predictors import ThresholdPredictor
from scipy import ndimage

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.errors import ClickError, HistoryError, ImageError, ModelError
from MSAMLogic.geometry import ImageGrid, PatchGrid, extract_patch
from MSAMLogic.looking.looks import first_grids
from MSAMLogic.predictor import Answer, load_model
from MSAMLogic.session import Click, InteractiveSession

SEVERAL_SPACINGS = Capabilities(32, 16, (0.375, 0.75, 1.5, 3.0, 6.0), 1.5, antialias=True, all_clicks=True)


def array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def started(
    image: sitk.Image, capabilities: Capabilities | None = None
) -> tuple[InteractiveSession, ThresholdPredictor]:
    predictor = ThresholdPredictor(capabilities)
    session = InteractiveSession(predictor)
    session.set_image(image)
    return session, predictor


def one_ball(radius: float = 8.0, **options: object) -> tuple[sitk.Image, tuple[float, float, float]]:
    centre = middle(balls(**options))
    return balls(centres=[centre], radius=radius, **options), centre


def pasted(whole: sitk.Image, part: sitk.Image) -> sitk.Image:
    """Put a changed sub-region where its own origin says that it belongs."""
    start = whole.TransformPhysicalPointToIndex(part.GetOrigin())
    assert np.allclose(whole.TransformIndexToPhysicalPoint(start), part.GetOrigin(), atol=1e-6)
    assert part.GetSpacing() == whole.GetSpacing() and part.GetDirection() == whole.GetDirection()
    return sitk.Paste(whole, part, part.GetSize(), (0, 0, 0), start)


# A click


def test_first_click_finds_the_lesion() -> None:
    image, centre = one_ball()
    session, _ = started(image)
    changed = session.click(centre)
    assert changed.GetPixelID() == sitk.sitkUInt8
    assert np.linalg.norm(centroid(session.mask) - centre) < 0.5
    assert volume(session.mask) == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.15)
    assert set(np.unique(array(session.mask))) == {0, 1}
    assert ImageGrid.of(session.mask) == ImageGrid.of(image)


GRIDS = {
    "axial": {"direction": AXIAL},
    "coronal": {"direction": CORONAL},
    "sagittal": {"direction": SAGITTAL},
    "left-handed": {"direction": LEFT_HANDED},
    "oblique": {"direction": oblique()},
    "thick slices": {"size": (100, 100, 14), "spacing": (0.5, 0.5, 5.0)},
    "oblique thick slices": {"size": (100, 100, 14), "spacing": (0.5, 0.5, 5.0), "direction": oblique(35)},
    "few slices": {"size": (64, 64, 3), "spacing": (1.0, 1.0, 4.0)},
    "tiny": {"size": (40, 40, 40), "spacing": (0.5, 0.5, 0.5)},
    "coarse": {"size": (20, 20, 20), "spacing": (4.0, 4.0, 4.0)},
}


@pytest.mark.parametrize("capabilities", [None, SEVERAL_SPACINGS], ids=["one spacing", "several spacings"])
@pytest.mark.parametrize("name", GRIDS)
def test_lesion_lies_where_it_was_clicked_on_any_grid(name: str, capabilities: Capabilities | None) -> None:
    image, centre = one_ball(radius=6.0, **GRIDS[name])
    session, _ = started(image, capabilities)
    session.click(centre)
    truth = sitk.GetArrayViewFromImage(image) > 50
    mask = array(session.mask) > 0
    assert (
        np.linalg.norm(centroid(session.mask) - centroid(image > 50)) < 0.35 * max(image.GetSpacing()) + 0.3
    )
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.8


@settings(max_examples=30, deadline=None)
@given(
    spacing=st.tuples(*[st.floats(0.4, 4.0)] * 3),
    degrees=st.integers(-800, 800).map(lambda tenths: tenths / 10),
    flips=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_lesion_lies_where_it_was_clicked_on_random_grids(
    spacing: tuple[float, ...], degrees: float, flips: tuple[float, ...], origin: tuple[float, ...]
) -> None:
    direction = (np.array(oblique(degrees)).reshape(3, 3) * flips).ravel().tolist()
    size = [max(8, int(50 / s)) for s in spacing]
    image, centre = one_ball(radius=9.0, size=size, spacing=spacing, direction=direction, origin=origin)
    session, _ = started(image, SEVERAL_SPACINGS)
    session.click(centre)
    assert np.linalg.norm(centroid(session.mask) - centroid(image > 50)) < 0.35 * max(spacing) + 0.3


def test_changed_regions_add_up_to_the_mask() -> None:
    first, second = (30.0, 0.0, 50.0), (52.0, 22.0, 72.0)
    image = balls(centres=[first, second], radius=7)
    session, _ = started(image)
    viewer = sitk.Image(image.GetSize(), sitk.sitkUInt8)
    viewer.CopyInformation(image)
    for point, positive in [(first, True), (second, True), ((30, 4, 50), False)]:
        viewer = pasted(viewer, session.click(point, positive))
        assert (array(viewer) == array(session.mask)).all()
    for step in (
        session.undo,
        session.undo,
        session.redo,
        session.undo,
        session.undo,
        session.redo,
        session.reset,
    ):
        viewer = pasted(viewer, step())
        assert (array(viewer) == array(session.mask)).all()
    assert not array(viewer).any()


def test_changed_region_is_the_lesions_size_not_the_images() -> None:
    image, centre = one_ball(size=(120, 120, 120))
    session, _ = started(image)
    assert max(session.click(centre).GetSize()) <= 20


def test_encoder_runs_once_a_patch() -> None:
    image, centre = one_ball()
    session, predictor = started(image)
    for offset in range(4):
        session.click((centre[0] + offset, centre[1], centre[2]), positive=offset != 2)
    assert (predictor.encoded, predictor.decoded) == (1, 4)


def test_going_back_to_an_earlier_lesion_costs_no_encoding() -> None:
    near, far = (10.0, 10.0, 10.0), (90.0, 90.0, 90.0)
    image = balls(size=(100, 100, 100), origin=(0, 0, 0), centres=[near, far])
    session, predictor = started(image)
    session.click(near)
    session.click(far)
    session.click((10.0, 12.0, 10.0), positive=False)
    assert predictor.encoded == 2
    session.reset()
    session.click(near)
    assert predictor.encoded == 2


def test_newest_click_alone_where_the_network_wants_it() -> None:
    image, centre = one_ball()
    for all_clicks, expected in ((True, [1, 2]), (False, [1, 1])):
        session, predictor = started(image, Capabilities(32, 16, all_clicks=all_clicks))
        session.click(centre)
        session.click((centre[0] + 3, centre[1], centre[2]), positive=False)
        assert [len(labels) for _, labels in predictor.seen] == expected
        assert predictor.seen[-1][1][-1] == 0


def test_background_click_takes_away_and_stays_away() -> None:
    image, centre = one_ball()
    session, _ = started(image)
    session.click(centre)
    before = volume(session.mask)
    wrong = (centre[0] + 5, centre[1], centre[2])
    session.click(wrong, positive=False)
    assert volume(session.mask) < before - 50
    index = image.TransformPhysicalPointToIndex(wrong)
    assert session.mask[index] == 0
    session.click((centre[0] - 3, centre[1], centre[2]))
    assert session.mask[index] == 0


def test_clicks_are_remembered_in_order() -> None:
    image, centre = one_ball()
    session, _ = started(image)
    session.click(centre)
    session.click(centre, positive=False)
    assert [(c.point, c.positive) for c in session.clicks] == [(centre, True), (centre, False)]


# Large and several lesions


def test_lesion_larger_than_the_patch_is_not_cut_with_one_spacing() -> None:
    centre = (60.0, 60.0, 60.0)
    image = balls(size=(120, 120, 120), origin=(0, 0, 0), centres=[centre], radius=30)
    session, predictor = started(image)  # a patch covers 48 mm, the lesion is 60 mm wide
    session.click(centre)
    truth = sitk.GetArrayViewFromImage(image) > 50
    mask = array(session.mask) > 0
    assert predictor.encoded > 1
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9


def test_lesion_larger_than_all_patches_is_said_to_be_cut() -> None:
    image = balls(size=(150, 60, 60), spacing=(3, 1, 1), origin=(0, 0, 0))
    bright = sitk.GetImageFromArray(np.full((60, 60, 150), 100, np.int16))
    bright.CopyInformation(image)
    bright[:, :2, :] = 0
    session, _ = started(bright)
    session.click((225.0, 10.0, 30.0))
    assert session.is_cut_off
    smaller, centre = one_ball()
    session.set_image(smaller)
    session.click(centre)
    assert not session.is_cut_off


@pytest.mark.parametrize("radius", [2.5, 6.0, 20.0, 45.0])
def test_spacing_follows_the_size_of_the_lesion(radius: float) -> None:
    centre = (60.0, 60.0, 60.0)
    image = balls(
        size=(240, 240, 240), spacing=(0.5, 0.5, 0.5), origin=(0, 0, 0), centres=[centre], radius=radius
    )
    session, _ = started(image, SEVERAL_SPACINGS)
    session.click(centre)
    truth = sitk.GetArrayViewFromImage(image) > 50
    mask = array(session.mask) > 0
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.85


@pytest.mark.parametrize(
    "capabilities",
    [None, Capabilities(32, 16, (0.75, 1.5, 3.0, 6.0), 0.75, all_clicks=True)],
    ids=["one", "several"],
)
def test_a_second_lesion_leaves_the_first_alone(capabilities: Capabilities | None) -> None:
    near, far = (20.0, 20.0, 20.0), (80.0, 80.0, 80.0)
    image = balls(size=(100, 100, 100), origin=(0, 0, 0), centres=[near, far])
    session, _ = started(image, capabilities)
    session.click(near)
    first = array(session.mask)
    session.click(far)
    both = array(session.mask)
    assert (both[:50, :50, :50] == first[:50, :50, :50]).all()
    assert both[50:, 50:, 50:].any()


# A given mask


def test_given_mask_is_corrected_not_replaced() -> None:
    near, far = (20.0, 20.0, 20.0), (80.0, 80.0, 80.0)
    image = balls(size=(100, 100, 100), origin=(0, 0, 0), centres=[near, far], radius=8)
    session, _ = started(image)
    mask = balls(size=(100, 100, 100), origin=(0, 0, 0), centres=[near, far], radius=10) > 50
    changed = session.set_mask(mask)
    assert (array(session.mask) == array(mask)).all()
    assert changed.GetSize() != mask.GetSize()
    session.click((20.0, 20.0, 26.0), positive=False)
    corrected = array(session.mask)
    assert corrected[26, 20, 20] == 0
    assert corrected[14, 20, 20] == 1
    assert (corrected[50:] == array(mask)[50:]).all()
    session.undo()
    assert (array(session.mask) == array(mask)).all()
    session.undo()
    assert not array(session.mask).any()


def test_mask_on_another_grid_is_brought_over_by_geometry() -> None:
    image, centre = one_ball()
    session, _ = started(image)
    other = (
        balls(size=(30, 30, 30), origin=tuple(c - 15.5 for c in centre), centres=[centre], direction=AXIAL)
        > 50
    )
    session.set_mask(other)
    assert (array(session.mask) == (array(image) > 50)).all()


def test_mask_of_another_place_is_refused() -> None:
    image, centre = one_ball()
    session, _ = started(image)
    session.click(centre)
    before = array(session.mask)
    elsewhere = balls(origin=(900, 900, 900), centres=[(930, 930, 930)]) > 50
    with pytest.raises(ImageError, match="outside"):
        session.set_mask(elsewhere)
    assert (array(session.mask) == before).all()


# History


def test_undo_and_redo_restore_mask_clicks_and_model_state() -> None:
    image, centre = one_ball()
    session, predictor = started(image)
    points = [(centre[0] + 2 * n, centre[1], centre[2]) for n in range(3)]
    states = [(array(session.mask), session.clicks)]
    for point, positive in zip(points, (True, False, False), strict=True):
        session.click(point, positive)
        states.append((array(session.mask), session.clicks))
    for mask, clicks in reversed(states[:-1]):
        session.undo()
        assert (array(session.mask) == mask).all() and session.clicks == clicks
    for mask, clicks in states[1:]:
        session.redo()
        assert (array(session.mask) == mask).all() and session.clicks == clicks
    session.undo()
    session.click(points[2], False)  # the same click again, from the restored model state
    assert (array(session.mask) == states[3][0]).all()
    assert predictor.encoded == 1


def test_nothing_to_undo_or_redo_is_said() -> None:
    image, centre = one_ball()
    session, _ = started(image)
    with pytest.raises(HistoryError):
        session.undo()
    session.click(centre)
    with pytest.raises(HistoryError):
        session.redo()
    assert session.can_undo and not session.can_redo


def test_a_new_click_ends_the_redo() -> None:
    image, centre = one_ball()
    session, _ = started(image)
    session.click(centre)
    session.undo()
    session.click(centre)
    assert not session.can_redo


def test_reset_can_be_undone() -> None:
    image, centre = one_ball()
    session, _ = started(image)
    session.click(centre)
    before = array(session.mask)
    session.reset()
    assert not array(session.mask).any() and session.clicks == ()
    session.undo()
    assert (array(session.mask) == before).all() and len(session.clicks) == 1


# First looks at several spacings


class Judge(ThresholdPredictor):
    """Looks first at three spacings, and estimates what it is told to."""

    def __init__(
        self, estimates: Sequence[float] = (), first_looks: tuple[float, ...] = (0.75, 1.5, 3.0)
    ) -> None:
        super().__init__(replace(SEVERAL_SPACINGS, first_looks=first_looks))
        self.estimates = list(estimates)

    def decode(self, *args: Any) -> Answer:
        answer = super().decode(*args)
        return answer._replace(iou=self.estimates.pop(0)) if self.estimates else answer


@pytest.mark.parametrize(("radius", "spacings"), [(10.0, {0.75, 1.5}), (14.0, {1.5}), (30.0, {3.0})])
def test_a_first_look_that_neighbours_confirm_is_taken(radius: float, spacings: set[float]) -> None:
    size = (120, 120, 120)
    centre = middle(balls(size=size))
    image = balls(size=size, centres=[centre], radius=radius)
    judge = Judge()
    session = InteractiveSession(judge)
    session.set_image(image)
    session.click(centre)
    (lesion,) = session._state.lesions
    assert lesion.looks[0].grid.spacing in spacings
    assert judge.encoded >= 3  # every first look was tried
    assert volume(session.mask) == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.25)


# The smallest is little at 1.5 mm already, which is not enough.
@pytest.mark.parametrize(
    ("radius", "spacings"),
    [
        (3.0, [0.75, 1.5, 3.0]),
        (5.0, [0.75, 1.5, 3.0]),
        (8.0, [0.75, 1.5, 3.0, 6.0]),
        (20.0, [0.75, 1.5, 3.0, 6.0]),
    ],
)
def test_a_lesion_that_two_looks_agree_is_little_is_not_looked_at_more_coarsely(
    radius: float, spacings: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled = []

    def sample(image: sitk.Image, grid: PatchGrid, *args: Any, **options: Any) -> np.ndarray:
        sampled.append(grid.spacing)
        return extract_patch(image, grid, *args, **options)

    monkeypatch.setattr("MSAMLogic.looking.patch_answers.extract_patch", sample)
    size = (120, 120, 120)
    centre = middle(balls(size=size))
    judge = Judge(first_looks=(0.75, 1.5, 3.0, 6.0))
    session = InteractiveSession(judge)
    session.set_image(balls(size=size, centres=[centre], radius=radius))
    session.click(centre)
    assert sorted(sampled) == spacings  # and none is sampled twice
    assert judge.encoded == judge.decoded == len(spacings)


def test_a_further_click_looks_at_no_other_spacing_without_need() -> None:
    centre = middle(balls(size=(80, 80, 80)))
    image = balls(size=(80, 80, 80), centres=[centre], radius=10)
    judge = Judge()
    session = InteractiveSession(judge)
    session.set_image(image)
    session.click(centre)
    encoded, decoded = judge.encoded, judge.decoded
    session.click((centre[0] + 4, centre[1], centre[2]), False)
    assert judge.encoded == encoded and judge.decoded == decoded + 1


def test_a_small_lesion_is_drawn_by_the_finest_first_look_that_shows_it_whole() -> None:
    centre = middle(balls(size=(80, 80, 80)))
    image = balls(size=(80, 80, 80), centres=[centre], radius=4)
    session = InteractiveSession(Judge())
    session.set_image(image)
    session.click(centre)
    assert session._state.lesions[0].looks[0].grid.spacing == 0.75
    assert volume(session.mask) == pytest.approx(4 / 3 * np.pi * 4**3, rel=0.4)  # at 1.5 mm a voxel


@pytest.mark.parametrize(("estimate", "spacing"), [(0.9, 0.75), (0.1, 1.5)])
def test_a_later_look_is_gone_on_with_unless_its_estimate_is_worse(estimate: float, spacing: float) -> None:
    centre = middle(balls(size=(80, 80, 80)))
    image = balls(size=(80, 80, 80), centres=[centre], radius=4)
    session = InteractiveSession(Judge([0.9, 0.9, 0.9, 0.9, estimate], first_looks=(1.5, 3.0)))
    session.set_image(image)
    session.click(centre)
    assert session._state.lesions[0].looks[0].grid.spacing == 1.5
    session.click((centre[0] + 2, centre[1], centre[2]))  # the lesion is small in the patch
    (lesion,) = session._state.lesions
    assert lesion.looks[0].grid.spacing == spacing


@pytest.mark.parametrize("is_given", [False, True])
def test_at_another_spacing_clicks_are_made_again_but_a_given_mask_is_brought_along(is_given: bool) -> None:
    class Recorder(Judge):
        """Notes how many clicks came with a mask prompt or without."""

        calls: list[tuple[int, bool]]

        def decode(self, features: Any, coords: Any, labels: Any, prompt: Any) -> Answer:
            self.calls.append((len(coords), bool(prompt.any())))
            return super().decode(features, coords, labels, prompt)

    centre = middle(balls(size=(80, 80, 80)))
    image = balls(size=(80, 80, 80), centres=[centre], radius=4)
    recorder = Recorder(first_looks=(1.5, 3.0))
    recorder.calls = []
    session = InteractiveSession(recorder)
    session.set_image(image)
    if is_given:
        session.set_mask(sitk.Cast(image > 50, sitk.sitkUInt8))
    session.click(centre)
    session.click((centre[0] + 2, centre[1], centre[2]))
    assert session._state.lesions[0].looks[0].grid.spacing == 0.75
    if is_given:
        assert all(has_prompt for _, has_prompt in recorder.calls)
    else:  # two first looks, the second click, and both clicks again
        assert recorder.calls == [(1, False)] * 2 + [(2, True), (1, False), (2, True)]


def test_a_finer_look_keeps_the_size_that_the_clicks_were_about() -> None:
    class Timid(Judge):
        """Draws what is large in its patch too small, and is less and less sure towards the edge."""

        def decode(self, features: Any, coords: Any, labels: Any, prompt: Any) -> Answer:
            mask = super().decode(features, coords, labels, prompt * 0).logits > 0
            depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
            logits = (depth - (1.5 if mask.sum() > 300 else 0.0)).astype(np.float32)
            small = logits.reshape(16, 2, 16, 2, 16, 2).mean(axis=(1, 3, 5))
            return Answer(logits, small, 0.9)

    centre = middle(balls(size=(80, 80, 80)))
    image = balls(size=(80, 80, 80), centres=[centre], radius=4)
    session, size = InteractiveSession(Timid(first_looks=(1.5, 3.0))), 4 / 3 * np.pi * 4**3
    session.set_image(image)
    session.click(centre)
    assert volume(session.mask) == pytest.approx(size, rel=0.25)
    session.click((centre[0] + 2, centre[1], centre[2]))
    assert session._state.lesions[0].looks[0].grid.spacing == 0.75
    assert volume(session.mask) == pytest.approx(size, rel=0.35)  # as drawn it would be less than half


def test_first_looks_are_not_finer_than_the_voxels() -> None:
    capabilities = replace(SEVERAL_SPACINGS, first_looks=(0.375, 0.75, 1.5, 3.0, 6.0))
    coarse = ImageGrid.of(balls(size=(30, 30, 30), spacing=(2.0, 2.0, 2.0)))
    assert [g.spacing for g in first_grids(coarse.origin, coarse, capabilities)] == [1.5, 3.0, 6.0]
    fine = ImageGrid.of(balls(size=(40, 40, 40), spacing=(0.5, 0.5, 0.5)))
    assert [g.spacing for g in first_grids(fine.origin, fine, capabilities)] == [0.375, 0.75, 1.5, 3.0, 6.0]
    only = first_grids(fine.origin, fine, SEVERAL_SPACINGS)
    assert len(only) == 1


# Clicks that are replaced, and copies


def clicks_of(centre: tuple[float, float, float], *offsets: float) -> list[Click]:
    """A lesion click in the centre and background clicks beside it along x."""
    x, y, z = centre
    return [Click(centre), *(Click((x + offset, y, z), False) for offset in offsets)]


def test_replaced_clicks_give_the_mask_of_making_them_one_after_the_other() -> None:
    image, centre = one_ball()
    moved = clicks_of(centre, -4.0, 4.0)
    expected, _ = started(image)
    for click in moved:
        expected.click(click.point, click.positive)
    session, _ = started(image)
    for click in clicks_of(centre, -4.0, 5.0):
        session.click(click.point, click.positive)
    before = array(session.mask)
    viewer = pasted(session.mask, session.set_clicks(moved))
    assert (array(session.mask) == array(expected.mask)).all() and session.clicks == tuple(moved)
    assert (array(viewer) == array(session.mask)).all()
    session.undo()
    assert (array(session.mask) == before).all() and session.clicks == tuple(clicks_of(centre, -4.0, 5.0))


def test_clicks_that_are_known_already_are_not_made_again() -> None:
    image, centre = one_ball()
    session, predictor = started(image)
    clicks = clicks_of(centre, -4.0, 4.0, 5.0)
    for click in clicks:
        session.click(click.point, click.positive)
    decoded = predictor.decoded
    session.set_clicks(clicks[:-1])
    assert predictor.decoded == decoded
    session.set_clicks([*clicks[:2], clicks[3]])
    assert predictor.decoded == decoded + 1


def test_replaced_clicks_start_from_the_given_mask() -> None:
    image, centre = one_ball()
    session, _ = started(image)
    session.set_mask(image > 50)
    whole = array(session.mask)
    session.click((centre[0] + 5, centre[1], centre[2]), False)
    assert (array(session.mask) != whole).any()
    session.set_clicks([])
    assert (array(session.mask) == whole).all() and session.clicks == ()


def test_replacing_by_a_bad_click_changes_nothing() -> None:
    image, centre = one_ball()
    session, _ = started(image)
    session.click(centre)
    before = array(session.mask)
    for bad in ([Click(centre, False)], [Click(centre), Click((1e4, 0.0, 0.0))]):
        with pytest.raises(ClickError):
            session.set_clicks(bad)
    assert (array(session.mask) == before).all() and session.clicks == (Click(centre),)
    session.undo()
    assert not session.can_undo


def test_a_copy_goes_its_own_way() -> None:
    image, centre = one_ball()
    session, predictor = started(image)
    session.click(centre)
    before = array(session.mask)
    other = session.copy()
    other.click((centre[0] + 4, centre[1], centre[2]), False)
    other.undo()
    other.undo()
    assert (array(session.mask) == before).all() and session.can_undo and not session.can_redo
    assert predictor.encoded == 1


def test_a_forgotten_history_cannot_be_undone_and_the_mask_stays() -> None:
    image, centre = one_ball()
    session, _ = started(image)
    session.click(centre)
    other = session.copy()
    session.forget_history()
    assert not session.can_undo and other.can_undo and array(session.mask).any()


def test_the_mask_region_is_the_mask_in_its_box() -> None:
    image, centre = one_ball()
    session, _ = started(image)
    assert not array(session.mask_region).any()
    session.click(centre)
    empty = sitk.Image(image.GetSize(), sitk.sitkUInt8)
    empty.CopyInformation(image)
    assert (array(pasted(empty, session.mask_region)) == array(session.mask)).all()
    assert session.mask_region.GetNumberOfPixels() < 0.2 * image.GetNumberOfPixels()


def test_the_starting_mask_is_what_was_given() -> None:
    image, centre = one_ball()
    session, _ = started(image)
    assert not array(session.starting_mask).any()
    given_mask = sitk.RegionOfInterest(image > 50, (24, 24, 24), image.TransformPhysicalPointToIndex(centre))
    session.set_mask(given_mask)  # a part of the image, on the image's own voxels
    session.click((centre[0] + 5, centre[1], centre[2]), False)
    assert array(session.starting_mask).sum() == array(given_mask).sum()
    assert centroid(session.starting_mask) == pytest.approx(centroid(given_mask), abs=1e-6)


def test_a_given_mask_that_is_a_part_of_the_image_is_placed_by_geometry() -> None:
    image, _ = one_ball(direction=oblique(25))
    mask = image > 50
    session, _ = started(image)
    session.set_mask(sitk.RegionOfInterest(mask, (40, 40, 40), (10, 10, 10)))
    part = array(mask).copy()
    outside = np.ones(part.shape, bool)
    outside[10:50, 10:50, 10:50] = False
    part[outside] = 0
    assert part.any() and (array(session.mask) == part).all()


# Bad input


def with_value(value: float) -> sitk.Image:
    image = balls(dtype=np.float32)
    image[3, 3, 3] = value
    return image


def zero_spacing() -> sitk.Image:
    class Broken(sitk.Image):
        def GetSpacing(self) -> tuple[float, ...]:
            return (1.0, 1.0, 0.0)

    return Broken(balls())


BAD_IMAGES = {
    "NaN": lambda: with_value(float("nan")),
    "infinite": lambda: with_value(float("inf")),
    "constant": lambda: sitk.Image((20, 20, 20), sitk.sitkInt16),
    "constant float": lambda: sitk.Image((20, 20, 20), sitk.sitkFloat32) + 3,
    "vector": lambda: sitk.Image((20, 20, 20), sitk.sitkVectorUInt8, 3),
    "4D": lambda: sitk.Image((8, 8, 8, 3), sitk.sitkInt16),
    "2D": lambda: sitk.Image((8, 8), sitk.sitkInt16),
    "complex": lambda: sitk.Image((8, 8, 8), sitk.sitkComplexFloat32),
    "spacing 0": zero_spacing,
    "no image": lambda: np.zeros((8, 8, 8)),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_image_is_refused_and_the_session_goes_on(name: str) -> None:
    image, centre = one_ball()
    session, _ = started(image)
    session.click(centre)
    before = array(session.mask)
    with pytest.raises(ImageError):
        session.set_image(BAD_IMAGES[name]())
    assert (array(session.mask) == before).all() and len(session.clicks) == 1
    session.click(centre)


def test_bad_clicks_are_refused_and_leave_no_trace() -> None:
    image, centre = one_ball()
    session, _ = started(image)
    with pytest.raises(ClickError, match="positive"):
        session.click(centre, positive=False)
    bad: list[object] = [(1e4, 0, 0), (float("nan"), 0, 0), (1.0, 2.0), "abc", None]
    for point in bad:
        with pytest.raises(ClickError):
            session.click(point)  # type: ignore[arg-type]
    assert session.clicks == () and not session.can_undo


def test_click_before_an_image_is_refused() -> None:
    session = InteractiveSession(ThresholdPredictor())
    for action in (lambda: session.click((0, 0, 0)), lambda: session.mask, session.reset):
        with pytest.raises(ImageError, match="set_image"):
            action()


def test_click_into_emptiness_is_refused() -> None:
    blank = np.zeros((120, 120, 120), np.int16)
    blank[0, 0, 0] = 1
    session, _ = started(sitk.GetImageFromArray(blank))
    with pytest.raises(ImageError, match="one and the same"):
        session.click((80.0, 80.0, 80.0))
    assert session.clicks == ()


def test_failing_network_leaves_the_session_as_it_was() -> None:
    image, centre = one_ball()
    session, predictor = started(image)
    session.click(centre)
    before = array(session.mask)
    predictor.decode = lambda *arguments: (_ for _ in ()).throw(RuntimeError("broken"))  # type: ignore[assignment]
    with pytest.raises(RuntimeError):
        session.click(centre)
    assert (array(session.mask) == before).all() and len(session.clicks) == 1


def test_something_that_is_no_model_is_refused() -> None:
    with pytest.raises(ModelError):
        InteractiveSession(object())


# The model's own arithmetic


def test_patch_voxels_and_labels_are_those_of_the_clicks() -> None:
    image, centre = one_ball()
    session, predictor = started(image)
    session.click(centre)
    session.click((centre[0] - 3.0, centre[1] + 1.5, centre[2] + 6.0), positive=False)
    coords, labels = predictor.seen[-1]
    assert labels.tolist() == [1, 0]
    assert coords[0] == pytest.approx([15.5] * 3)
    # The patch's axes are R, A, S: 3 mm to the right, 1.5 mm to the back, 6 mm up, at 1.5 mm a voxel.
    assert coords[1] - coords[0] == pytest.approx([2.0, -1.0, 4.0])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_mask_does_not_depend_on_the_storage_order(order: tuple[int, int, int]) -> None:
    image, centre = one_ball()
    permuted = sitk.PermuteAxes(image, order)
    masks = []
    for stored in (image, permuted):
        session, _ = started(stored)
        session.click((centre[0] + 0.13, centre[1] + 0.21, centre[2] - 0.17))  # off the voxels: no ties
        masks.append(sitk.Resample(session.mask, image, sitk.Transform(), sitk.sitkNearestNeighbor))
    assert (array(masks[0]) == array(masks[1])).all()


def test_missing_torch_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("MSAMLogic.loading")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("MSAMLogic.model")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match="PyTorch extension"):
        load_model("default")


@pytest.mark.parametrize("direction", [AXIAL, oblique(40)], ids=["axial", "oblique"])
@pytest.mark.parametrize("capabilities", [None, SEVERAL_SPACINGS], ids=["one spacing", "several spacings"])
def test_given_mask_beyond_the_patch_stays(
    direction: tuple[float, ...], capabilities: Capabilities | None
) -> None:
    grid = {"size": (110, 110, 110), "direction": direction}
    centre = middle(balls(**grid))
    image = balls(centres=[centre], radius=8, **grid)
    given_mask = balls(centres=[centre], radius=45, **grid) > 50
    session, _ = started(image, capabilities)
    session.set_mask(given_mask)
    session.click(centre, positive=False)
    lost = (array(given_mask) > 0) & (array(session.mask) == 0)
    assert lost.any()
    world = np.array(
        [given_mask.TransformIndexToPhysicalPoint(list(map(int, p[::-1]))) for p in np.argwhere(lost)]
    )
    reach = np.abs(world - np.array(centre)).max()
    if capabilities is None:  # one patch, 48 mm wide, in which the predictor takes 6 mm round the click away
        assert reach < 10
    assert (array(session.mask) <= array(given_mask)).all()


def test_a_lesion_that_grows_moves_to_a_coarser_patch() -> None:
    small, large = (40.0, 60.0, 60.0), (75.0, 60.0, 60.0)
    grid = {"size": (120, 120, 120), "origin": (0.0, 0.0, 0.0)}
    first, second = balls(centres=[small], radius=10, **grid), balls(centres=[large], radius=24, **grid)
    image = sitk.Maximum(first, second)
    session, _ = started(image, SEVERAL_SPACINGS)
    session.click(small)
    session.click((58.0, 60.0, 60.0))
    truth = sitk.GetArrayViewFromImage(image) > 50
    mask = array(session.mask) > 0
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.85
    assert len(session.clicks) == 2


def test_a_click_on_the_far_end_of_a_lesion_extends_it() -> None:
    grid = {"size": (150, 70, 70), "origin": (0.0, 0.0, 0.0)}
    ends = (30.0, 35.0, 35.0), (120.0, 35.0, 35.0)
    image = balls(centres=[(float(x), 35.0, 35.0) for x in range(30, 121, 6)], radius=16, **grid)
    session, _ = started(image, Capabilities(32, 16, (0.75, 1.5, 3.0, 6.0), 0.75, all_clicks=True))
    session.click(ends[0])
    session.click(ends[1])
    truth = sitk.GetArrayViewFromImage(image) > 50
    mask = array(session.mask) > 0
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.8  # at 6 mm a voxel
    assert ndimage.label(mask)[1] == 1
