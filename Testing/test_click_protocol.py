"""The click protocol, with a session that answers from a list."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from MSAMLogic.errors import ClickError, ImageError
from MSAMLogic.evaluation.protocol import ClickScore, lesions, next_click, run_clicks

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def image_of(array: np.ndarray, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> sitk.Image:
    """Return an array (k, j, i) on an oblique, left-handed grid far from the origin."""
    image = sitk.GetImageFromArray(array)
    c, s = math.cos(0.3), math.sin(0.3)
    image.SetDirection((c, s, 0, s, -c, 0, 0, 0, 1))
    image.SetOrigin((-50.0, 120.0, 30.5))
    image.SetSpacing(spacing)
    return image


def boxes(*filled: Box, shape: tuple[int, int, int] = (12, 14, 16)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    for box in filled:
        mask[tuple(slice(*axis) for axis in box)] = 1
    return mask


class ListedAnswers:
    """A session whose masks were chosen beforehand."""

    def __init__(self, answers: list[sitk.Image]) -> None:
        self.answers = answers
        self.clicks: list[tuple[tuple[float, float, float], bool]] = []
        self.images: list[sitk.Image] = []

    def set_image(self, image: sitk.Image) -> None:
        self.images.append(image)
        self.clicks.clear()

    def click(self, point: tuple[float, float, float], positive: bool = True) -> None:
        self.clicks.append((point, positive))

    @property
    def mask(self) -> sitk.Image:
        return self.answers[len(self.clicks) - 1]


def voxel_of(image: sitk.Image, point: tuple[float, float, float]) -> tuple[int, ...]:
    index = image.TransformPhysicalPointToContinuousIndex(point)
    assert index == pytest.approx([round(i) for i in index], abs=1e-6)
    return tuple(round(i) for i in index)[::-1]


LESION = boxes(((2, 7), (2, 7), (2, 7)))
NOTHING = LESION * 0


def test_lesions_come_largest_first_without_small_ones_and_no_more_than_asked_for() -> None:
    mask = boxes(((0, 2), (0, 2), (0, 2)), ((4, 8), (4, 8), (4, 8)), ((0, 3), (10, 13), (10, 13)))
    found = lesions(image_of(mask), minimum_volume_mm3=27)
    assert [int(sitk.GetArrayFromImage(lesion).sum()) for lesion in found] == [64, 27]
    assert len(lesions(image_of(mask), minimum_volume_mm3=1)) == 3
    assert len(lesions(image_of(mask), minimum_volume_mm3=1, most=1)) == 1


def test_lesion_volume_is_measured_in_cubic_millimetres() -> None:
    mask = image_of(boxes(((0, 5), (0, 5), (0, 5))), spacing=(1.0, 1.0, 1.5))
    assert lesions(mask, 187.5)
    assert not lesions(mask, 187.6)


def test_lesions_keep_the_grid_and_parts_that_touch_at_a_corner_are_one() -> None:
    mask = image_of(boxes(((0, 3), (0, 3), (0, 3)), ((3, 6), (3, 6), (3, 6))) * 7)
    (lesion,) = lesions(mask, 1)
    assert np.array_equal(sitk.GetArrayFromImage(lesion), sitk.GetArrayFromImage(mask) // 7)
    assert lesion.GetOrigin() == mask.GetOrigin() and lesion.GetDirection() == mask.GetDirection()


def test_an_empty_mask_has_no_lesions() -> None:
    assert lesions(image_of(NOTHING)) == []


def test_the_first_click_is_the_middle_of_a_cube() -> None:
    lesion = image_of(LESION)
    click = next_click(lesion, image_of(NOTHING))
    assert click is not None and click.positive
    assert voxel_of(lesion, click.point) == (4, 4, 4)


def test_the_click_is_a_point_in_lps_millimetres() -> None:
    lesion = image_of(LESION, spacing=(0.7, 0.8, 3.0))
    click = next_click(lesion, lesion * 0)
    assert click is not None
    assert click.point == pytest.approx(lesion.TransformIndexToPhysicalPoint((4, 4, 4)))


def test_depth_is_measured_in_millimetres() -> None:
    # A slab of one slice, joined to a narrow block of five: thick slices make the slab's middle deeper.
    mask = boxes(((0, 1), (0, 9), (0, 9)), ((0, 5), (0, 3), (9, 16)))
    thin, thick = image_of(mask), image_of(mask, spacing=(1.0, 1.0, 10.0))
    in_block, in_slab = next_click(thin, thin * 0), next_click(thick, thick * 0)
    assert in_block is not None and in_slab is not None
    assert voxel_of(thin, in_block.point) == (2, 1, 12)
    assert voxel_of(thick, in_slab.point) == (0, 4, 4)


def test_of_equally_deep_points_the_click_takes_the_one_in_the_middle() -> None:
    lesion = image_of(boxes(((5, 6), (2, 11), (4, 15))))
    click = next_click(lesion, lesion * 0)
    assert click is not None
    assert voxel_of(lesion, click.point) == (5, 6, 9)


def test_the_image_border_counts_as_outside() -> None:
    lesion = image_of(np.ones((5, 5, 9), np.uint8))
    click = next_click(lesion, lesion * 0)
    assert click is not None
    assert voxel_of(lesion, click.point) == (2, 2, 4)


def test_missed_lesion_gets_a_positive_click_and_excess_a_negative_one() -> None:
    truth = image_of(boxes(((2, 7), (2, 7), (2, 7))))
    too_little = image_of(boxes(((2, 7), (2, 7), (2, 4))))
    too_much = image_of(boxes(((2, 7), (2, 7), (2, 10))))
    missed, excess = next_click(truth, too_little), next_click(truth, too_much)
    assert missed is not None and missed.positive and voxel_of(truth, missed.point)[2] in (4, 5, 6)
    assert excess is not None and not excess.positive and voxel_of(truth, excess.point) == (4, 4, 8)


def test_the_larger_of_two_errors_is_clicked_though_the_other_kind_is_more_in_total() -> None:
    truth = image_of(boxes(((2, 7), (2, 7), (2, 7))))
    specks = [((9, 11), (j, j + 2), (i, i + 2)) for j in (0, 4, 8) for i in (0, 4, 8, 12)]
    prediction = image_of(boxes(((2, 7), (2, 7), (2, 6)), *specks))  # 96 too much in 8s, 25 missed
    click = next_click(truth, prediction)
    assert click is not None and click.positive


def test_of_errors_of_one_size_the_missed_one_is_clicked_first() -> None:
    truth, shifted = boxes(((2, 4), (2, 4), (2, 4))), boxes(((2, 4), (2, 4), (6, 8)))
    for lesion, prediction in ((truth, shifted), (shifted, truth)):
        click = next_click(image_of(lesion), image_of(prediction))
        assert click is not None and click.positive


def test_there_is_no_click_when_nothing_is_wrong() -> None:
    assert next_click(image_of(LESION), image_of(LESION * 3)) is None
    assert next_click(image_of(NOTHING), image_of(NOTHING)) is None


def parts_by_flooding(mask: np.ndarray) -> list[set[tuple[int, ...]]]:
    left = set(map(tuple, np.argwhere(mask).tolist()))
    steps = list(itertools.product((-1, 0, 1), repeat=3))
    parts = []
    while left:
        part, front = set(), [left.pop()]
        while front:
            voxel = front.pop()
            part.add(voxel)
            for step in steps:
                other = tuple(a + b for a, b in zip(voxel, step, strict=True))
                if other in left:
                    left.remove(other)
                    front.append(other)
        parts.append(part)
    return parts


def depth_by_loops(voxel: tuple[int, ...], part: set[tuple[int, ...]], spacing: np.ndarray) -> float:
    around = itertools.product(*[range(v - 5, v + 6) for v in voxel])
    outside = np.array([other for other in around if other not in part])
    return float(np.sqrt((((outside - voxel) * spacing) ** 2).sum(axis=1)).min())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(1.0, 1.0, 1.0), (0.5, 0.75, 3.0)]))
def test_the_click_is_the_deepest_voxel_of_a_largest_error(
    seed: int, spacing: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(seed)
    truth, prediction = (rng.random((2, 4, 4, 5)) < 0.3).astype(np.uint8)
    click = next_click(image_of(truth, spacing), image_of(prediction, spacing))
    assert click is not None
    voxel = voxel_of(image_of(truth), tuple(_with_spacing(click.point, spacing)))
    missed, excess = parts_by_flooding(truth > prediction), parts_by_flooding(prediction > truth)
    largest = max(len(part) for part in missed + excess)
    (part,) = (part for part in (missed if click.positive else excess) if voxel in part)
    assert len(part) == largest
    steps = np.array(spacing[::-1])
    depths = {other: depth_by_loops(other, part, steps) for other in part}
    assert depths[voxel] == pytest.approx(max(depths.values()))


def _with_spacing(point: tuple[float, float, float], spacing: tuple[float, float, float]) -> list[float]:
    """Return where ``point`` would lie if the grid of ``image_of`` had a spacing of 1 mm."""
    scaled, plain = image_of(NOTHING, spacing), image_of(NOTHING)
    index = scaled.TransformPhysicalPointToContinuousIndex(point)
    return list(plain.TransformContinuousIndexToPhysicalPoint(index))


def test_without_background_clicks_the_largest_missed_part_is_clicked_though_more_is_too_much() -> None:
    truth, far = boxes(((2, 5), (2, 5), (2, 7))), boxes(((6, 11), (2, 12), (8, 15)))
    prediction = boxes(((2, 5), (2, 5), (2, 5))) | far
    usual = next_click(image_of(truth), image_of(prediction))
    click = next_click(image_of(truth), image_of(prediction), background_clicks=False)
    assert usual is not None and not usual.positive
    assert click is not None and click.positive
    k, j, i = voxel_of(image_of(truth), click.point)
    assert truth[k, j, i] and not prediction[k, j, i]


def test_without_background_clicks_there_is_none_when_nothing_is_missed() -> None:
    assert next_click(image_of(LESION), image_of(np.ones_like(LESION)), background_clicks=False) is None


def test_masks_on_different_grids_are_refused() -> None:
    moved = image_of(LESION)
    moved.SetOrigin((0.0, 0.0, 0.0))
    with pytest.raises(ImageError, match="grid"):
        next_click(image_of(LESION), moved)
    with pytest.raises(ImageError, match="grid"):
        run_clicks(ListedAnswers([]), image_of(LESION), moved)
    with pytest.raises(ImageError, match="grid"):
        run_clicks(ListedAnswers([moved]), image_of(LESION), image_of(LESION))


def test_an_image_of_two_dimensions_is_refused() -> None:
    flat = sitk.Image(4, 4, sitk.sitkUInt8)
    with pytest.raises(ImageError, match="3D"):
        next_click(flat, flat)
    with pytest.raises(ImageError, match="3D"):
        lesions(flat)


def test_a_series_clicks_scores_and_reports_every_answer() -> None:
    half = image_of(boxes(((2, 7), (2, 7), (2, 4))))
    more = image_of(boxes(((2, 7), (2, 7), (2, 9))))
    session = ListedAnswers([half, more, more])
    image, lesion = image_of(LESION.astype(np.float32)), image_of(LESION)
    heard: list[tuple[ClickScore, sitk.Image]] = []
    series = run_clicks(session, image, lesion, 3, lambda score, mask: heard.append((score, mask)))

    assert session.images == [image]
    assert [positive for _, positive in session.clicks] == [True, True, False]
    assert [(s.click.point, s.click.positive) for s in series.scores] == session.clicks
    assert [s.dice for s in series.scores] == pytest.approx([100 / 175, 250 / 300, 250 / 300])
    assert [s.iou for s in series.scores] == pytest.approx([0.4, 125 / 175, 125 / 175])
    assert 0 < series.scores[0].surface_dice < 1 and series.scores[1].surface_dice == 1
    assert [score for score, _ in heard] == list(series.scores)
    assert [mask for _, mask in heard] == [half, more, more]


def test_a_session_that_takes_lesion_clicks_only_is_given_no_others() -> None:
    half, more = (image_of(boxes(((2, 7), (2, 7), (2, stop)))) for stop in (4, 9))
    session = ListedAnswers([half, half, more])
    session.background_clicks = False  # type: ignore[attr-defined]
    series = run_clicks(session, image_of(LESION), image_of(LESION), 10)
    assert [positive for _, positive in session.clicks] == [True, True, True]
    assert len(series.scores) == 3 and series.after(10) is series.scores[2]


def test_surface_dice_of_a_series_uses_the_spacing_of_its_axis() -> None:
    # One slice too much along k, 5 mm thick: beyond 2 mm. With the spacing reversed it would be 0.1 mm.
    lesion = image_of(boxes(((2, 7), (2, 7), (2, 7))), spacing=(0.1, 0.1, 5.0))
    answer = image_of(boxes(((2, 8), (2, 7), (2, 7))), spacing=(0.1, 0.1, 5.0))
    assert run_clicks(ListedAnswers([answer]), lesion, lesion, 1).scores[0].surface_dice < 1


def test_a_series_ends_when_no_error_is_left_and_keeps_its_last_score() -> None:
    image = image_of(LESION)
    series = run_clicks(ListedAnswers([image_of(NOTHING), image]), image, image, 10)
    assert [score.dice for score in series.scores] == [0.0, 1.0]
    assert series.after(1) is series.scores[0]
    assert series.after(10) is series.scores[1]
    with pytest.raises(ClickError):
        series.after(0)


def test_only_the_click_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0

    class Timed(ListedAnswers):
        def set_image(self, image: sitk.Image) -> None:
            nonlocal now
            now += 1000
            super().set_image(image)

        def click(self, point: tuple[float, float, float], positive: bool = True) -> None:
            nonlocal now
            now += 2.5
            super().click(point, positive)

        @property
        def mask(self) -> sitk.Image:
            nonlocal now
            now += 1000
            return super().mask

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    image = image_of(LESION)
    series = run_clicks(Timed([image_of(NOTHING), image]), image, image)
    assert [score.seconds for score in series.scores] == [2.5, 2.5]


def test_an_empty_lesion_and_a_series_without_clicks_are_refused() -> None:
    with pytest.raises(ImageError, match="empty"):
        run_clicks(ListedAnswers([]), image_of(NOTHING), image_of(NOTHING))
    with pytest.raises(ClickError):
        run_clicks(ListedAnswers([]), image_of(LESION), image_of(LESION), clicks=0)
