"""The papers' experiments: their files, what is trained, patches, resume after a kill, several processes."""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from images import AXIAL, LEFT_HANDED, balls, oblique
from miniatures import LAYOUTS, write_miniature
from scipy import ndimage
from test_model import TINY
from tiny_networks import SIZES
from typer.testing import CliRunner

from MSAMLogic.cli import app
from MSAMLogic.errors import TrainingError
from MSAMLogic.evaluation import experiment_protocols as protocols
from MSAMLogic.evaluation.experiments import ExperimentEvaluation, Score, score_table
from MSAMLogic.geometry import PatchGrid, extract_patch
from MSAMLogic.model import CONFIGURATIONS, build_model
from MSAMLogic.model.checkpoints import save_weights
from MSAMLogic.semantic import ClassMap
from MSAMLogic.training.clicks import random_click
from MSAMLogic.training.datasets import dataset_table
from MSAMLogic.training.experiments import ExperimentConfig, ExperimentRun, is_experiment
from MSAMLogic.training.experiments.boxes import BoxGrid
from MSAMLogic.training.experiments.config import PatchConfig
from MSAMLogic.training.experiments.network import first_network, network_sizes, parameter_groups, patch_shape
from MSAMLogic.training.experiments.patches import CasePatches
from MSAMLogic.training.recipes.clicks import msam_loss

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "configs" / "experiments"
FILES = sorted(path for path in FOLDER.glob("*/*table*.yaml")) + sorted(FOLDER.glob("*/ablation_*.yaml"))


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: tmp_path_factory.mktemp(name) for name in LAYOUTS}
    for name, root in made.items():
        write_miniature(name, root)
    return made


def miniature_of(path: Path, roots: dict[str, Path], folder: Path, **changes: Any) -> Path:
    """Write an experiment based on a file, on miniatures and with a tiny network, and return its path."""
    published = ExperimentConfig.read(path)
    name = published.dataset.name
    changed: dict[str, Any] = {
        "base": str(path),
        "output": str(folder / "run"),
        "start": None,
        "sizes": SIZES[published.system],
        "dataset": {"root": str(roots[name])},
        "batch_size": 1,
        "clicks": 2,
        "workers": 0,
        "threads": 1,
        "mixed_precision": False,
        "patches": {"smallest": min(published.patches.smallest, 8)},
    }
    layout = LAYOUTS[name]
    if hasattr(published.split, "lists"):
        first, second, third = (layout.name(number) for number in layout.numbers)
        lists = yaml.safe_load(published.split.lists.read_text())
        assert {first, second} <= set(lists["training"]) and third in lists["test"]
        (folder / "lists.yaml").write_text(yaml.safe_dump({"training": [first, second], "test": [third]}))
        changed["split"] = {"lists": str(folder / "lists.yaml")}
    elif getattr(published.split, "test", None) in (0.2, 0.072):
        changed["split"] = {"test": 0.34, "seed": published.split.seed}
    if published.evaluation.dataset is not None:
        changed["evaluation"] = {"dataset": {"root": str(roots[published.evaluation.dataset.name])}}
    made = folder / "experiment.yaml"
    made.write_text(yaml.safe_dump(changed | changes))
    return made


def msam(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def state_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "run" / "checkpoint.pt", weights_only=True)
    return state


def quiet(line: str) -> None:
    """Log nothing."""


