"""Classical methods that answer clicks: what each does with clicks for and against the lesion."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from images import oblique
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from MSAMLogic.errors import ClickError, ImageError, PackageError
from MSAMLogic.evaluation.baselines import (
    ClassicalSession,
    GrowCut,
    RegionGrowing,
    classical_sessions,
    grow_cut,
)
from MSAMLogic.evaluation.baselines.session import Seed
from MSAMLogic.evaluation.metrics import dice
from MSAMLogic.evaluation.protocol import lesions, run_clicks
from MSAMLogic.training.cases import read_cases

HAS_ITK = find_spec("itk") is not None


def nearest_seed(
    values: np.ndarray, labels: np.ndarray, spacing: tuple[float, float, float], penalty: float = 0.0
) -> np.ndarray:
    """GrowCut as its definition says: the label of the seed with the smallest sum of steps, by Dijkstra."""
    number = np.arange(values.size).reshape(values.shape)
    rows, columns, costs = [], [], []
    for step in np.argwhere(np.ones((3, 3, 3))) - 1:
        if not step.any():
            continue
        here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, values.shape, strict=True))
        there = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(step, values.shape, strict=True))
        millimetres = float(np.linalg.norm(step * np.asarray(spacing)))
        rows.append(number[here].ravel())
        columns.append(number[there].ravel())
        change = np.abs(values[here].astype(float) - values[there]).ravel()
        costs.append(change + penalty * millimetres + 1e-9)  # an edge of no cost would be no edge
    graph = coo_array((np.concatenate(costs), (np.concatenate(rows), np.concatenate(columns)))).tocsr()
    _, _, source = dijkstra(graph, indices=np.flatnonzero(labels), min_only=True, return_predecessors=True)
    return labels.ravel()[source].reshape(values.shape)


@pytest.fixture
def without_itk(monkeypatch: pytest.MonkeyPatch) -> None:
    """GrowCut with the slow shortest paths of SciPy in place of ITK's."""
    monkeypatch.setattr(grow_cut, "require", lambda *_: None)
    monkeypatch.setattr(grow_cut, "fast_grow_cut", nearest_seed)


METHODS = pytest.mark.parametrize(
    "make", [RegionGrowing, lambda: GrowCut(rings_mm=(18.0,))], ids=["region", "cut"]
)
FIRST, SECOND = np.array([11, 13, 6]), np.array([22, 13, 6])  # voxels (i, j, k)


def scan(*centres: np.ndarray, bridge: bool = False) -> sitk.Image:
    """Balls of 4 mm, 100 in a noisy ground of 0, on an oblique grid of thick slices; (i, j, k) centres."""
    k, j, i = np.meshgrid(np.arange(14), np.arange(26), np.arange(38), indexing="ij")
    array = np.zeros(k.shape)
    for a, b, c in centres:
        array[(i - a) ** 2 + (j - b) ** 2 + (2 * (k - c)) ** 2 <= 16] = 100
    if bridge:
        a, b, c = centres[0]
        array[(i >= a) & (i <= centres[-1][0]) & (abs(j - b) <= 1) & (abs(k - c) <= 1)] = 100
    image = sitk.GetImageFromArray(
        (array + np.random.default_rng(0).normal(0, 3, array.shape)).astype(np.int16)
    )
    image.SetSpacing((1.0, 1.0, 2.0))
    image.SetDirection(oblique())
    image.SetOrigin((-30.0, 40.0, 7.0))
    return image


def at(image: sitk.Image, voxel: np.ndarray) -> tuple[float, float, float]:
    point: tuple[float, float, float] = image.TransformIndexToPhysicalPoint([int(v) for v in voxel])
    return point


def bright(image: sitk.Image) -> np.ndarray:
    mask: np.ndarray = sitk.GetArrayViewFromImage(image) > 50
    return mask


def answer(session: ClassicalSession) -> np.ndarray:
    array: np.ndarray = sitk.GetArrayFromImage(session.mask)
    assert set(np.unique(array)) <= {0, 1}
    return array == 1


@METHODS
def test_one_click_finds_what_stands_out(without_itk: None, make: Callable[[], Any]) -> None:
    image = scan(FIRST)
    session = ClassicalSession(make())
    session.set_image(image)
    session.click(at(image, FIRST))
    assert dice(answer(session), bright(image)) > 0.7
    assert (
        session.mask.GetDirection() == image.GetDirection() and session.mask.GetOrigin() == image.GetOrigin()
    )


@METHODS
def test_a_click_against_takes_away_what_was_too_much(without_itk: None, make: Callable[[], Any]) -> None:
    image, alone = scan(FIRST, SECOND, bridge=True), bright(scan(FIRST))
    session = ClassicalSession(make())
    session.set_image(image)
    session.click(at(image, FIRST))
    before = answer(session)
    assert before[tuple(SECOND[::-1])]
    session.click(at(image, SECOND), positive=False)
    after = answer(session)
    assert not after[tuple(SECOND[::-1])] and after[tuple(FIRST[::-1])]
    assert dice(after, alone) > dice(before, alone) + 0.1


@METHODS
def test_a_second_click_for_the_lesion_adds_another_part(without_itk: None, make: Callable[[], Any]) -> None:
    image = scan(FIRST, SECOND)
    session = ClassicalSession(make())
    session.set_image(image)
    session.click(at(image, FIRST))
    assert not answer(session)[tuple(SECOND[::-1])]
    session.click(at(image, SECOND))
    assert dice(answer(session), bright(image)) > 0.7


