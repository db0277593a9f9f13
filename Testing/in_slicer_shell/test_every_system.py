"""The networks of all papers in the module, from weights files, without a stand-in for any of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from images import balls, middle
from support import User, directly, ras_of_lps, volume_node

from Testing.slicer_shell import dialogs
from Testing.slicer_shell.testing import process_events

pytest.importorskip("torch")

from tiny_networks import tiny_weights

from MSAMLogic import load_model

SIZE = (50, 44, 40)


@pytest.fixture
def scan() -> sitk.Image:
    return balls(size=SIZE, centres=[middle(balls(size=SIZE))], radius=8)


@pytest.fixture
def real(user: User) -> User:
    """A user whose panel loads what it is told to."""
    user.panel.load_predictor = None
    user.panel.installer = type("Here", (), {"missing_packages": list, "is_torch_missing": bool})()
    return user


@pytest.mark.parametrize("name", ["msam-vit-b", "sam-med3d-vit-b", "3dsam-adapter"])
def test_clicks_lead_to_the_masks_of_the_system_in_the_file(
    name: str, real: User, scan: sitk.Image, tmp_path: Path
) -> None:
    weights = tiny_weights(tmp_path, name)
    real.open(volume_node(scan))
    real.wait()
    dialogs.answer_next(str(weights))
    real.panel.ui.modelFileButton.click()
    real.wait()
    x, y, z = ras_of_lps(middle(scan))
    clicks = [((x, y, z), True), ((x + 5, y, z), True)]
    expected = [directly(load_model(str(weights)), scan, clicks[:count]) for count in (1, 2)]
    for (ras, positive), mask in zip(clicks, expected, strict=True):
        real.mark(ras, positive)
        assert mask.any() and np.array_equal(real.mask(), mask)
    real.panel.accept()
    real.wait()
    assert np.array_equal(real.written() > 0, expected[-1])


def test_clicks_against_the_lesion_are_offered_by_the_systems_that_take_them(
    real: User, scan: sitk.Image, tmp_path: Path
) -> None:
    real.open(volume_node(scan))
    real.wait()
    for name, is_offered in (("3dsam-adapter", False), ("sam-med3d-vit-b", True)):
        dialogs.answer_next(str(tiny_weights(tmp_path, name)))
        real.panel.ui.modelFileButton.click()
        real.mark(ras_of_lps(middle(scan)))
        assert real.panel.ui.backgroundButton.enabled == is_offered
        real.panel.undo()
        real.wait()


def test_what_masksam_finds_becomes_a_segment_that_m_sam_refines(
    real: User, scan: sitk.Image, tmp_path: Path
) -> None:
    volume = volume_node(scan)
    real.open(volume)
    real.wait()
    dialogs.answer_next(str(tiny_weights(tmp_path, "masksam")), str(tiny_weights(tmp_path, "msam-vit-b")))
    real.panel.ui.proposalFileButton.click()
    real.panel.ui.modelFileButton.click()
    real.wait()
    real.panel.ui.proposeButton.click()
    real.wait()
    (segment,) = real.segment_ids()
    assert slicer.util.arrayFromVolume(volume).shape == real.written(segment).shape
    assert (real.written(segment) > 0).all()  # this network takes everything for a lesion
    real.panel.ui.lesionTable.selectRow(0)
    process_events(20)
    real.mark(ras_of_lps(middle(scan)), positive=False)
    start = balls(size=SIZE) * 0 + 1
    start.CopyInformation(scan)
    model = load_model(str(tmp_path / "msam-vit-b.safetensors"))
    expected = directly(model, scan, [(ras_of_lps(middle(scan)), False)], start)
    assert np.array_equal(real.mask(), expected)
