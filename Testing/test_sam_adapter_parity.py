"""3DSAM-adapter agrees with the authors' released network, at full size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_parity import tensor_from_seed

from MSAMLogic.model import build_model
from MSAMLogic.model.sam_adapter.checkpoints import own_name
from MSAMLogic.model.sam_adapter.config import SAMAdapterConfig
from MSAMLogic.model.sam_adapter.network import SAMAdapter

TOLERANCE = 1e-3


class Run(NamedTuple):
    """One look and one answer of the big network, in the release's axes."""

    outputs: dict[str, NDArray[np.float32]]
    deepest: NDArray[np.float32]
    prompted: NDArray[np.float32]
    logits: NDArray[np.float32]


@pytest.fixture(scope="module")
def keys(parity_folder: Path) -> dict[str, tuple[int, ...]]:
    listed = json.loads((parity_folder / "3dsam_adapter_keys.json").read_text())
    return {name: tuple(shape) for name, shape in listed.items()}


@pytest.fixture(scope="module")
def run(parity_folder: Path, keys: dict[str, tuple[int, ...]]) -> Run:
    outputs = dict(np.load(parity_folder / "3dsam_adapter_seed0.npz"))
    network = build_model("3dsam-adapter")
    assert isinstance(network, SAMAdapter)
    network.load_published_state_dict({name: tensor_from_seed(name, shape) for name, shape in keys.items()})
    noise = np.random.default_rng(2_000).standard_normal((1, 1, 128, 128, 128), dtype=np.float32)
    patch = 5 * torch.nn.functional.avg_pool3d(torch.from_numpy(noise), 5, 1, 2)  # (slice, row, column)
    coords = torch.from_numpy(outputs["points"])[..., [1, 2, 0]]  # from (slice, column, row)
    with torch.inference_mode():
        features = network.look(patch.permute(0, 1, 4, 3, 2))
        prompted = network.prompt_encoders[3](features.deepest, coords[..., [2, 0, 1]])
        logits = network.class_logits(features, coords)
    return Run(
        outputs, features.deepest[0].numpy(), prompted[0].numpy(), logits[0].permute(0, 3, 2, 1).numpy()
    )


def test_the_deepest_features(run: Run) -> None:
    sample = run.deepest[:, ::8, ::8, ::8]
    assert np.abs(sample - run.outputs["features_level3_sample"]).max() < TOLERANCE
    means = run.deepest.mean(axis=(1, 2, 3))
    assert np.abs(means - run.outputs["features_level3_channel_means"]).max() < TOLERANCE


def test_the_features_with_the_points_worked_in(run: Run) -> None:
    sample = run.prompted[:, ::8, ::8, ::8]
    assert np.abs(sample - run.outputs["prompted_sample"]).max() < TOLERANCE
    means = run.prompted.mean(axis=(1, 2, 3))
    assert np.abs(means - run.outputs["prompted_features_channel_means"]).max() < TOLERANCE


def test_the_logits_of_both_classes(run: Run) -> None:
    where = tuple(run.outputs["sample_voxels"].astype(int).T)
    for index in (0, 1):
        assert np.abs(run.logits[index][where] - run.outputs["logits"][index]).max() < TOLERANCE


def test_names_shapes_and_counts(keys: dict[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):  # shapes alone
        network = SAMAdapter(SAMAdapterConfig())
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == {
        own_name(name): shape for name, shape in keys.items()
    }

    def count(module: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    assert count(network.image_encoder) == 96_974_604
    assert count(network.mask_decoder) == 7_088_256
    assert [count(encoder) for encoder in network.prompt_encoders] == 4 * [3_164_160]