@METHODS
def test_only_the_clicks_count_and_a_new_image_forgets_them(
    without_itk: None, make: Callable[[], Any]
) -> None:
    image, other = scan(FIRST, SECOND), scan(SECOND)
    session, fresh = ClassicalSession(make()), ClassicalSession(make())
    session.set_image(other)
    session.click(at(other, SECOND))
    session.click(at(other, [2, 2, 2]), positive=False)
    session.set_image(image)
    assert not answer(session).any()
    fresh.set_image(image)
    for one in (session, fresh):
        one.click(at(image, FIRST))
    assert answer(session).any() and np.array_equal(answer(session), answer(fresh))


@METHODS
def test_a_clicked_voxel_is_what_its_click_says(without_itk: None, make: Callable[[], Any]) -> None:
    image = scan(FIRST)
    session = ClassicalSession(make())
    session.set_image(image)
    beside = FIRST + np.array([1, 0, 0])  # within the ball of the first click, and no less bright
    session.click(at(image, FIRST))
    session.click(at(image, beside), positive=False)
    session.click(at(image, [30, 20, 10]))  # in the ground
    mask = answer(session)
    assert mask[tuple(FIRST[::-1])] and mask[10, 20, 30] and not mask[tuple(beside[::-1])]


@METHODS
def test_what_lies_beyond_the_reach_of_the_clicks_does_not_count(
    without_itk: None, make: Callable[[], Any]
) -> None:
    image = scan(FIRST, SECOND)
    changed = sitk.GetArrayFromImage(image)
    changed[:, :, 24:] = -1000
    method = make()
    method.reach_mm = 10.0
    answers = []
    for one in (image, like(changed, image)):
        session = ClassicalSession(method)
        session.set_image(one)
        session.click(at(image, FIRST))
        session.click(at(image, [36, 2, 2]), positive=False)
        answers.append(answer(session))
    assert answers[0].any() and np.array_equal(*answers)


def test_a_lesion_in_the_first_and_last_slice_is_not_cut_off_there(without_itk: None) -> None:
    values = np.zeros((5, 25, 25), np.float32)
    values[:, 8:17, 8:17] = 100
    mask = GrowCut(rings_mm=(6.0, 9.0)).segment(values, (3.0, 1.0, 1.0), (Seed((2, 12, 12), True),))
    assert mask[[0, -1], 12, 12].all() and dice(mask, values > 50) > 0.9


def test_an_image_smaller_than_every_ring_has_its_border_for_background(without_itk: None) -> None:
    values = np.zeros((11, 11, 11), np.float32)
    values[3:8, 3:8, 3:8] = 100
    mask = GrowCut(rings_mm=(20.0,)).segment(values, (1.0, 1.0, 1.0), (Seed((5, 5, 5), True),))
    assert dice(mask, values > 50) > 0.9


@pytest.mark.skipif(not HAS_ITK, reason="itk-growcut is not installed")
def test_itk_finds_the_shortest_paths() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(7, 8, 9)).astype(np.float32)
    labels = np.zeros(values.shape, np.uint8)
    labels[0, 0, :] = 2  # at the border, where the filter itself would let them lie
    labels[3, 4, 4] = labels[6, 7, 0] = 1
    for penalty in (0.0, 0.3):
        expected = nearest_seed(values, labels, (2.0, 1.0, 0.5), penalty)
        assert set(np.unique(expected)) == {1, 2}
        assert np.array_equal(grow_cut.fast_grow_cut(values, labels, (2.0, 1.0, 0.5), penalty), expected)


def test_what_a_session_cannot_use_is_refused() -> None:
    image = scan(FIRST)
    session = ClassicalSession(RegionGrowing())
    for use in (lambda: session.mask, lambda: session.click((0.0, 0.0, 0.0))):
        with pytest.raises(ImageError, match="set_image first"):
            use()
    with pytest.raises(ImageError, match="3D volume"):
        session.set_image(image[:, :, 0])
    session.set_image(image)
    with pytest.raises(ClickError, match="must be positive"):
        session.click(at(image, FIRST), positive=False)
    with pytest.raises(ClickError, match="outside the image"):
        session.click((900.0, 0.0, 0.0))
    assert not answer(session).any()


def test_a_missing_package_is_said_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("MSAMLogic.packages.distribution", missing)
    with pytest.raises(PackageError, match=r"itk-growcut.*slicer-msam\[baselines\]"):
        classical_sessions()


@pytest.mark.parametrize("name", ["LIDC_0014_R_1", "STS_010_CT"])
def test_region_growing_gets_somewhere_on_real_lesions(data_folder: Path, name: str) -> None:
    case = next(case for case in read_cases(data_folder) if case.name == name)
    image, mask = sitk.ReadImage(str(case.image_path)), sitk.ReadImage(str(case.mask_path))
    series = run_clicks(ClassicalSession(RegionGrowing()), image, lesions(mask)[0], clicks=5)
    assert max(score.dice for score in series.scores) > 0.5


@pytest.mark.skipif(not HAS_ITK, reason="itk-growcut is not installed")
@pytest.mark.parametrize("name", ["LIDC_0014_R_1"])
def test_grow_from_seeds_gets_somewhere_on_real_lesions(data_folder: Path, name: str) -> None:
    case = next(case for case in read_cases(data_folder) if case.name == name)
    image, mask = sitk.ReadImage(str(case.image_path)), sitk.ReadImage(str(case.mask_path))
    series = run_clicks(classical_sessions()["grow from seeds"], image, lesions(mask)[0], clicks=5)
    assert series.after(5).dice > 0.5


def like(array: np.ndarray, image: sitk.Image) -> sitk.Image:
    out = sitk.GetImageFromArray(array)
    out.CopyInformation(image)
    return out
