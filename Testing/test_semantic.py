"""A whole scan's labels from windows, the lesions that are proposed from them, and 'msam propose'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from images import AXIAL, LEFT_HANDED, SAGITTAL, centroid, middle, oblique
from predictors import SignPredictor, ThresholdPredictor
from test_masksam import TINY, randomised
from typer.testing import CliRunner

from MSAMLogic.cli import app
from MSAMLogic.errors import ImageError, ModelError
from MSAMLogic.export.results import read_segments
from MSAMLogic.geometry import RAS_AXES, ImageGrid, Region
from MSAMLogic.intensity import normalise
from MSAMLogic.model import build_model
from MSAMLogic.model.checkpoints import save_weights
from MSAMLogic.predictor import TorchPredictor
from MSAMLogic.proposals import propose_lesions
from MSAMLogic.semantic import (
    classify_image,
    covering_grid,
    segment_classes,
    window_regions,
    window_weight,
)

DIRECTIONS = {"axial": AXIAL, "sagittal": SAGITTAL, "left-handed": LEFT_HANDED, "oblique": oblique()}
Ball = tuple[tuple[float, float, float], float, float]  # centre in mm from the middle, radius, value


def a_scan(
    *balls: Ball,
    direction: tuple[float, ...] = AXIAL,
    size: tuple[int, int, int] = (44, 40, 24),
    spacing: tuple[float, float, float] = (1.5, 1.5, 2.5),
) -> sitk.Image:
    """An image of 0 with balls, soft at their edges so that resampling hardly changes them."""
    image = sitk.Image(size, sitk.sitkFloat32)
    image.SetOrigin((11.0, -7.0, 40.0))
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), axis=-1)
    world = index @ (np.reshape(direction, (3, 3)) * spacing).T + np.array(image.GetOrigin())
    array = np.zeros(size, np.float32)
    for offset, radius, value in balls:
        distance = np.linalg.norm(world - np.add(middle(image), offset), axis=-1)
        array += value * np.clip((radius - distance) / 4 + 0.5, 0, 1)
    grid = ImageGrid.of(image)
    return grid.image(array.transpose(2, 1, 0), grid.whole)


def array_of(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


BRIGHT: Ball = ((-14.0, 0.0, 0.0), 9.0, 100.0)
DARK: Ball = ((15.0, 6.0, 8.0), 7.0, -100.0)


# Windows


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(1, 50)] * 3), st.tuples(*[st.integers(1, 16)] * 3))
def test_windows_cover_every_voxel_and_neighbours_overlap_by_half(
    size: tuple[int, int, int], window: tuple[int, int, int]
) -> None:
    windows = window_regions(size, window)
    for axis in range(3):
        starts = sorted({w.start[axis] for w in windows})
        assert all(w.size[axis] == window[axis] for w in windows)
        assert starts[0] <= 0 and starts[-1] + window[axis] >= size[axis]
        assert max(np.diff(starts), default=0) <= max(1, (window[axis] + 1) // 2)
        if size[axis] >= window[axis]:
            assert starts[0] == 0 and starts[-1] == size[axis] - window[axis]
        else:
            assert len(starts) == 1
    assert len(windows) == len(set(windows))


def test_a_windows_middle_counts_most_and_its_corner_still_counts() -> None:
    weight = window_weight((9, 9, 4))
    assert weight.shape == (9, 9, 4) and weight.max() == weight[4, 4, 1] == weight[4, 4, 2]
    assert weight[0, 0, 0] > 0
    assert (np.diff(weight[:5, 4, 1]) > 0).all()
    np.testing.assert_allclose(weight, weight[::-1, ::-1, ::-1])


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(list(DIRECTIONS)),
    st.tuples(*[st.integers(1, 20)] * 3),
    st.tuples(*[st.floats(0.5, 4)] * 3),
    st.tuples(*[st.floats(0.5, 4)] * 3),
)
def test_the_windows_grid_covers_the_image_and_little_more(
    name: str, size: Any, spacing: Any, step: Any
) -> None:
    image = ImageGrid(size, (5.0, -3.0, 8.0), spacing, DIRECTIONS[name])
    grid = covering_grid(image, step)
    assert grid.direction == RAS_AXES and grid.spacing == step
    corners = np.array(np.meshgrid(*[[0, n - 1] for n in size])).reshape(3, -1).T
    indices = np.array([grid.index(image.point(corner)) for corner in corners])
    assert (indices >= -1e-5).all() and (indices <= np.array(grid.size) - 1 + 1e-5).all()
    assert (indices.min(axis=0) < 0.5 + 1e-5).all()


# Labels


@pytest.mark.parametrize("name", DIRECTIONS)
def test_labels_lie_where_the_image_has_what_they_name(name: str) -> None:
    scan = a_scan(BRIGHT, DARK, direction=DIRECTIONS[name])
    labels = segment_classes(SignPredictor(), scan)
    assert labels.GetPixelID() == sitk.sitkUInt8
    assert ImageGrid.of(labels).matches(ImageGrid.of(scan))
    values, found = array_of(scan), array_of(labels)
    # Interpolation moves an edge by a fraction of a voxel, so that only sure voxels are asked.
    assert (found[values > 75] == 1).all() and (found[values < -75] == 2).all()
    assert (found[np.abs(values) < 25] == 0).all()
    assert (found == 1).sum() > 400 and (found == 2).sum() > 200


def test_many_windows_give_what_one_gives() -> None:
    scan = a_scan(BRIGHT, DARK, direction=oblique())
    one, many = SignPredictor((64, 40)), SignPredictor((12, 5))
    whole, parts = classify_image(one, scan), classify_image(many, scan)
    assert len(one.seen) == 1 and len(many.seen) > 50
    np.testing.assert_allclose(array_of(parts.probability), array_of(whole.probability), atol=1e-5)
    assert np.array_equal(array_of(parts.labels), array_of(whole.labels))


def test_a_scan_on_the_networks_own_grid_gets_the_networks_own_answer() -> None:
    network = randomised(build_model("", TINY), 0.15)
    predictor = TorchPredictor(network, "cpu")
    values = np.random.default_rng(0).normal(100, 30, TINY.patch_shape).astype(np.float32)
    grid = ImageGrid(TINY.patch_shape, (4.0, 5.0, 6.0), TINY.spacing, RAS_AXES)
    scan = grid.image(values.transpose(2, 1, 0), grid.whole)
    with torch.no_grad():
        patch = torch.from_numpy(normalise(values, "MR"))[None, None]
        expected = network.classify(patch)[0].numpy()
    found = classify_image(predictor, scan, "MR")
    assert np.array_equal(array_of(found.labels).transpose(2, 1, 0), expected.argmax(axis=0))
    np.testing.assert_allclose(
        array_of(found.probability).transpose(2, 1, 0), expected.max(axis=0), atol=1e-5
    )


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_the_modality_decides_how_a_window_is_normalised(modality: Any) -> None:
    values = np.random.default_rng(0).normal(900, 400, (10, 10, 5)).astype(np.float32)
    grid = ImageGrid((10, 10, 5), (0.0, 0.0, 0.0), (2.0, 2.0, 3.0), RAS_AXES)
    predictor = SignPredictor((10, 5), intensity=None)
    segment_classes(predictor, grid.image(values.transpose(2, 1, 0), grid.whole), modality)
    np.testing.assert_allclose(predictor.seen[0], normalise(values, modality), atol=1e-5)


def test_progress_rises_to_one_and_an_exception_in_it_ends_the_work() -> None:
    shares: list[float] = []
    predictor = SignPredictor()
    segment_classes(predictor, a_scan(BRIGHT), on_progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1 and len(shares) == len(predictor.seen)

    class Cancelled(Exception):
        pass

    def cancel(share: float) -> None:
        raise Cancelled

    stopped = SignPredictor()
    with pytest.raises(Cancelled):
        propose_lesions(stopped, a_scan(BRIGHT), on_progress=cancel)
    assert len(stopped.seen) == 1


def test_a_model_that_takes_clicks_is_refused() -> None:
    with pytest.raises(ModelError, match="choose one that names what it finds"):
        propose_lesions(ThresholdPredictor(), a_scan())
    with pytest.raises(ModelError, match="no model"):
        propose_lesions("masksam", a_scan())


def test_what_is_no_volume_is_refused() -> None:
    with pytest.raises(ImageError, match="single 3D volume"):
        segment_classes(SignPredictor(), sitk.Image((8, 8), sitk.sitkFloat32))


# Proposals


@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_proposal_is_a_box_on_the_images_grid_where_the_lesion_is(name: str) -> None:
    scan = a_scan(BRIGHT, DARK, direction=DIRECTIONS[name])
    first, second = propose_lesions(SignPredictor(), scan)
    assert (first.name, second.name) == ("bright", "dark")
    grid = ImageGrid.of(scan)
    labels = array_of(segment_classes(SignPredictor(), scan))
    for proposal, (offset, radius, _), label in ((first, BRIGHT, 1), (second, DARK, 2)):
        mask = proposal.mask
        assert mask.GetPixelID() == sitk.sitkUInt8 and set(np.unique(array_of(mask))) <= {0, 1}
        assert mask.GetDirection() == scan.GetDirection() and mask.GetSpacing() == scan.GetSpacing()
        start = grid.index(mask.GetOrigin())
        np.testing.assert_allclose(start, np.rint(start), atol=1e-6)
        i, j, k = np.rint(start).astype(int)
        a, b, c = mask.GetSize()
        box = (slice(k, k + c), slice(j, j + b), slice(i, i + a))
        assert np.array_equal(array_of(mask) == 1, labels[box] == label)
        assert (array_of(mask) == 1).sum() == (labels == label).sum()
        assert np.linalg.norm(centroid(mask) - np.add(middle(scan), offset)) < 1
        assert max(n * s for n, s in zip(mask.GetSize(), mask.GetSpacing(), strict=True)) < 2 * radius + 6


def test_parts_of_one_class_are_proposals_of_their_own_and_small_ones_none() -> None:
    scan = a_scan(BRIGHT, ((20.0, 0, 0), 6.0, 100.0), ((4.0, 18.0, 10.0), 3.0, 100.0))
    found = propose_lesions(SignPredictor((64, 40), (1.5, 2.5)), scan)
    assert [proposal.name for proposal in found] == ["bright", "bright"]
    sizes = [int(array_of(proposal.mask).sum()) for proposal in found]
    assert sizes[0] > sizes[1] > 200 / (1.5 * 1.5 * 2.5)


@pytest.mark.parametrize(("side", "expected"), [(5, 0), (6, 1)])
def test_the_least_volume_is_200_cubic_millimetres(side: int, expected: int) -> None:
    array = np.zeros((20, 20, 20), np.float32)
    array[5 : 5 + side, 5 : 5 + side, 5 : 5 + side] = 100  # 125 or 216 mm³
    grid = ImageGrid((20, 20, 20), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), RAS_AXES)
    found = propose_lesions(SignPredictor((20, 20), (1.0, 1.0)), grid.image(array, grid.whole))
    assert len(found) == expected


def test_parts_that_touch_at_a_corner_are_one() -> None:
    array = np.zeros((20, 20, 20), np.float32)
    array[2:8, 2:8, 2:8] = array[8:14, 8:14, 8:14] = 100
    grid = ImageGrid((20, 20, 20), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), RAS_AXES)
    (found,) = propose_lesions(SignPredictor((20, 20), (1.0, 1.0)), grid.image(array, grid.whole))
    assert found.mask.GetSize() == (12, 12, 12) and array_of(found.mask).sum() == 2 * 216


def test_the_score_is_the_mean_probability_inside_and_the_surer_of_two_comes_first() -> None:
    array = np.zeros((20, 20, 20), np.float32)
    array[2:8, 2:8, 2:8] = 60
    array[10:16, 10:16, 10:16] = 90
    grid = ImageGrid((20, 20, 20), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), RAS_AXES)
    found = propose_lesions(SignPredictor((20, 20), (1.0, 1.0)), grid.image(array, grid.whole))
    assert [round(proposal.score, 4) for proposal in found] == [0.9, 0.6]
    assert grid.index(found[0].mask.GetOrigin()) == pytest.approx([10, 10, 10])


# The command


@pytest.fixture
def msam(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs the command with a predictor that names voxels by their sign."""
    loaded: list[tuple[str, str]] = []

    def load_model(name: str, device: str = "auto") -> Any:
        loaded.append((name, device))
        return ThresholdPredictor() if name == "default" else SignPredictor()

    monkeypatch.setattr("MSAMLogic.predictor.load_model", load_model)
    monkeypatch.chdir(tmp_path)
    sitk.WriteImage(a_scan(BRIGHT, DARK, direction=oblique()), "scan.nrrd")
    sitk.WriteImage(a_scan(), "empty.nrrd")
    plain = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["propose", *arguments], env=plain)

    run.loaded = loaded  # type: ignore[attr-defined]
    return run


