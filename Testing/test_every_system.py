"""Every system of the papers runs from a weights file, through Python and the command line, and learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from images import balls, middle
from tiny_networks import SIZES, tiny_network, tiny_weights
from typer.testing import CliRunner

from MSAMLogic import InteractiveSession, load_model
from MSAMLogic.cli import app
from MSAMLogic.errors import ModelError
from MSAMLogic.geometry import PatchGrid, extract_patch
from MSAMLogic.intensity import normalise
from MSAMLogic.model import MSAM, ModelConfig
from MSAMLogic.proposals import propose_lesions
from MSAMLogic.training.cases import read_cases
from MSAMLogic.training.loaded_case import LoadedCase
from MSAMLogic.training.recipes.clicks import msam_loss

CLICKED = ("msam-vit-b", "sam-med3d-vit-b", "3dsam-adapter")
CASE = "LIDC_0003_R_2"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    image = balls(size=(50, 44, 40), centres=[middle(balls(size=(50, 44, 40)))], radius=8)
    path = tmp_path / "scan.nii.gz"
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("name", CLICKED)
def test_a_system_that_takes_clicks_segments_on_the_command_line_what_it_does_in_python(
    name: str, scan: Path, tmp_path: Path
) -> None:
    weights = tiny_weights(tmp_path, name)
    image = sitk.ReadImage(str(scan))
    points = [image.TransformIndexToPhysicalPoint(index) for index in ((25, 22, 20), (30, 22, 20))]
    session = InteractiveSession(load_model(str(weights), "cpu"))
    session.set_image(image)
    for point in points:
        session.click(point)
    expected = sitk.GetArrayFromImage(session.mask)
    assert expected.sum() > 0

    output = tmp_path / "mask.nrrd"
    arguments = ["segment", str(scan), "-o", str(output), "--model", str(weights), "--lps"]
    for point in points:
        arguments += ["--click", ",".join(map(str, point))]
    result = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert (sitk.GetArrayFromImage(sitk.ReadImage(str(output))) == expected).all()


def test_a_system_without_clicks_proposes_on_the_command_line_what_it_does_in_python(
    scan: Path, tmp_path: Path
) -> None:
    weights = tiny_weights(tmp_path, "masksam")
    image = sitk.ReadImage(str(scan))
    (everything,) = propose_lesions(load_model(str(weights), "cpu"), image)
    assert everything.name == "lesion" and sitk.GetArrayFromImage(everything.mask).all()

    output = tmp_path / "found.nii.gz"
    result = CliRunner().invoke(
        app, ["propose", str(scan), "-o", str(output), "--model", str(weights), "--device", "cpu"]
    )
    assert result.exit_code == 0, result.output
    assert "lesion" in result.output
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(output))).sum() == everything.mask.GetNumberOfPixels()


def test_a_system_without_clicks_is_refused_where_clicks_are_needed(scan: Path, tmp_path: Path) -> None:
    weights = tiny_weights(tmp_path, "masksam")
    with pytest.raises(ModelError, match="no clicks"):
        InteractiveSession(load_model(str(weights), "cpu"))
    with pytest.raises(ModelError):
        propose_lesions(
            load_model(str(tiny_weights(tmp_path, "msam-vit-b")), "cpu"), sitk.ReadImage(str(scan))
        )


@pytest.mark.parametrize("name", SIZES)
def test_a_weights_file_brings_its_own_system_back(name: str, tmp_path: Path) -> None:
    network, loaded = tiny_network(name, seed=3), load_model(str(tiny_weights(tmp_path, name, seed=3)), "cpu")
    assert type(loaded.network) is type(network) and loaded.network.config == network.config
    assert loaded.capabilities == network.capabilities
    for key, value in network.state_dict().items():
        assert torch.allclose(loaded.network.state_dict()[key].float(), value.float(), atol=2e-3, rtol=2e-3)


SMALL = ModelConfig(
    patch_size=32,
    token_size=4,
    encoder_width=48,
    encoder_depth=2,
    encoder_heads=3,
    window_size=8,
    global_blocks=(1,),
    embedding_width=48,
    adapter_heads=3,
    decoder_heads=4,
    decoder_mlp_width=64,
    iou_head_width=16,
)


@pytest.mark.parametrize("system", ["M-SAM", "SAM-Med3D"])
def test_a_small_network_learns_a_real_lesion_by_heart(system: str, data_folder: Path) -> None:
    """3DSAM-adapter and MaskSAM do so in the tests of their losses."""
    case = LoadedCase(next(case for case in read_cases(data_folder) if case.name == CASE))
    lesion = case.lesions[0]
    grid = PatchGrid(lesion.centre, 3 * lesion.extent / SMALL.patch_size, SMALL.patch_size)
    patch = normalise(extract_patch(case.image, grid), "CT")
    target = case.target(lesion, grid).astype(np.float32)
    batch = {name: torch.from_numpy(x)[None, None] for name, x in (("patch", patch), ("target", target))}
    assert 0.001 < float(batch["target"].mean()) < 0.2

    config = (
        SMALL
        if system == "M-SAM"
        else replace(SMALL, lora_rank=0, mask_enhanced_adapter=False, all_clicks=True)
    )
    torch.manual_seed(0)
    network = MSAM(config).train()
    optimiser = torch.optim.AdamW(
        (p for p in network.parameters() if p.requires_grad), lr=3e-3, weight_decay=0
    )
    rng = np.random.default_rng(0)
    reached = 0.0
    for _ in range(200):
        values = msam_loss(network, batch, rng, clicks=2)
        reached = max(reached, float(values["dice_last"]))
        if reached >= 0.92:
            break
        optimiser.zero_grad()
        values["loss"].backward()
        optimiser.step()
    assert reached >= 0.9
