"""The mean of weights files: of all their tensors, and only of networks alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_model import TINY, randomised
from typer.testing import CliRunner

from MSAMLogic.cli import app
from MSAMLogic.errors import TrainingError, WeightsError
from MSAMLogic.loading import read_network
from MSAMLogic.model import build_model
from MSAMLogic.model.checkpoints import save_weights
from MSAMLogic.model.config import ModelConfig
from MSAMLogic.training.averaging import average_weights


def written(path: Path, seed: int, config: ModelConfig = TINY) -> Path:
    torch.manual_seed(seed)
    network = randomised(build_model("", config), 0.3)
    save_weights(path, network.config, network.state_dict())
    return path


def test_every_weight_is_the_mean_of_those_of_the_files(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{seed}.safetensors", seed) for seed in range(3)]
    arguments = ["average", *map(str, files), "-o", str(tmp_path / "mean.safetensors")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    mean = read_network(tmp_path / "mean.safetensors").state_dict()
    states = [read_network(file).state_dict() for file in files]
    for name, value in mean.items():
        expected = torch.stack([state[name].float() for state in states]).mean(dim=0)
        assert torch.allclose(value.float(), expected, atol=2e-3, rtol=2e-3), name
    assert any(not torch.equal(mean[name], states[0][name]) for name in mean)


def test_networks_that_differ_have_no_mean_and_nothing_is_written(tmp_path: Path) -> None:
    one = written(tmp_path / "one.safetensors", 0)
    other = written(tmp_path / "other.safetensors", 1, replace(TINY, encoder_depth=TINY.encoder_depth + 1))
    with pytest.raises(TrainingError, match=r"other\.safetensors is of another network"):
        average_weights([one, other], tmp_path / "mean.safetensors")
    with pytest.raises(TrainingError, match="at least two"):
        average_weights([one], tmp_path / "mean.safetensors")
    with pytest.raises(WeightsError, match="no weights file"):
        average_weights([one, tmp_path / "none.safetensors"], tmp_path / "mean.safetensors")
    assert not (tmp_path / "mean.safetensors").exists()