@pytest.mark.parametrize("output", ["found.seg.nrrd", "found.nii.gz"])
def test_the_command_writes_the_proposals_and_says_what_they_are(msam: Any, output: str) -> None:
    result = msam(
        "scan.nrrd", "-o", output, "--model", "masksam", "--device", "cpu", "--measurements", "t.csv"
    )
    assert result.exit_code == 0, result.output
    assert msam.loaded == [("masksam", "cpu")]
    scan = sitk.ReadImage("scan.nrrd")
    proposals = propose_lesions(SignPredictor(), scan)
    segments = read_segments(Path(output))
    if output.endswith(".seg.nrrd"):
        assert [segment.name for segment in segments] == ["bright 1", "dark 2"]
    lines = result.stdout.splitlines()
    assert len(segments) == len(proposals) == len(lines) == 2
    voxel = float(np.prod(scan.GetSpacing())) / 1000
    for number, (segment, proposal, line) in enumerate(zip(segments, proposals, lines, strict=True), start=1):
        count = int(array_of(proposal.mask).sum())
        assert int((array_of(segment.mask) > 0).sum()) == count
        assert np.linalg.norm(centroid(segment.mask) - centroid(proposal.mask)) < 0.01
        assert line == f"{proposal.name} {number}: {count * voxel:.2f} ml, score {proposal.score:.2f}"
    assert len(Path("t.csv").read_text().splitlines()) == 3


