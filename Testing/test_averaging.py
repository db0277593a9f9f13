"""The mean of weights files: of all their tensors, and only of networks alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_model import TINY
from typer.testing import CliRunner

from MSAMLogic.cli import app
from MSAMLogic.errors import TrainingError, WeightsError
from MSAMLogic.loading import read_network
from MSAMLogic.model import build_model
from MSAMLogic.model.checkpoints import save_weights
from MSAMLogic.model.config import ModelConfig
from MSAMLogic.training.averaging import average_weights


def written(path: Path, seed: int, config: ModelConfig = TINY) -> Path:
    generator = torch.Generator().manual_seed(seed)
    network = build_model("", config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
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


def test_a_part_that_is_kept_stays_as_in_the_first_file(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{seed}.safetensors", seed) for seed in range(2)]
    mean_of = {}
    for name, kept in (("all", []), ("kept", ["--keep", "mask_decoder"])):
        output = tmp_path / f"{name}.safetensors"
        result = CliRunner().invoke(app, ["average", *map(str, files), "-o", str(output), *kept])
        assert result.exit_code == 0, result.output
        mean_of[name] = read_network(output).state_dict()
    first = read_network(files[0]).state_dict()
    for name, value in mean_of["kept"].items():
        expected = first if name.startswith("mask_decoder.") else mean_of["all"]
        assert torch.equal(value, expected[name]), name
    assert any(not torch.equal(mean_of["all"][name], first[name]) for name in first if "mask_decoder" in name)


def test_a_part_that_the_network_does_not_have_cannot_be_kept(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{seed}.safetensors", seed) for seed in range(2)]
    with pytest.raises(TrainingError, match=r"no part 'fusion' to keep; choose among .*mask_decoder"):
        average_weights(files, tmp_path / "mean.safetensors", ["fusion"])
    assert not (tmp_path / "mean.safetensors").exists()


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
