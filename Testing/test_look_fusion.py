"""One mask of the first looks: what is brought together, what a session makes of it, how it is taught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from images import AXIAL, LEFT_HANDED, balls, middle, oblique
from predictors import FusingPredictor
from test_model import TINY, randomised
from typer.testing import CliRunner

from MSAMLogic.cli import app
from MSAMLogic.errors import ModelError, TrainingError
from MSAMLogic.geometry import ImageGrid, PatchGrid
from MSAMLogic.loading import read_network
from MSAMLogic.looking.first_looks import CUBE_SIZE, FirstLooks
from MSAMLogic.looking.look_fusion import cube_round, first_looks_in, fusion_cube
from MSAMLogic.looking.looks import Look
from MSAMLogic.looking.mask_fusion import MaskFusion
from MSAMLogic.mask_in_cube import mask_share
from MSAMLogic.model import MSAM, build_model
from MSAMLogic.model.checkpoints import save_weights
from MSAMLogic.model.look_fusion import FirstLookTensors, LookFusion, fusion_channels
from MSAMLogic.predictor import FloatArray, TorchPredictor
from MSAMLogic.session import InteractiveSession
from MSAMLogic.training.fusions import first_clicks
from MSAMLogic.training.fusions.first_clicks import FirstClicks
from MSAMLogic.training.fusions.losses import fusion_figures
from MSAMLogic.training.fusions.record import RECORD, as_record
from MSAMLogic.training.fusions.samples import FusionSamples
from MSAMLogic.training.fusions.trainer import FusionConfig, FusionRun
from MSAMLogic.training.recorded_run import recipe_of
from MSAMLogic.training.recorded_scans import ScanShares
from MSAMLogic.training.records import write_records
from MSAMLogic.training.samples import PatchSamples
from MSAMLogic.voxels import VoxelSet

N = CUBE_SIZE
LOOKS = (0.75, 1.5, 3.0)
FUSING = replace(TINY, spacings=LOOKS, first_spacing=1.5, first_looks=LOOKS, fusion_width=8)
IMAGE = ImageGrid((300, 300, 300), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), AXIAL)
CENTRE = (150.0, 150.0, 150.0)


def look(spacing: float, diameter: float, cells: int = 32) -> Look:
    """A look at a ball of so many millimetres in the middle of the patch."""
    grid = PatchGrid(CENTRE, spacing, cells)
    axis = (np.arange(cells) + 0.5 - cells / 2) * spacing
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    logits = np.where(distance < diameter / 2, 5.0, -5.0).astype(np.float16)
    return Look(grid, logits, logits)


def first_looks(seed: int = 0) -> FirstLooks:
    """Return looks at a bright ball: the chosen one a little too large, the finest far too small."""
    rng = np.random.default_rng(seed)
    distance = np.linalg.norm(np.stack(np.indices((N, N, N))) - (N - 1) / 2, axis=0)
    image = np.where(distance < 14, 300.0, 100.0) + rng.normal(0, 10, distance.shape)
    image[:, :, :3] = np.nan
    answers = np.stack([np.where(distance < radius, 3.0, -3.0) for radius in (6, 12, 16, 22)])
    answers[0, :8] = np.nan
    answers[3] = np.nan
    return FirstLooks(
        PatchGrid((0.0, 0.0, 0.0), 1.0, N),
        image.astype(np.float32),
        np.where(distance < 16, 3.0, -3.0).astype(np.float32),
        answers.astype(np.float32),
        np.array([20.0, 24.0, 25.0], np.float32),
        np.array([1.0, 2.0, 5.0], np.float32),
    )


def truth_of(known: FirstLooks) -> np.ndarray:
    return (np.nan_to_num(known.image, nan=100.0) > 200).astype(np.float32)


def tensors(known: FirstLooks) -> FirstLookTensors:
    return FirstLookTensors(*(torch.from_numpy(part[None]) for part in known.arrays()))


# The cube


@settings(max_examples=40, deadline=None)
@given(st.floats(16.0, 80.0))
def test_a_lesion_fills_the_same_share_of_the_cube_whatever_its_size(diameter: float) -> None:
    cube = fusion_cube(look(diameter / 16, diameter), CENTRE, IMAGE)
    assert cube.size == N and cube.centre == pytest.approx(CENTRE, abs=diameter / 8)
    assert 0.5 < diameter / cube.extent < 0.7


def test_cells_are_neither_much_finer_than_voxels_nor_very_coarse() -> None:
    assert fusion_cube(look(0.75, 4.0), CENTRE, IMAGE).spacing == 0.5
    assert fusion_cube(look(12.0, 300.0), CENTRE, IMAGE).spacing == 5.0
    assert (
        fusion_cube(look(1.5, 0.0), CENTRE, IMAGE).spacing < 1.0
    )  # nothing found: taken for something small


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.floats(-11.0, 11.0)] * 3), st.floats(0.6, 1.7))
def test_the_click_lies_well_within_the_cube(offset: tuple[float, float, float], scale: float) -> None:
    shown = look(1.5, 20.0)
    point = (CENTRE[0] + offset[0], CENTRE[1] + offset[1], CENTRE[2] + offset[2])
    cube = fusion_cube(shown, point, IMAGE, scale)
    assert cube.margin(point) > 0.05
    usual = fusion_cube(shown, point, IMAGE)
    assert cube.spacing == pytest.approx(max(0.5, scale * usual.spacing), rel=1e-6)


def test_each_look_has_the_place_of_its_spacing() -> None:
    image = sitk.Image(IMAGE.size, sitk.sitkInt16) + 7
    looks = [look(3.0, 30.0), look(0.75, 8.0)]
    known = first_looks_in(PatchGrid(CENTRE, 1.0, N), image, looks[0], looks, LOOKS, CENTRE)
    assert known.answers.shape == (4, N, N, N)
    assert np.isnan(known.answers[1]).all() and np.isnan(known.answers[3]).all()
    distance = np.linalg.norm(np.stack(np.indices((N, N, N))) - (N - 1) / 2, axis=0)
    # The finest patch is 24 mm wide: beyond it nothing is known.
    assert (known.answers[0][distance < 3] > 0).all() and (known.answers[0][distance.round() == 8] < 0).all()
    assert np.isnan(known.answers[0][:10]).all()
    assert (known.answers[2][distance < 12] > 0).all() and np.array_equal(known.answers[2], known.chosen)
    assert np.allclose(known.click, (N - 1) / 2) and (known.image == 7).all()


@pytest.mark.parametrize("direction", [AXIAL, LEFT_HANDED, oblique()])
def test_voxel_sides_are_those_along_the_axes_of_the_cube(direction: tuple[float, ...]) -> None:
    image = sitk.Image((40, 40, 12), sitk.sitkInt16)
    image.SetSpacing((0.5, 1.0, 4.0))
    image.SetDirection(direction)
    centre = image.TransformContinuousIndexToPhysicalPoint((20.0, 20.0, 6.0))
    own = PatchGrid(centre, 2.0, N, direction)
    known = first_looks_in(own, image, look(1.5, 9.0), [], LOOKS, centre)
    assert known.voxel.tolist() == pytest.approx([0.25, 0.5, 2.0])
    swapped = np.asarray(direction).reshape(3, 3)[:, [2, 0, 1]]
    other = replace(own, axes=tuple(float(v) for v in swapped.ravel()))
    assert first_looks_in(other, image, look(1.5, 9.0), [], LOOKS, centre).voxel.tolist() == pytest.approx(
        [2.0, 0.25, 0.5]
    )


# The network


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 500.0), (0.02, -1.0), (7.0, 0.0)])
def test_brightness_is_relative(scale: float, offset: float) -> None:
    known = tensors(first_looks())
    other = known._replace(image=known.image * scale + offset)
    assert torch.allclose(fusion_channels(known), fusion_channels(other), atol=0.03)


def test_what_nobody_saw_is_finite() -> None:
    known = tensors(first_looks())
    assert fusion_channels(known).isfinite().all()
    nothing = FirstLookTensors(*(torch.full_like(part, float("nan")) for part in known[:3]), *known[3:])
    network = randomised(LookFusion(8), 0.1).eval()
    with torch.inference_mode():
        assert network(nothing).isfinite().all()


def test_an_untrained_fusion_keeps_to_the_chosen_look() -> None:
    known = first_looks()
    network = LookFusion(8)
    torch.nn.init.zeros_(network.head.weight)
    torch.nn.init.zeros_(network.head.bias)
    logits = network(tensors(known))
    assert np.array_equal(logits[0].detach().numpy() > 0, known.chosen > 0)


def test_samples_of_a_batch_do_not_mix() -> None:
    network = randomised(LookFusion(8), 0.1).eval()
    one, other = tensors(first_looks(0)), tensors(first_looks(1))
    both = FirstLookTensors(*(torch.cat(pair) for pair in zip(one, other, strict=True)))
    with torch.inference_mode():
        assert torch.allclose(network(both)[0], network(one)[0], atol=1e-4)


def test_a_network_says_which_looks_it_fuses() -> None:
    fusing, without = build_model("", FUSING), build_model("", TINY)
    assert fusing.capabilities.fused_looks == LOOKS and without.capabilities.fused_looks == ()
    assert TorchPredictor(fusing, "cpu").fuse(first_looks()).shape == (N, N, N)
    with pytest.raises(ModelError, match="no one mask"):
        TorchPredictor(without, "cpu").fuse(first_looks())


@pytest.mark.parametrize(
    ("changes", "named"), [({"fusion_width": 12}, "fusion_width"), ({"first_looks": ()}, "first_looks")]
)
def test_sizes_that_cannot_be_built_are_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        replace(FUSING, **changes)  # type: ignore[arg-type]


def test_the_right_mask_costs_little_and_its_opposite_much() -> None:
    made = first_looks()
    known, target = tensors(made), torch.from_numpy(truth_of(made))[None]
    right = fusion_figures(20 * target - 10, known, target)
    wrong = fusion_figures(10 - 20 * target, known, target)
    assert right["loss"] < 0.02 and right["dice"] > 0.999
    assert wrong["loss"] > 5 and wrong["dice"] < 0.01
    assert 0.7 < right["dice_chosen"] < 0.95


def test_where_the_looks_differ_counts_more_than_the_rest() -> None:
    made = first_looks()
    known, target = tensors(made), torch.from_numpy(truth_of(made))[None]
    logits = torch.zeros_like(target).requires_grad_()
    fusion_figures(logits, known, target)["loss"].backward()
    assert logits.grad is not None
    looks = torch.cat((known.chosen[:, None], known.answers), dim=1)
    differ = (looks > 0).any(dim=1) & (looks < 0).any(dim=1)
    outside = (target < 0.5) & ~known.image.isnan()
    assert logits.grad[differ & outside].abs().mean() > 2 * logits.grad[~differ & outside].abs().mean()


@pytest.mark.parametrize("chance_of_error", [0.4, 0.6])
def test_the_chosen_look_is_left_where_it_is_more_likely_wrong_than_right(chance_of_error: float) -> None:
    known = tensors(first_looks())
    right = (known.chosen > 0).float()
    distance = torch.from_numpy(np.linalg.norm(np.stack(np.indices((N, N, N))) - (N - 1) / 2, axis=0))[None]
    shell = (distance > 15) & (distance < 17) & ~known.image.isnan()  # nobody can tell what is there
    wrong = torch.where(shell, 1 - right, right)
    logits = torch.where(shell, 0.0, 12 * right - 6).requires_grad_()
    losses = [fusion_figures(logits, known, truth)["loss"] for truth in (right, wrong)]
    ((1 - chance_of_error) * losses[0] + chance_of_error * losses[1]).backward()
    assert logits.grad is not None
    kept = (logits.grad[shell] < 0) == (right[shell] > 0.5)
    assert kept.float().mean() > 0.95 if chance_of_error < 0.5 else kept.float().mean() < 0.05


# The session


def keep(known: FirstLooks) -> FloatArray:
    return np.nan_to_num(known.chosen, nan=-5.0)


def nothing(known: FirstLooks) -> FloatArray:
    return np.full(known.chosen.shape, -5.0, np.float32)


def around_click(known: FirstLooks, radius: float = 6.0) -> FloatArray:
    offset = np.stack(np.indices(known.chosen.shape)) - known.click[:, None, None, None]
    return np.where(np.linalg.norm(offset, axis=0) < radius, 5.0, -5.0).astype(np.float32)


def ball(
    direction: tuple[float, ...] = AXIAL, radius: float = 8.0
) -> tuple[sitk.Image, tuple[float, float, float]]:
    """Return a scan with a ball, and its middle."""
    centre = middle(balls(direction=direction))
    return balls(centres=[centre], direction=direction, radius=radius), centre


def array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image).astype(bool)


def larger(known: FirstLooks) -> FloatArray:
    """Draw a ball a quarter larger than the lesion that the cube was laid round."""
    return around_click(known, 1.25 * 0.3 * N)


@pytest.mark.parametrize("direction", [AXIAL, LEFT_HANDED, oblique()])
def test_the_first_mask_is_what_the_looks_show_together(direction: tuple[float, ...]) -> None:
    image, centre = ball(direction)
    predictor = FusingPredictor(larger)
    session = InteractiveSession(predictor)
    session.set_image(image)
    changed = session.click(centre)
    known, again = predictor.fusions
    assert np.nan_to_num(again.chosen).max() > 0  # what the first fusion drew
    assert np.isfinite(known.answers[:3]).any(axis=(1, 2, 3)).all() and np.isnan(known.answers[3]).all()
    mask = array(session.mask)
    volume = mask.sum() * np.prod(image.GetSpacing())
    assert volume == pytest.approx(4 / 3 * np.pi * (18 * again.cube.spacing) ** 3, rel=0.1)
    assert array(changed).sum() == mask.sum()


@pytest.mark.parametrize("shown", [14.0, 40.0])
def test_a_lesion_is_drawn_again_in_a_cube_round_what_was_drawn_first(shown: float) -> None:
    """The chosen look takes the lesion for larger, or smaller, than it is; the second cube fits it."""
    centre = middle(balls(size=(96, 96, 96)))
    image = balls(size=(96, 96, 96), centres=[centre], radius=20.0)
    grid = ImageGrid.of(image)
    wrong = balls(size=(96, 96, 96), centres=[centre], radius=shown)
    mask = VoxelSet.of(sitk.GetArrayFromImage(wrong) > 50, grid.whole)
    predictor = FusingPredictor(lambda known: around_click(known, 20.0 / known.cube.spacing))
    answer = look(2 * shown / 24, 2 * shown, 48)
    chosen = replace(answer, grid=replace(answer.grid, centre=centre))
    fused = MaskFusion(predictor, image).fused(mask, chosen, [chosen], centre).read(grid.whole)
    first, second = (known.cube.spacing for known in predictor.fusions)
    assert (second > first) == (shown < 20) and second == pytest.approx(40 / 0.6 / N, rel=0.1)
    truth = sitk.GetArrayFromImage(image) > 50
    assert 2 * (fused & truth).sum() / (fused.sum() + truth.sum()) > 0.95


@pytest.mark.parametrize(
    ("size", "offset", "times"),
    [
        (1.0, 0.0, 1),
        (1.08, 0.0, 1),
        (1 / 1.04, 0.0, 1),
        (1.0, 0.03, 1),
        (1.2, 0.0, 2),  # larger
        (1 / 1.2, 0.0, 2),  # smaller
        (1.0, 0.06, 2),  # beside it
    ],
)
def test_a_lesion_is_not_drawn_again_in_what_is_nearly_the_same_cube(
    size: float, offset: float, times: int
) -> None:
    centre = middle(balls(size=(96, 96, 96)))
    image = balls(size=(96, 96, 96), centres=[centre], radius=20.0)
    grid = ImageGrid.of(image)
    side = 40 / 0.6  # of a cube of which the ball fills its share

    def drawn(known: FirstLooks) -> FloatArray:
        moved = np.stack(np.indices(known.chosen.shape)) - known.click[:, None, None, None]
        moved[0] -= offset * side / known.cube.spacing
        return np.where(np.linalg.norm(moved, axis=0) < size * 20 / known.cube.spacing, 5.0, -5.0)

    predictor = FusingPredictor(lambda known: drawn(known).astype(np.float32))
    answer = look(0.75, 40.0, 64)
    chosen = replace(answer, grid=replace(answer.grid, centre=centre))
    mask = VoxelSet.of(sitk.GetArrayFromImage(image) > 50, grid.whole)
    MaskFusion(predictor, image).fused(mask, chosen, [chosen], centre)
    assert len(predictor.fusions) == times


@pytest.mark.parametrize(
    "offset, ball_stands_out, core_stands_out, is_kept",
    [
        (0.0, False, False, True),
        (24.0, False, False, False),
        (0.0, True, True, True),
        (24.0, True, True, False),
        (24.0, True, False, True),
        (0.0, False, True, False),
    ],
)
def test_of_a_thing_and_its_core_that_is_meant_which_stands_out_or_the_click_is_in_the_middle_of(
    offset: float, ball_stands_out: bool, core_stands_out: bool, is_kept: bool
) -> None:
    """The chosen look shows a large ball, the fusion a small one beside the click."""
    size = (96, 96, 96)
    centre = middle(balls(size=size))
    point = (centre[0] + offset, centre[1], centre[2])
    large = balls(size=size, centres=[centre], radius=36.0)
    small = balls(size=size, centres=[(point[0] + 3.0, *point[1:])], radius=5.0)
    noise = np.random.default_rng(0).normal(0, 40, (96, 96, 96))
    image = sitk.GetImageFromArray(
        noise + 200.0 * ball_stands_out * array(large > 50) + 300.0 * core_stands_out * array(small > 50)
    )
    image.CopyInformation(large)
    grid = ImageGrid.of(large)
    mask = VoxelSet.of(array(large > 50), grid.whole)
    chosen = replace(look(3.0, 72.0, 48), grid=PatchGrid(centre, 3.0, 48))

    def beside_click(known: FirstLooks) -> FloatArray:
        # The cube's axes lead right, anterior and superior: the other way than LPS.
        away = replace(known, click=known.click - np.array([3.0 / known.cube.spacing, 0, 0], np.float32))
        return around_click(away, 5.0 / known.cube.spacing)

    fused = MaskFusion(FusingPredictor(beside_click), image).fused(mask, chosen, [chosen], point)
    assert (fused is mask) == is_kept
    assert grid.nearest(point) in fused


@pytest.mark.parametrize("direction", [AXIAL, LEFT_HANDED, oblique()])
@pytest.mark.parametrize("radius", [8.0, 12.0, 20.0])
def test_a_cube_round_a_mask_shows_it_in_its_middle_at_the_same_size(
    direction: tuple[float, ...], radius: float
) -> None:
    centre = middle(balls(size=(64, 64, 64), direction=direction))
    image = balls(size=(64, 64, 64), centres=[centre], radius=radius, direction=direction)
    grid = ImageGrid.of(image)
    mask = VoxelSet.of(array(image > 50), grid.whole)
    cube = cube_round(mask, grid, tuple(grid.direction))
    share = mask_share(mask, grid, cube)
    inside = np.argwhere(share > 0.5)
    assert np.abs(inside.mean(axis=0) - (N - 1) / 2).max() < 0.1
    assert share.sum() * cube.spacing**3 == pytest.approx(mask.count * np.prod(image.GetSpacing()), rel=0.05)
    assert np.ptp(inside, axis=0).max() + 1 == pytest.approx(0.6 * N, abs=3)


def test_what_is_drawn_much_larger_than_the_chosen_look_shows_is_taken() -> None:
    """The chosen look shows a small ball round the click, the fusion a large one, in which it lies aside."""
    size = (96, 96, 96)
    centre = middle(balls(size=size))
    point = (centre[0] + 12.0, centre[1], centre[2])
    small = balls(size=size, centres=[point], radius=8.0)
    mask = VoxelSet.of(sitk.GetArrayFromImage(small) > 50, ImageGrid.of(small).whole)
    chosen = replace(look(1.0, 16.0, 48), grid=PatchGrid(point, 1.0, 48))

    def beyond(known: FirstLooks) -> FloatArray:
        away = replace(known, click=known.click - np.array([12.0 / known.cube.spacing, 0, 0], np.float32))
        return around_click(away, 18.0 / known.cube.spacing)

    # Of an even image, so that no edge is sharper than another.
    fused = MaskFusion(FusingPredictor(beyond), small * 0).fused(mask, chosen, [chosen], point)
    assert fused.count > 9 * mask.count


@pytest.mark.parametrize("open_faces, is_taken", [(3, True), (4, False), (6, False)])
def test_a_drawing_without_an_edge_is_not_taken(open_faces: int, is_taken: bool) -> None:
    """Whatever the cube, what the fusion draws goes on beyond some of its faces."""
    image, centre = ball(radius=12.0)
    mask = VoxelSet.of(array(image > 50), ImageGrid.of(image).whole)
    chosen = replace(look(1.5, 24.0), grid=PatchGrid(centre, 1.5, 32))

    def with_arms(known: FirstLooks) -> FloatArray:
        logits = around_click(known, 12.0 / known.cube.spacing)
        half, arm = slice(0, N // 2), slice(N // 2 - 2, N // 2 + 2)
        for face in range(open_faces):
            along = np.moveaxis(logits if face < 3 else logits[::-1, ::-1, ::-1], face % 3, 0)
            along[half, arm, arm] = 5.0
        return logits

    # Without contrast no edge is sharper than another.
    fused = MaskFusion(FusingPredictor(with_arms), image * 0).fused(mask, chosen, [chosen], centre)
    assert (fused is not mask) == is_taken


@pytest.mark.parametrize(
    "contrast, drawn_radius, is_kept",
    [(1.0, 15.0, True), (0.03, 15.0, False), (1.0, 19.2, False), (1.0, 25.0, False)],
)
def test_within_a_sharp_edge_nothing_smaller_is_drawn(
    contrast: float, drawn_radius: float, is_kept: bool
) -> None:
    """The chosen look shows a ball, sharp or faint; the fusion a smaller one, hardly smaller, or larger."""
    size = (96, 96, 96)
    centre = middle(balls(size=size))
    rng = np.random.default_rng(0)
    lesion = balls(size=size, centres=[centre], radius=20.0)
    noise = sitk.GetImageFromArray(rng.normal(0, 10, (96, 96, 96)).astype(np.float32))
    noise.CopyInformation(lesion)
    image = sitk.Cast(lesion, sitk.sitkFloat32) * contrast + noise
    mask = VoxelSet.of(array(lesion > 50), ImageGrid.of(lesion).whole)
    chosen = replace(look(2.0, 40.0, 48), grid=PatchGrid(centre, 2.0, 48))
    predictor = FusingPredictor(lambda known: around_click(known, drawn_radius / known.cube.spacing))
    fused = MaskFusion(predictor, image).fused(mask, chosen, [chosen], centre)
    assert (fused is mask) == is_kept


def test_a_fusion_that_leaves_the_click_out_is_not_taken() -> None:
    image, centre = ball()
    masks = []
    for rule in (nothing, keep):
        session = InteractiveSession(FusingPredictor(rule))
        session.set_image(image)
        session.click(centre)
        masks.append(array(session.mask))
    assert masks[0].any()
    overlap = 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum())
    assert overlap > 0.9  # what the chosen look shows, drawn once from it and once from the cube


def test_a_fusion_that_loses_the_click_the_second_time_stays_as_it_was_drawn_first() -> None:
    image, centre = ball()
    masks = []
    for second in (nothing, keep):
        rules = iter((larger, second))
        session = InteractiveSession(FusingPredictor(lambda known, rules=rules: next(rules)(known)))
        session.set_image(image)
        session.click(centre)
        masks.append(array(session.mask))
    assert masks[0].any()
    assert 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum()) > 0.9


def test_only_the_first_click_of_a_lesion_is_fused() -> None:
    image, centre = ball()
    predictor = FusingPredictor(around_click)
    session = InteractiveSession(predictor)
    session.set_image(image)
    session.click(centre)
    first, fusions = array(session.mask), len(predictor.fusions)
    session.click((centre[0] + 2.0, centre[1], centre[2]))
    session.undo()
    assert np.array_equal(array(session.mask), first) and len(predictor.fusions) == fusions > 0


def test_a_given_mask_is_refined_and_not_fused() -> None:
    image, centre = ball()
    predictor = FusingPredictor(around_click)
    session = InteractiveSession(predictor)
    session.set_image(image)
    session.set_mask(sitk.Cast(image > 50, sitk.sitkUInt8))
    session.click(centre)
    assert not predictor.fusions


# Recordings


@pytest.mark.parametrize("drawn", [0.0, 1.0])
def test_a_first_click_is_the_same_whenever_it_is_recorded(two_scans: PatchSamples, drawn: float) -> None:
    one, again = (FirstClicks(FusingPredictor(keep), two_scans, 0, 8, ScanShares(drawn)) for _ in range(2))
    for number in (5, 1, 5, 3):
        first, second = one[number], again[number]
        assert len(first) == len(second) == 2
        for a, b in zip(first, second, strict=True):
            assert a.tobytes() == b.tobytes()
    assert one[5][0].tobytes() != one[1][0].tobytes()


def test_a_run_records_first_clicks_on_the_scans_that_it_is_asked_for(
    tmp_path: Path, two_scans: PatchSamples
) -> None:
    network = build_model("", FUSING)
    save_weights(tmp_path / "start.safetensors", network.config, network.state_dict())

    def record(varied: float, drawn: float = 1.0, implanted: float = 0.0) -> np.void:
        config = FusionConfig(
            recipe="look fusion",
            data=tmp_path,
            output=tmp_path,
            start=str(tmp_path / "start.safetensors"),
            drawn=drawn,
            implanted=implanted,
            varied=varied,
        )
        recorder = FusionRun._recorder(config, FusingPredictor(keep), two_scans)
        return recorder[5][0]

    plain = FirstClicks(FusingPredictor(keep), two_scans, 0, 3000, ScanShares(1.0))[5][0]
    assert record(0.0).tobytes() == plain.tobytes() != record(1.0).tobytes()
    made_up, implanted = record(0.0, drawn=0.0), record(0.0, drawn=0.0, implanted=1.0)
    assert implanted.tobytes() not in (plain.tobytes(), made_up.tobytes())


@pytest.mark.parametrize("drawn", [0.0, 1.0])
def test_a_recorded_click_lies_in_the_lesion_and_in_the_cube(two_scans: PatchSamples, drawn: float) -> None:
    clicks = FirstClicks(FusingPredictor(keep), two_scans, 1, 30, ScanShares(drawn))
    shares, scales = [], []
    for number in range(24):
        one, other = clicks[number]
        for record in (one, other):
            i, j, k = np.rint(record["click"]).astype(int)
            assert min(i, j, k) >= 0 and max(i, j, k) < N
            shares.append(record["truth"][i, j, k] / 255)
            assert np.isfinite(record["answers"][:3].astype(float)).any()
        scales.append(float(one["voxel"][0] / other["voxel"][0]))
    assert np.mean(np.array(shares) > 0.5) > 0.9  # a cell is not a voxel
    assert max(scales) / min(scales) > 1.3  # each in two cubes of different spacing, as far as voxels allow


def test_a_recorded_cube_lies_round_the_look_that_is_believed(
    two_scans: PatchSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[Look] = []
    believed: list[Look] = []

    def cube(look: Look, *rest: Any) -> PatchGrid:
        placed.append(look)
        return fusion_cube(look, *rest)

    def known(cube: PatchGrid, image: sitk.Image, chosen: Look, *rest: Any) -> FirstLooks:
        believed.append(chosen)
        return first_looks_in(cube, image, chosen, *rest)

    monkeypatch.setattr(first_clicks, "fusion_cube", cube)
    monkeypatch.setattr(first_clicks, "first_looks_in", known)
    clicks = FirstClicks(FusingPredictor(keep), two_scans, 2, 30, ScanShares(0.5))
    for number in range(16):
        clicks[number]
    assert len(placed) == 32
    assert all(one is other for one, other in zip(placed, believed, strict=True))
    differ = [placed[n].grid.spacing != placed[n + 1].grid.spacing for n in range(0, 32, 2)]
    assert 1 <= sum(differ) <= 14  # not always the look that suits best


def test_a_turned_sample_is_the_same_lesion_seen_from_elsewhere(tmp_path: Path) -> None:
    made = replace(first_looks(), click=np.array([4.0, 9.0, 30.0], np.float32))
    lesion = np.zeros_like(made.chosen)
    lesion[4, 9, 30] = 1.0
    thick = np.full_like(made.answers, -3.0)
    thick[:, :, :, 40:] = 3.0  # marks the third axis, along which voxels are longest
    write_records(tmp_path / "0.npy", [as_record(replace(made, answers=thick), lesion)], RECORD)
    samples = FusionSamples([tmp_path / "0.npy"], 5, 100)
    turns = set()
    for index in range(20):
        sample = samples[index]
        clicked = tuple(sample["click"].long().tolist())
        assert sample["target"][clicked] == sample["target"].sum() == 1
        shown = sample["answers"][[not bool(a.isnan().all()) for a in sample["answers"]]][0]
        varies = [float(shown.diff(dim=axis).abs().max()) > 0 for axis in range(3)]
        assert varies == [v == 5.0 for v in sample["voxel"].tolist()]
        turns.add(clicked)
    assert len(turns) > 8


def test_without_recordings_nothing_can_be_learnt(tmp_path: Path) -> None:
    write_records(tmp_path / "0.npy", [], RECORD)
    with pytest.raises(TrainingError, match="No first click"):
        FusionSamples([tmp_path / "0.npy"], 0, 10)


def test_msam_train_teaches_the_fusion_and_nothing_else(tmp_path: Path, scan_folder: Path) -> None:
    network = build_model("", replace(FUSING, fusion_width=0, corrector_width=8))
    randomised(network, 0.3)
    save_weights(tmp_path / "start.safetensors", network.config, network.state_dict())
    values = {
        "recipe": "look fusion",
        "data": scan_folder,
        "output": tmp_path / "run",
        "start": "start.safetensors",
        "first_clicks": 3,
        "steps": 3,
        "minutes": 5,
        "batch_size": 2,
        "workers": 0,
    }
    config = tmp_path / "fusion.yaml"
    config.write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
    result = CliRunner().invoke(app, ["train", str(config)])
    assert result.exit_code == 0, result.output
    taught = read_network(tmp_path / "run/weights.safetensors")
    assert isinstance(taught, MSAM) and taught.capabilities.fused_looks == LOOKS
    assert taught.capabilities.corrects
    for name, value in read_network(tmp_path / "start.safetensors").state_dict().items():
        assert torch.equal(value, taught.state_dict()[name]), name
    fresh = FusionRun(FusionConfig.read(config), log=lambda line: None).network.state_dict()
    moved = [n for n, value in taught.state_dict().items() if not torch.equal(value.cpu(), fresh[n].cpu())]
    assert moved and all(name.startswith("look_fusion.") for name in moved)


def test_a_share_of_the_steps_is_learnt_from_what_the_fusion_itself_draws(
    tmp_path: Path, scan_folder: Path
) -> None:
    start = tmp_path / "start.safetensors"
    network = build_model("", FUSING)
    randomised(network, 0.3)
    save_weights(start, network.config, network.state_dict())
    made = first_looks()
    known, target = tensors(made), torch.from_numpy(truth_of(made))[None]
    batch = {"patch": known.image, "target": target} | known._asdict()

    def run(share: float) -> FusionRun:
        config = FusionConfig(
            recipe="look fusion",
            data=scan_folder,
            output=tmp_path / "run",
            start=str(start),
            drawn_again=share,
            minutes=1,
        )
        return FusionRun(config, log=lambda line: None)

    def slopes(fusing: FusionRun, loss: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(loss, list(fusing.network.look_fusion.parameters())))

    again = run(1.0)
    from_look = run(0.0)._loss(batch, np.random.default_rng(0))
    from_drawing = again._loss(batch, np.random.default_rng(0))
    assert from_drawing["dice_chosen"] == from_look["dice"] != from_look["dice_chosen"]
    # What was drawn is given: only the second drawing learns.
    with torch.no_grad():
        drawn = known._replace(chosen=again.network.fuse(known))
    alone = fusion_figures(again.network.fuse(drawn), drawn, target)["loss"]
    pairs = zip(slopes(again, from_drawing["loss"]), slopes(again, alone), strict=True)
    assert all(torch.allclose(slope, expected, rtol=1e-3, atol=1e-6) for slope, expected in pairs)


@pytest.mark.parametrize(
    "name",
    [
        "look_fusion.yaml",
        "look_fusion_again.yaml",
        "look_fusion_varied.yaml",
        "look_fusion_varied_again.yaml",
        "look_fusion_implanted.yaml",
        "look_fusion_implanted_again.yaml",
    ],
)
def test_the_recipe_of_the_default_weights_can_be_read(name: str) -> None:
    path = Path(__file__).parents[1] / "configs" / name
    assert recipe_of(path) == "look fusion"
    assert FusionConfig.read(path).data.name == "data"