# Every experiment, from its file to its table


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_experiment_trains_resumes_and_is_measured(
    path: Path, roots: dict[str, Path], tmp_path: Path
) -> None:
    published = ExperimentConfig.read(path)
    made = miniature_of(path, roots, tmp_path, steps=2)
    if published.adaptation != "none":
        assert "done" in msam("train", made)
        assert state_of(tmp_path)["progress"]["step"] == 2
        before = (tmp_path / "run" / "weights.safetensors").read_bytes()
        again = miniature_of(path, roots, tmp_path, steps=3)
        assert "resumed at step 2" in msam("train", again)
        assert state_of(tmp_path)["progress"]["step"] == 3
        assert (tmp_path / "run" / "weights.safetensors").read_bytes() != before
    points = published.evaluation.points
    if published.evaluation.protocol == "session":  # each click looks at several patches
        made = miniature_of(path, roots, tmp_path, evaluation={"points": [1, 2]})
        points = (1, 2)
    table = msam("evaluate", made, "--device", "cpu", "--csv", tmp_path / "scores.csv", "--most", 1)
    rows = (tmp_path / "scores.csv").read_text().splitlines()
    header, first = (row.split(",") for row in rows[:2])
    assert header == ["case", "target", "points", "dice", "nsd", "seconds"]
    assert 0 <= float(first[3]) <= 1 and 0 <= float(first[4]) <= 1 and float(first[5]) > 0
    tolerance = published.evaluation.tolerance
    assert f"NSD ({tolerance:g} mm)" in table and "| mean |" in table
    if points:
        assert {row.split(",")[2] for row in rows[1:]} == {str(count) for count in points}
        assert f"after {' / '.join(map(str, points))} points" in table


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_sizes_of_an_experiment_can_be_built(path: Path) -> None:
    published = ExperimentConfig.read(path)
    if published.system not in CONFIGURATIONS:
        pytest.skip(f"this version has no {published.system}")
    targets = dataset_table(published.dataset.name).values(published.dataset.targets)
    sizes = network_sizes(published, tuple(targets))
    assert sizes.patch_size >= 128
    if published.evaluation.protocol == "semantic":
        assert sizes.classes == tuple(targets)
    assert (ROOT / "configs").resolve() not in published.dataset.root.resolve().parents
    assert published.output.resolve().is_relative_to(ROOT / "runs")


def test_the_published_settings_are_those_of_the_papers() -> None:
    msam_config = ExperimentConfig.read(FOLDER / "m-sam" / "table1_kits19.yaml")
    assert (msam_config.epochs, msam_config.batch_size, msam_config.clicks) == (200, 4, 10)
    network = first_network(msam_config.model_copy(update={"start": None}), ("tumour",))
    groups = parameter_groups(msam_config.optimiser.rates, network)  # type: ignore[union-attr]
    counts = {group["scale"]: sum(p.numel() for p in group["params"]) for group in groups}
    assert sum(counts.values()) == 24_876_784  # the paper's 25 M
    assert counts[8e-5] == 8_668 + 7_575_636  # prompt encoder and mask decoder
    assert network.capabilities.patch_size == 128 and network.capabilities.first_spacing == 1.5


@pytest.mark.parametrize(
    ("adaptation", "trained", "absent"),
    [
        ("lora+mea", {"image_encoder.lora", "mask_enhanced_adapter", "prompt_encoder", "mask_decoder"}, ""),
        ("lora", {"image_encoder.lora", "prompt_encoder", "mask_decoder"}, "mask_enhanced_adapter"),
        ("full", {"image_encoder", "prompt_encoder", "mask_decoder"}, "lora"),
    ],
)
def test_an_adaptation_trains_what_it_should(
    roots: dict[str, Path], tmp_path: Path, adaptation: str, trained: set[str], absent: str
) -> None:
    path = miniature_of(FOLDER / "m-sam" / "table1_lits.yaml", roots, tmp_path, adaptation=adaptation)
    network = first_network(ExperimentConfig.read(path), ("tumour",))
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    parts = {
        f"{name.split('.')[0]}{'.lora' if '.lora.' in name else ''}"
        for name in names
        if "neck" not in name or adaptation == "full"
    }
    assert parts == trained
    assert not absent or not any(absent in name for name in network.state_dict())