def test_the_command_writes_nothing_where_nothing_is_found(msam: Any) -> None:
    result = msam("empty.nrrd", "-o", "found.seg.nrrd", "--model", "masksam")
    assert result.exit_code == 0 and result.stdout == ""
    assert result.stderr.splitlines()[-1] == "msam: nothing was found, so nothing is written."
    assert not Path("found.seg.nrrd").exists()


def test_the_command_refuses_a_model_of_clicks_and_a_format_beforehand(msam: Any) -> None:
    clicks = msam("scan.nrrd", "-o", "found.seg.nrrd", "--model", "default")
    assert clicks.exit_code == 1 and "names what it finds" in clicks.stderr
    wrong = msam("scan.nrrd", "-o", "found.xyz", "--model", "masksam")
    assert wrong.exit_code == 1 and len(msam.loaded) == 1


def test_the_command_runs_a_network_whose_weights_come_from_a_file(
    msam: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = randomised(build_model("", TINY), 0.3)
    save_weights(tmp_path / "tiny.safetensors", TINY, network.state_dict())

    def load_model(name: str, device: str = "auto") -> TorchPredictor:
        from safetensors.torch import load_file

        read = build_model("", TINY)
        read.load_state_dict(load_file(name))
        return TorchPredictor(read, "cpu")

    monkeypatch.setattr("MSAMLogic.predictor.load_model", load_model)
    sitk.WriteImage(a_scan(((0, 0, 0), 9.0, 100.0), size=(26, 24, 5)), "small.nrrd")
    result = msam("small.nrrd", "-o", "found.seg.nrrd", "--model", "tiny.safetensors")
    assert result.exit_code == 0, result.output
    assert Path("found.seg.nrrd").exists() is bool(result.stdout)


def test_a_part_of_the_grid_is_where_the_image_says() -> None:
    """The windows' reader and the image's own grid agree on a voxel's place."""
    scan = a_scan(BRIGHT, direction=oblique())
    grid = covering_grid(ImageGrid.of(scan), (1.5, 1.5, 2.5))
    centre = np.add(middle(scan), BRIGHT[0])
    i, j, k = (round(v) for v in grid.index(tuple(centre)))
    reference = grid.reference(Region((i, j, k), (i + 1, j + 1, k + 1)))
    assert sitk.GetArrayFromImage(sitk.Resample(scan, reference))[0, 0, 0] == pytest.approx(100)
