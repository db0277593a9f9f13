"""The weights that come with the software, and the published networks, in a real session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from images import balls, middle

from MSAMLogic import InteractiveSession, load_model
from MSAMLogic.errors import ModelError, WeightsError
from MSAMLogic.evaluation.protocol import lesions, run_clicks
from MSAMLogic.model import build_model
from MSAMLogic.predictor import TorchPredictor
from MSAMLogic.training.cases import read_cases, split_by_patient
from MSAMLogic.weights import find_model, weights_path


@pytest.fixture(scope="module")
def default_model() -> TorchPredictor:
    return load_model("default", device="cpu")


def test_default_weights_lie_in_the_repository_and_are_small() -> None:
    entry = find_model("default")
    path = weights_path(entry)
    assert path.parent.name == "model_weights"
    assert path.stat().st_size == entry.size_bytes
    assert path.stat().st_size <= 40e6


def test_default_model_is_a_whole_msam(default_model: TorchPredictor) -> None:
    network = default_model.network
    assert network.mask_enhanced_adapter is not None
    assert default_model.capabilities.all_clicks
    assert all(torch.isfinite(p).all() for p in network.parameters())


@pytest.mark.parametrize(("name", "dice"), [("LIDC_0014_R_1", 0.7), ("STS_010_CT", 0.6)])
def test_five_clicks_on_a_patient_that_training_never_saw(
    default_model: TorchPredictor, data_folder: Path, name: str, dice: float
) -> None:
    _, validation = split_by_patient(read_cases(data_folder))
    case = next(case for case in validation if case.name == name)
    image, mask = sitk.ReadImage(str(case.image_path)), sitk.ReadImage(str(case.mask_path))
    series = run_clicks(InteractiveSession(default_model), image, lesions(mask)[0], clicks=5)
    assert series.after(5).dice >= dice


def test_a_bright_ball_is_found_by_one_click(default_model: TorchPredictor) -> None:
    grid = {"size": (100, 100, 50), "spacing": (1.0, 1.0, 2.0)}
    centre = middle(balls(**grid))
    image = balls(centres=[centre], radius=14, **grid)
    session = InteractiveSession(default_model)
    session.set_image(image)
    session.click(centre)
    truth = sitk.GetArrayFromImage(image) > 50
    found = sitk.GetArrayFromImage(session.mask) > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.6


def test_the_same_clicks_give_the_same_mask(default_model: TorchPredictor) -> None:
    centre = middle(balls())
    masks = []
    for _ in range(2):
        session = InteractiveSession(default_model)
        session.set_image(balls(centres=[centre]))
        session.click(centre)
        session.click((centre[0] + 9, centre[1], centre[2]), positive=False)
        masks.append(sitk.GetArrayFromImage(session.mask))
    assert np.array_equal(*masks)


def test_a_published_network_runs_in_a_session() -> None:
    torch.manual_seed(0)
    session = InteractiveSession(build_model("sam-med3d-vit-b"))
    centre = middle(balls())
    session.set_image(balls(centres=[centre]))
    session.click(centre)
    session.click((centre[0] + 2, centre[1], centre[2]))
    assert len(session.clicks) == 2
    assert session.mask.GetSize() == (64, 64, 64)


def test_a_published_checkpoint_loads_by_its_path(tmp_path: Path) -> None:
    network = build_model("sam-med3d-vit-b")
    path = tmp_path / "checkpoint.pth"
    torch.save({"model_state_dict": network.state_dict(), "epoch": 3}, path)
    loaded = load_model(str(path), device="cpu")
    assert loaded.network.config == network.config
    assert torch.equal(loaded.network.image_encoder.pos_embed, network.image_encoder.pos_embed)


def test_a_wrong_name_path_or_device_is_said() -> None:
    with pytest.raises(WeightsError, match="default"):
        load_model("no-such-model")
    with pytest.raises(WeightsError, match="There is no weights file"):
        load_model("somewhere/weights.safetensors")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="cuda"):
            load_model("default", device="cuda")