def test_an_m_sam_starts_from_sam_med3d(roots: dict[str, Path], tmp_path: Path) -> None:
    path = FOLDER / "m-sam" / "table1_lits.yaml"
    plain = first_network(
        ExperimentConfig.read(miniature_of(path, roots, tmp_path, adaptation="none")), ("tumour",)
    )
    save_weights(tmp_path / "start.safetensors", plain.config, plain.state_dict())
    torch.manual_seed(5)
    made = miniature_of(path, roots, tmp_path, start="start.safetensors")
    network = first_network(ExperimentConfig.read(made), ("tumour",))
    for name, value in plain.state_dict().items():
        assert torch.equal(network.state_dict()[name], value.half().float()), name
    assert network.mask_enhanced_adapter is not None
    other = miniature_of(path, roots, tmp_path, start="start.safetensors", system="sam-med3d-vit-b")
    sizes = {"sizes": SIZES["msam-vit-b"] | {"patch_size": 64, "window_size": 8}}
    smaller = ExperimentConfig.read(other).model_copy(update=sizes)
    with pytest.raises(TrainingError, match="parts that sam-med3d-vit-b has not"):
        first_network(smaller, ("tumour",))


# The files


def test_an_experiment_is_told_from_the_default_recipe() -> None:
    assert not is_experiment(ROOT / "configs" / "default.yaml")
    assert all(is_experiment(path) for path in FILES)


