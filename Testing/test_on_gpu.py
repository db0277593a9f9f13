"""What runs on a GPU: answers, clicks and training there; skipped without one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_batch_clicks import blobs, readers
from test_corrector import written_config
from test_model import randomised
from typer.testing import CliRunner

from MSAMLogic.cli import app
from MSAMLogic.model import CONFIGURATIONS, build_model
from MSAMLogic.predictor import Answer, Precision, TorchPredictor
from MSAMLogic.training.batch_clicks import simulate_clicks
from MSAMLogic.training.clicks import simulate_click

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def answered(device: str, precision: Precision) -> list[Answer]:
    """Return the answers to two clicks on a patch, by the default network with random weights."""
    torch.manual_seed(0)
    network = randomised(build_model("msam-compact"), 0.05)
    predictor = TorchPredictor(network, device, precision)  # type: ignore[arg-type]
    n = predictor.capabilities.patch_size
    patch = np.random.default_rng(0).normal(size=(n, n, n)).astype(np.float32)
    features = predictor.encode(patch)
    coords, labels = np.array([[30.0, 31.0, 32.0], [10.0, 12.0, 40.0]], np.float32), np.array([1, 0])
    first = predictor.decode(
        features, coords[:1], labels[:1], np.zeros((predictor.capabilities.prompt_size,) * 3, np.float32)
    )
    return [first, predictor.decode(features, coords, labels, first.prompt)]


@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-3), ("auto", 5e-2)])
def test_a_gpu_answers_as_the_processor_does(precision: Precision, most: float) -> None:
    for here, there in zip(answered("cpu", "float32"), answered("cuda", precision), strict=True):
        error = np.linalg.norm(here.logits - there.logits) / np.linalg.norm(here.logits)
        assert error < most


def test_clicks_found_on_a_gpu_are_those_found_on_the_processor() -> None:
    target, answer = blobs(1, 12, 0.3), blobs(2, 12, 0.3)
    made = simulate_clicks(torch.from_numpy(target).cuda(), torch.from_numpy(answer).cuda(), readers(5, 12))
    expected = [
        simulate_click(lesion, mask, reader)
        for lesion, mask, reader in zip(target, answer, readers(5, 12), strict=True)
    ]
    same = [
        a is not None and b is not None and a[1] == b[1] and a[0].tolist() == b[0].tolist()
        for a, b in zip(made, expected, strict=True)
    ]
    assert sum(same) >= 10  # equally large errors may be told apart otherwise


def test_sessions_are_recorded_by_several_processes_on_one_gpu(tmp_path: Path, scan_folder: Path) -> None:
    config = written_config(tmp_path, scan_folder, workers=2)
    result = CliRunner().invoke(app, ["train", str(config)])
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "run/recordings").glob("*.npy"))) == 3


def test_the_default_network_learns_on_a_gpu(
    tmp_path: Path, scan_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = replace(CONFIGURATIONS["msam-compact"], patch_size=32)
    monkeypatch.setitem(CONFIGURATIONS, "small", sizes)
    path = tmp_path / "run.yaml"
    path.write_text(
        f"data: {scan_folder}\noutput: {tmp_path / 'run'}\narchitecture: small\nsteps: 3\n"
        "batch_size: 3\nworkers: 2\nclicks: 3\ngraded_clicks: 2\n"
    )
    result = CliRunner().invoke(app, ["train", str(path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run/weights.safetensors").exists()
