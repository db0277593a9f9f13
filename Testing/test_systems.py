"""The systems of the papers in the list of models: complete, true to the networks, and of help in errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from MSAMLogic import load_model, weights
from MSAMLogic.capabilities import Capabilities
from MSAMLogic.errors import WeightsError
from MSAMLogic.model import CONFIGURATIONS, build_model
from MSAMLogic.systems import TAKES_IN_WORDS, NetworkEntry, Takes

NETWORKS = {network.name: network for system in weights.systems() for network in system.networks}
# Listed, and built only once their networks are part of the package.
STILL_TO_COME = {"3dsam-adapter", "masksam"} - set(CONFIGURATIONS)


def takes(capabilities: Capabilities) -> Takes:
    if not capabilities.takes_clicks:
        return "no clicks"
    if not capabilities.background_clicks:
        return "lesion clicks"
    return "all clicks" if capabilities.all_clicks else "newest click"


def test_the_four_systems_of_the_papers_are_listed() -> None:
    assert [system.title for system in weights.systems()] == [
        "M-SAM",
        "SAM-Med3D",
        "3DSAM-adapter",
        "MaskSAM",
    ]
    assert all("arXiv" in system.paper for system in weights.systems())


def test_the_list_has_the_networks_that_can_be_built() -> None:
    assert set(NETWORKS) == set(CONFIGURATIONS) | STILL_TO_COME


@pytest.mark.parametrize("name", sorted(set(NETWORKS) & set(CONFIGURATIONS)))
def test_what_a_network_takes_is_what_it_says_of_itself(name: str) -> None:
    with torch.device("meta"):  # sizes only: nothing is computed
        network = build_model(name)
    assert NETWORKS[name].takes == takes(network.capabilities)


def test_every_model_belongs_to_a_system() -> None:
    assert {entry.architecture for entry in weights.models()} <= set(NETWORKS)


def test_every_kind_has_words() -> None:
    kinds = NetworkEntry.model_json_schema()["properties"]["takes"]["enum"]
    assert set(TAKES_IN_WORDS) == set(kinds)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_network_without_weights_says_how_to_get_some(name: str) -> None:
    system = next(s for s in weights.systems() if name in {network.name for network in s.networks})
    with pytest.raises(WeightsError) as caught:
        load_model(name)
    assert system.title in str(caught.value) and system.to_get_weights in str(caught.value)


def test_an_unknown_name_lists_the_models_and_names_the_other_way() -> None:
    with pytest.raises(WeightsError, match=r"'nothing'.*default, sam-med3d-turbo.*its path"):
        load_model("nothing")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda systems: systems[1]["networks"].append({"name": "msam-vit-b", "takes": "all clicks"}),
            "more",
        ),
        (lambda systems: systems[0].update(colour="red"), "colour"),
        (lambda systems: systems[0].update(networks=[]), "networks"),
        (lambda systems: systems[0]["networks"][0].update(takes="mind reading"), "takes"),
    ],
)
def test_a_damaged_list_is_refused(
    change: object, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.loads((weights.registry_folder() / "models.json").read_text(encoding="utf-8"))
    change(content["systems"])  # type: ignore[operator]
    (tmp_path / "models.json").write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setenv("MSAM_MODEL_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=complaint):
        weights.systems()


def test_a_list_of_one_s_own_needs_no_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models.json").write_text('{"models": []}')
    monkeypatch.setenv("MSAM_MODEL_WEIGHTS", str(tmp_path))
    assert weights.systems() == ()