def test_a_file_changes_its_base_and_paths_belong_to_the_file_they_are_in(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        f"base: {FOLDER / 'm-sam' / 'table1_lits.yaml'}\ndataset: {{root: here}}\n"
        "schedule: {power: 1}\nsplit: {training: a, test: b}\n"
    )
    config = ExperimentConfig.read(path)
    assert config.dataset.root == tmp_path / "here" and config.dataset.targets == ("tumour",)
    assert config.output.resolve() == ROOT / "runs" / "m-sam" / "table1_lits"
    assert config.optimiser is not None and config.optimiser.weight_decay == 0.1
    assert config.schedule is not None and config.schedule.power == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("base: own.yaml\n", "its own base"),
        ("base: nowhere.yaml\n", "cannot be read"),
        ("base: {lits}\nepoch: 3\n", "epoch"),
        ("base: {lits}\nsystem: sam2\n", "no system 'sam2'"),
        ("base: {lits}\nevaluation: {{protocol: semantic}}\n", "all protocols but semantic"),
        ("base: {lits}\nevaluation: {{split: {{test: 1}}}}\n", "needs its split"),
        ("base: {lits}\nepochs: null\n", "must end the run"),
        ("base: {lits}\noptimiser: null\n", "optimiser is needed"),
        ("base: {lits}\nsplit: {{share: 0.2}}\n", "split"),
        ("- 1\n", "holds no fields"),
    ],
)
def test_a_bad_experiment_is_said_to_be(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(content.format(lits=FOLDER / "m-sam" / "table1_lits.yaml"))
    with pytest.raises(TrainingError, match=complaint):
        ExperimentConfig.read(path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"adaptation": "adapter"}, "no adaptation 'adapter'; choose from none, full, lora"),
        ({"sizes": {"depth": 3}}, "no size 'depth'"),
        ({"optimiser": {"rates": {"default": None, "prompt_encoder": 1e-4}}}, "default"),
        ({"split": {"test": 1.0}}, "no training case"),
        ({"adaptation": "none"}, "trains nothing; run 'msam evaluate'"),
    ],
)
def test_what_cannot_be_trained_is_said_before_it_starts(
    roots: dict[str, Path], tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    made = miniature_of(FOLDER / "m-sam" / "table1_lits.yaml", roots, tmp_path, **changes)
    with pytest.raises(TrainingError, match=complaint):
        ExperimentRun(ExperimentConfig.read(made), quiet)


def test_a_parameter_without_a_rate_is_named() -> None:
    with pytest.raises(TrainingError, match="no rate for weight"):
        parameter_groups({"encoder": 1.0}, torch.nn.Linear(2, 2))
    groups = parameter_groups({"default": 1.0, "b": 2.0}, torch.nn.Linear(2, 2))
    assert {group["scale"]: len(group["params"]) for group in groups} == {1.0: 1, 2.0: 1}


def test_measuring_before_training_and_options_that_do_not_apply_are_refused(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    made = miniature_of(FOLDER / "m-sam" / "table1_lits.yaml", roots, tmp_path)
    done = CliRunner().invoke(app, ["evaluate", str(made)])
    assert done.exit_code == 1 and "run 'msam train' with the same file first" in done.output
    done = CliRunner().invoke(app, ["evaluate", str(made), "--baselines"])
    assert done.exit_code == 1 and "takes --device, --most and --csv only" in done.output
    (tmp_path / "run").mkdir()
    plain = build_model("", TINY)
    save_weights(tmp_path / "run" / "weights.safetensors", plain.config, {"a": torch.zeros(1)})
    done = CliRunner().invoke(app, ["evaluate", str(made)])
    assert done.exit_code == 1 and "of another network" in done.output


# Learning rate and order of the cases


def test_the_learning_rate_follows_the_epochs(roots: dict[str, Path], tmp_path: Path) -> None:
    def rates(schedule: dict[str, Any] | None, *steps: int) -> list[float]:
        made = miniature_of(
            FOLDER / "m-sam" / "table1_lits.yaml", roots, tmp_path, schedule=schedule, epochs=10
        )
        run = ExperimentRun(ExperimentConfig.read(made), quiet)
        assert run.steps_an_epoch == 2 and run.total_steps == 20
        found = []
        for step in steps:
            run.progress.step = step
            run._set_learning_rate()
            found.append(max(group["lr"] for group in run.optimizer.param_groups) / 8e-4)
            assert min(group["lr"] for group in run.optimizer.param_groups) == pytest.approx(
                max(group["lr"] for group in run.optimizer.param_groups) / 10
            )
        return found

    stairs = rates({"milestones": [3, 5], "factor": 0.1}, 0, 5, 6, 9, 10, 19)
    assert stairs == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert rates({"power": 1, "end": 0.2}, 0, 1, 10, 20) == pytest.approx([1, 1, 0.6, 0.2])
    assert rates(None, 0, 19) == [1, 1]


def test_every_epoch_shows_every_case_once_in_an_order_of_its_own(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    made = miniature_of(
        FOLDER / "sam-med3d" / "table3_amos22-ct.yaml",
        roots,
        tmp_path,
        adaptation="full",
        optimiser={"rates": {"default": 1e-4}},
        epochs=3,
        split={"test": 0},
    )
    run = ExperimentRun(ExperimentConfig.read(made), quiet)
    samples = run._samples()
    epochs = [[samples.case_of(2 * epoch + place) for place in range(2)] for epoch in range(30)]
    assert all(sorted(epoch) == [0, 1] for epoch in epochs)
    assert {tuple(epoch) for epoch in epochs} == {(0, 1), (1, 0)}


# Patches


def samples_of(
    roots: dict[str, Path], folder: Path, name: str = "table1_lits.yaml", **changes: Any
) -> CasePatches:
    made = miniature_of(FOLDER / "m-sam" / name, roots, folder, **changes)
    samples: CasePatches = ExperimentRun(ExperimentConfig.read(made), quiet)._samples()
    return samples


def test_a_sample_is_the_same_whenever_it_is_made_and_shows_its_target(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    for turning in ({}, {"rotate": 1.0, "zoom": 1.0, "zooms": [0.8, 1.2]}):
        patches = {"turning": {"flip": 0.5} | turning, "smallest": 30}
        samples, again = (samples_of(roots, tmp_path, patches=patches) for _ in range(2))
        for index in (3, 0, 7):
            sample, other = samples[index], again[index]
            assert torch.equal(sample["patch"], other["patch"])
            assert torch.equal(sample["target"], other["target"])
            target = sample["target"][0].numpy() > 0
            assert sample["patch"].dtype == torch.float32 and target.sum() >= 30
            core, near = ndimage.binary_erosion(target), ndimage.binary_dilation(target, iterations=2)
            bright, rest = sample["patch"][0].numpy()[core], sample["patch"][0].numpy()[~near]
            assert np.median(bright) > np.median(rest) + 1  # labels are 40 brighter each, noise 15
        assert not torch.equal(samples[0]["patch"], samples[1]["patch"])


def test_a_patch_round_a_box_has_the_target_in_its_middle(roots: dict[str, Path], tmp_path: Path) -> None:
    samples = samples_of(roots, tmp_path)
    for index in range(3):
        target = samples[index]["target"][0].numpy()
        middle = np.argwhere(target).mean(axis=0)
        assert np.abs(middle - 15.5).max() < 1.5


def test_patches_anywhere_may_be_empty_and_those_round_voxels_are_not(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    def share(foreground: float) -> float:
        patches = {"centre": "voxel", "foreground": foreground, "smallest": 0}
        samples = samples_of(roots, tmp_path, patches=patches)
        return float(np.mean([samples[n]["target"][0, 16, 16, 16].item() for n in range(30)]))

    assert share(1.0) > 0.8 and share(0.0) < 0.6


def test_no_patch_with_enough_of_the_target_is_said(roots: dict[str, Path], tmp_path: Path) -> None:
    samples = samples_of(roots, tmp_path, patches={"smallest": 20_000})
    with pytest.raises(TrainingError, match="none has 20000 voxels"):
        samples[0]


grids = st.builds(
    BoxGrid,
    centre=st.tuples(*[st.floats(-100, 100)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 4)] * 3),
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    axes=st.sampled_from([AXIAL, LEFT_HANDED, oblique(20)]),
)


@settings(max_examples=50, deadline=None)
@given(grids, st.lists(st.tuples(*[st.floats(-50, 50)] * 3), min_size=1, max_size=4))
def test_voxels_of_a_box_go_to_the_world_and_back(grid: BoxGrid, voxels: list[tuple[float, ...]]) -> None:
    there = grid.world(np.array(voxels))
    assert grid.voxels(there) == pytest.approx(np.array(voxels), abs=1e-6)
    assert grid.world((np.array(grid.shape) - 1) / 2) == pytest.approx(np.array(grid.centre), abs=1e-9)


def test_a_cubic_box_is_a_patch_and_an_image_of_it_lies_where_it_was_cut() -> None:
    image = balls(direction=oblique(20), spacing=(1.0, 1.2, 2.0), centres=[(20.0, 10.0, 60.0)], radius=9)
    centre = (22.0, 12.0, 58.0)
    cube = BoxGrid(centre, (1.5, 1.5, 1.5), (24, 24, 24))
    assert np.array_equal(cube.extract(image, -7.0), extract_patch(image, PatchGrid(centre, 1.5, 24), -7.0))
    box = BoxGrid(centre, (1.5, 1.0, 3.0), (16, 24, 8), oblique(30))
    values = box.extract(image)
    assert values.shape == (16, 24, 8)
    assert box.extract(box.image(values)) == pytest.approx(values, abs=1e-3)
    coarse = box.image(values[::2, ::2, ::2])
    ends = [grid.TransformContinuousIndexToPhysicalPoint([-0.5] * 3) for grid in (coarse, box.image(values))]
    assert ends[0] == pytest.approx(ends[1])


# The published loss


def test_the_published_loss_is_the_sum_over_the_clicks(roots: dict[str, Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_model("", TINY)
    batch = {
        "patch": torch.randn(2, 1, 32, 32, 32),
        "target": torch.zeros(2, 1, 32, 32, 32, dtype=torch.long),
    }
    batch["target"][:, :, 8:20, 10:22, 9:19] = 1

    def figures(clicks: int, rows: slice = slice(None), index: tuple[int, ...] = (4, 5)) -> dict[str, float]:
        some = {name: value[rows] for name, value in batch.items()} | {"index": torch.tensor(index)}
        found = msam_loss(network, some, np.random.default_rng(0), clicks)
        return {name: float(value.detach()) for name, value in found.items()}

    one, three = figures(1), figures(3)
    assert set(one) == {"loss", "dice_first", "dice_last"}
    assert three["loss"] > 2.5 * one["loss"] and three["dice_first"] == one["dice_first"]
    # A patch is clicked alike in any company.
    apart = [figures(3, slice(0, 1), (4,)), figures(3, slice(1, 2), (5,))]
    assert np.mean([part["loss"] for part in apart]) == pytest.approx(three["loss"], rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_random_click_lies_on_a_mistake(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target, answer = rng.random((2, 5, 6, 7)) < 0.3
    click = random_click(target, answer, rng)
    assert click is not None
    voxel = tuple(click[0])
    assert target[voxel] != answer[voxel] and click[1] == target[voxel]
    assert random_click(target, target, rng) is None


# Protocols


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 99))
def test_an_answer_is_enlarged_as_the_networks_do(cells: int, voxels: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(cells,) * 3).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None, None], size=(voxels,) * 3, mode="trilinear"
    )
    grid = BoxGrid((3.0, -2.0, 1.0), (1.5, 1.0, 2.0), (voxels,) * 3, oblique(20))
    found = grid.extract(grid.image(logits))
    assert found == pytest.approx(expected[0, 0].numpy(), abs=1e-5)


class Knowing:
    """Stands for a network that answers with the truth of one case, wherever it looks."""

    def __init__(self, volume: Any, network: Any, target: int) -> None:
        self.network, self.capabilities = network, network.capabilities
        self.volume, self.target = volume, target
        self.grids: list[BoxGrid] = []
        self.clicks: list[np.ndarray] = []

    def encode(self, patch: np.ndarray) -> BoxGrid:
        return self.grids[-1]

    def decode(self, features: BoxGrid, coords: Any, labels: Any, prompt: Any) -> Any:
        self.clicks.append(features.world(coords))
        truth = features.extract(self.volume.label_image, nearest=True) == self.target
        return np.where(truth, 5.0, -5.0).astype(np.float32), prompt, 1.0


@pytest.fixture
def knowing(roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = miniature_of(FOLDER / "m-sam" / "table3_lits_none.yaml", roots, tmp_path)
    evaluation = ExperimentEvaluation(ExperimentConfig.read(made), "cpu")
    (case,) = evaluation.volumes()
    volume = protocols.LoadedVolume(case, {"liver": (1,), "tumour": (2,)})
    predictor = Knowing(volume, evaluation.predictor.network, 2)
    cut = protocols.normalised_patch

    def noted(volume: Any, grid: BoxGrid, *options: Any) -> np.ndarray:
        predictor.grids.append(grid)
        return cut(volume, grid, *options)

    monkeypatch.setattr(protocols, "normalised_patch", noted)
    return predictor


def test_points_are_of_the_target_and_the_answer_comes_back_to_the_whole_volume(knowing: Any) -> None:
    answers = [a for a in protocols.at_points(knowing, knowing.volume, (1, 3)) if a.target == 2]
    assert [answer.points for answer in answers] == [1, 3]
    for answer, grid in zip(answers, knowing.grids[-2:], strict=True):
        assert answer.truth.shape == answer.mask.shape == knowing.volume.labels.shape
        assert np.array_equal(answer.truth, knowing.volume.labels == 2)
        shown = sitk.Resample(grid.image(np.ones(grid.shape, np.uint8)), knowing.volume.image)
        assert not (answer.mask & (sitk.GetArrayViewFromImage(shown) == 0)).any()
        truth = answer.truth & (sitk.GetArrayViewFromImage(shown) > 0)
        assert 2 * (truth & answer.mask).sum() / (truth.sum() + answer.mask.sum()) > 0.9
    for points in knowing.clicks[-2:]:
        for point in points:
            i, j, k = knowing.volume.grid.nearest(tuple(point))
            assert knowing.volume.labels[k, j, i] == 2


def test_beyond_the_scan_a_fixed_normalisation_is_dark_in_training_and_0_in_testing(
    roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = FOLDER / "3dsam-adapter" / "table1_lits.yaml"
    made = miniature_of(path, roots, tmp_path, adaptation="none")  # which needs no run before it
    evaluation = ExperimentEvaluation(ExperimentConfig.read(made), "cpu")
    intensity = evaluation.predictor.capabilities.intensity
    assert intensity is not None
    seen: list[float] = []
    encode = evaluation.predictor.encode

    def noted(patch: np.ndarray) -> Any:
        seen.append(float(patch[0, 0, 0]))  # the miniature is smaller than the patch
        return encode(patch)

    monkeypatch.setattr(evaluation.predictor, "encode", noted)
    evaluation.scores(most=1)
    assert seen and set(seen) == {0.0}
    (volume,) = evaluation.volumes()[:1]
    shape, spacing = patch_shape(evaluation.predictor.network)
    config = PatchConfig(centre="box")
    targets = evaluation.cases.targets
    patches = CasePatches([volume], targets, config, shape, spacing, intensity, False, 1, 0)
    darkest = (intensity.low - intensity.mean) / intensity.deviation
    assert float(patches[0]["patch"][0, 0, 0, 0]) == pytest.approx(darkest)


def test_clicks_in_a_patch_stop_when_nothing_is_wrong(knowing: Any) -> None:
    answers = [a for a in protocols.in_patch(knowing, knowing.volume, (1, 5), 8) if a.target == 2]
    assert [answer.points for answer in answers] == [1, 5]
    assert all(np.array_equal(answer.truth, answer.mask) for answer in answers)
    assert len(knowing.clicks) == 1 + 5  # the liver's answer stays wrong
    assert not list(protocols.in_patch(knowing, knowing.volume, (1,), 10**6))


def test_the_map_of_the_whole_volume_is_scored_class_by_class(
    knowing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = knowing.volume
    found = volume.labels.copy()
    found[found == 2] = 1

    def classify(predictor: Any, image: sitk.Image, modality: str) -> ClassMap:
        assert predictor is knowing and image is volume.image and modality == "CT"
        labels = volume.grid.image(found, volume.grid.whole)
        return ClassMap(labels, labels)

    monkeypatch.setattr(protocols, "classify_image", classify)
    liver, tumour = protocols.semantic(knowing, volume)
    assert (liver.target, liver.points, tumour.target) == (1, 0, 2)
    assert np.array_equal(liver.mask, volume.labels > 0) and np.array_equal(liver.truth, volume.labels == 1)
    assert tumour.truth.any() and not tumour.mask.any()


def test_the_table_has_cases_and_means_over_cases_then_targets() -> None:
    scores = [
        Score("one", "liver", 1, 0.5, 0.4, 1.0),
        Score("two", "liver", 1, 0.7, 0.6, 3.0),
        Score("two", "tumour", 1, 0.0, 0.1, 5.0),
    ]
    lines = score_table(scores, 5.0).splitlines()
    assert lines[0] == "| case | target | Dice after 1 points | NSD (5 mm) | seconds |"
    assert lines[2:5] == [
        "| one | liver | 0.5000 | 0.4000 | 1.00 |",
        "| two | liver | 0.7000 | 0.6000 | 3.00 |",
        "| two | tumour | 0.0000 | 0.1000 | 5.00 |",
    ]
    assert lines[5:] == [
        "| mean | liver | 0.6000 | 0.5000 | 2.00 |",
        "| mean | tumour | 0.0000 | 0.1000 | 5.00 |",
        "| mean | all targets | 0.3000 | 0.3000 | 3.50 |",
    ]


def test_the_adapter_s_ablation_prints_both_runs(
    roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = LAYOUTS["msd-lung"]
    rows = ["case\tsource\tpatient\tmodality\timage\tmask"]
    for n in layout.numbers:
        paths = [str(roots["msd-lung"] / path) for path in (*layout.images(n), layout.mask(n))]
        rows.append("\t".join([f"case {n}", "lidc", str(n), "CT", *paths]))
    (tmp_path / "cases.tsv").write_text("\n".join(rows) + "\n")
    made = tmp_path / "ablation.yaml"
    changes = {
        "base": str(FOLDER / "ablation" / "mea_lidc.yaml"),
        "output": str(tmp_path / "run"),
        "dataset": {"root": str(tmp_path)},
        "split": {"test": 0.34},
        "steps": 2,
        "workers": 0,
        "patches": {"smallest": 1},
    }
    made.write_text(yaml.safe_dump(changes))
    runpy.run_path(str(ROOT / "docs" / "mea_ablation.py"))["main"](made, [3, 4])
    table = capsys.readouterr().out.splitlines()[-8:]
    assert table[0].startswith("| M-SAM | seed | steps | Dice after 1 / 3 / 5 clicks")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[2:]]
    assert [row[:3] for row in rows] == [
        [f"{name} MEA", *numbers]
        for name in ("with", "without")
        for numbers in (("3", "2"), ("4", "2"), ("mean", ""))
    ]
    first, second, mean = ([float(value) for value in row[3].split(" / ")] for row in rows[:3])
    assert mean == pytest.approx((np.array(first) + second) / 2, abs=1e-3)


# A kill, and several processes


def command(path: Path) -> list[str]:
    return [sys.executable, "-m", "MSAMLogic.cli", "train", str(path)]


def test_a_run_that_was_killed_in_mid_epoch_ends_as_if_it_had_not_been(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    paths = {}
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        paths[name] = miniature_of(
            FOLDER / "m-sam" / "table1_brats21.yaml",
            roots,
            tmp_path / name,
            epochs=15,
            checkpoint_minutes=1e-6,
            average=0.9,
        )
    assert subprocess.run(command(paths["whole"]), cwd=ROOT, capture_output=True).returncode == 0
    checkpoint = tmp_path / "parts" / "run" / "checkpoint.pt"
    killed = subprocess.Popen(
        command(paths["parts"]), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while killed.poll() is None and not checkpoint.exists():
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert 0 < state_of(tmp_path / "parts")["progress"]["step"] < 30
    resumed = subprocess.run(command(paths["parts"]), cwd=ROOT, capture_output=True, text=True)
    assert resumed.returncode == 0 and "resumed at step" in resumed.stdout
    whole, parts = (state_of(tmp_path / name) for name in ("whole", "parts"))
    for part in ("network", "average"):
        for name, value in whole[part].items():
            assert torch.equal(value, parts[part][name]), name
    weights = [(tmp_path / name / "run" / "weights.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]
    curves = [
        [line.split(",")[2:] for line in (tmp_path / name / "run" / "log.csv").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    assert curves[0] == curves[1] and len(curves[0]) == 2


LOSSES = """
import json, sys
import torch
from pathlib import Path
from torch.utils.data import default_collate
from MSAMLogic.semantic import ClassMap
from MSAMLogic.training.clicks import random_click
from MSAMLogic.training.experiments import ExperimentConfig, ExperimentRun
from MSAMLogic.training.run import first_sample

run = ExperimentRun(ExperimentConfig.read(Path(sys.argv[1])), lambda line: None)
samples, size = run._samples(), run.config.batch_size
run.network.train()
losses = []
for step in range(4):
    first = first_sample(step, size, run.group)
    losses.append(run._step(default_collate([samples[first + n] for n in range(size)]))["loss"])
run.group.stop()
print(json.dumps(losses))
"""


def test_two_processes_have_the_loss_of_one_on_the_same_batches(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    source = FOLDER / "m-sam" / "table1_brats21.yaml"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def losses(processes: int) -> list[list[float]]:
        folder = tmp_path / str(processes)
        folder.mkdir()
        made = miniature_of(source, roots, folder, batch_size=2 // processes)
        started = []
        for rank in range(processes):
            told = {"RANK": rank, "WORLD_SIZE": processes, "LOCAL_RANK": rank, "MASTER_PORT": port}
            environment = os.environ | {name: str(value) for name, value in told.items()}
            environment |= {"MASTER_ADDR": "127.0.0.1", "CUDA_VISIBLE_DEVICES": ""}
            started.append(
                subprocess.Popen(
                    [sys.executable, "-c", LOSSES, str(made)],
                    cwd=ROOT,
                    env=environment,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        return [json.loads(process.communicate(timeout=200)[0].splitlines()[-1]) for process in started]

    (alone,) = losses(1)
    first, second = losses(2)
    assert first == second
    assert first == pytest.approx(alone, abs=1e-5)
    assert len(set(alone)) == len(alone)
