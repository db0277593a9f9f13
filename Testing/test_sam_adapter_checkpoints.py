"""Weights in and out of 3DSAM-adapter: the release's checkpoints, SAM's own, and this package's files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_sam_adapter import TINY

from MSAMLogic import load_model, weights
from MSAMLogic.errors import WeightsError
from MSAMLogic.loading import read_network
from MSAMLogic.model import CONFIGURATIONS, ModelConfig, build_model
from MSAMLogic.model.checkpoints import save_weights
from MSAMLogic.model.config import SYSTEMS
from MSAMLogic.model.sam_adapter.config import SAMAdapterConfig
from MSAMLogic.model.sam_adapter.network import SAMAdapter

State = dict[str, torch.Tensor]


def filled(config: SAMAdapterConfig = TINY, seed: int = 1) -> SAMAdapter:
    torch.manual_seed(seed)
    network = SAMAdapter(config).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter.data)
    return network


def copied(network: SAMAdapter) -> State:
    return {name: value.clone() for name, value in network.state_dict().items()}


def released(network: SAMAdapter) -> dict[str, Any]:
    """Return what the release's trainer would have stored of a network."""
    encoder: State = {}
    features: list[State] = [{} for _ in range(4)]
    decoder: State = {}
    for name, value in copied(network).items():
        part, rest = name.split(".", 1)
        if part == "image_encoder":
            encoder[rest.removeprefix("patch_embedding.")] = value
        elif part == "prompt_encoders":
            number, rest = rest.split(".", 1)
            features[int(number)][rest] = value
        elif rest.startswith("heads."):
            _, number, conv, kind = rest.split(".")
            decoder[f"mlahead.head{int(number) + 2}.{0 if conv == 'conv1' else 3}.{kind}"] = value
        else:
            decoder[f"cls.{0 if rest.startswith('join') else 3}.weight"] = value
    for index in range(0, network.config.encoder_depth, 2):
        encoder[f"blocks.{index}.attn_mask"] = torch.zeros(8, 8, 8)
    return {
        "epoch": 7,
        "best_val_loss": np.float32(0.25),
        "encoder_dict": encoder,
        "decoder_dict": decoder,
        "feature_dict": features,
        "encoder_opt": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 4e-4}]},
    }


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def as_it_is(state: dict[str, Any]) -> dict[str, Any]:
    return state


def with_a_dict(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"feature_dict": dict(enumerate(state["feature_dict"]))}


def flat(state: dict[str, Any]) -> dict[str, Any]:
    out = {
        f"{part}.{name}": x for part in ("encoder_dict", "decoder_dict") for name, x in state[part].items()
    }
    return out | {
        f"feature_dict.{index}.{name}": x.numpy()
        for index, part in enumerate(state["feature_dict"])
        for name, x in part.items()
    }


@pytest.mark.parametrize("layout", [as_it_is, with_a_dict, flat])
@pytest.mark.parametrize("config", [TINY, replace(TINY, neck_convolutions=True)], ids=["v1", "v2"])
def test_the_releases_checkpoints_load(
    layout: Callable[[dict[str, Any]], dict[str, Any]], config: SAMAdapterConfig
) -> None:
    source, network = filled(config), filled(config, seed=2)
    assert network.load_published_state_dict(layout(released(source))) == []
    assert same(copied(network), copied(source))


def without(state: dict[str, Any]) -> None:
    del state["encoder_dict"]["pos_embed"]


def of_another_shape(state: dict[str, Any]) -> None:
    state["decoder_dict"]["cls.3.weight"] = torch.zeros(3, 8, 3, 3, 3)


def with_something_else(state: dict[str, Any]) -> None:
    state["encoder_dict"]["wheels"] = torch.zeros(4)


def with_three_prompt_encoders(state: dict[str, Any]) -> None:
    state["feature_dict"].pop()


@pytest.mark.parametrize(
    "damage", [without, of_another_shape, with_something_else, with_three_prompt_encoders]
)
def test_a_wrong_checkpoint_leaves_the_network_alone(damage: Callable[[dict[str, Any]], None]) -> None:
    network = filled()
    before, state = copied(network), released(filled(seed=2))
    damage(state)
    with pytest.raises(WeightsError, match="does not fit"):
        network.load_published_state_dict(state)
    assert same(copied(network), before)


def test_missing_tensors_keep_their_values_when_that_is_wanted() -> None:
    network, state = filled(), released(filled(seed=2))
    before = copied(network)["image_encoder.pos_embed"]
    without(state)
    assert network.load_published_state_dict(state, partial=True) == ["image_encoder.pos_embed"]
    assert torch.equal(network.image_encoder.pos_embed, before)


@pytest.mark.parametrize("name", ["last.pth.tar", "tumour.pth"])
@pytest.mark.parametrize("convolutions", [False, True], ids=["v1", "v2"])
def test_a_file_of_the_releases_trainer_picks_this_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, convolutions: bool
) -> None:
    monkeypatch.setitem(CONFIGURATIONS, "3dsam-adapter", TINY)
    source = filled(replace(TINY, neck_convolutions=convolutions))
    torch.save(released(source), tmp_path / name)
    network = load_model(str(tmp_path / name), device="cpu").network
    assert isinstance(network, SAMAdapter)
    assert same(copied(network), copied(source))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save(released(filled()) | {"best_val_loss": Path("x")}, tmp_path / "last.pth.tar")
    with pytest.raises(WeightsError):
        weights.load_state(tmp_path / "last.pth.tar")


def sam_shapes(width: int, table: int, head: int, depth: int, short: int, long: dict[int, int]) -> State:
    """Return SAM's tensors by the names of sam_vit_b_01ec64.pth, those behind the encoder in part."""
    shapes: dict[str, tuple[int, ...]] = {
        "image_encoder.pos_embed": (1, table, table, width),
        "image_encoder.patch_embed.proj.weight": (width, 3, 16, 16),
        "image_encoder.patch_embed.proj.bias": (width,),
        "image_encoder.neck.0.weight": (256, width, 1, 1),
        "image_encoder.neck.1.weight": (256,),
        "image_encoder.neck.2.weight": (256, 256, 3, 3),
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (2, 128),
        "prompt_encoder.point_embeddings.0.weight": (1, 256),
        "mask_decoder.iou_token.weight": (1, 256),
        "mask_decoder.transformer.layers.0.self_attn.q_proj.weight": (256, 256),
    }
    for index in range(depth):
        block = f"image_encoder.blocks.{index}."
        for norm in ("norm1", "norm2"):
            shapes |= {f"{block}{norm}.weight": (width,), f"{block}{norm}.bias": (width,)}
        for layer, (out, into) in {
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.lin1": (4 * width, width),
            "mlp.lin2": (width, 4 * width),
        }.items():
            shapes |= {f"{block}{layer}.weight": (out, into), f"{block}{layer}.bias": (out,)}
        for axis in "hw":
            shapes[f"{block}attn.rel_pos_{axis}"] = (long.get(index, short), head)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


@pytest.fixture
def sam() -> State:
    torch.manual_seed(9)
    return sam_shapes(width=16, table=8, head=8, depth=4, short=5, long={1: 15})


def test_sam_starts_the_network(sam: State) -> None:
    network = filled()
    before = copied(network)
    missing = network.load_sam_state_dict(sam)
    after = copied(network)
    patch_embed = {
        f"image_encoder.patch_embedding.patch_embed.proj.{kind}": f"image_encoder.patch_embed.proj.{kind}"
        for kind in ("weight", "bias")
    }
    assert all(torch.equal(after[name], sam[theirs]) for name, theirs in patch_embed.items())
    taken = {name for name in sam if ".blocks." in name or name.endswith("pos_embed")}
    assert all(torch.equal(after[name], sam[name]) for name in taken)
    for index in range(4):
        prefix = f"image_encoder.blocks.{index}.attn.rel_pos_"
        torch.testing.assert_close(after[f"{prefix}d"], (sam[f"{prefix}h"] + sam[f"{prefix}w"]) / 2)
    # The list holds all that SAM does not give, and all but the depth's relative positions is as it was.
    assert set(missing) == set(before) - taken - set(patch_embed)
    assert all(torch.equal(after[name], before[name]) for name in missing if not name.endswith("rel_pos_d"))


def test_the_names_and_shapes_of_sam_vit_b_fit_the_big_network() -> None:
    with torch.device("meta"):
        network = SAMAdapter(SAMAdapterConfig())
        sam = sam_shapes(
            width=768, table=64, head=64, depth=12, short=27, long=dict.fromkeys((2, 5, 8, 11), 127)
        )
    missing = network.load_sam_state_dict(sam)
    assert len(missing) == len(network.state_dict()) - 3 - 12 * 14


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("image_encoder.pos_embed", None),
        ("image_encoder.blocks.1.attn.rel_pos_w", None),
        ("image_encoder.patch_embed.proj.weight", (16, 1, 16, 16)),
        ("image_encoder.pos_embed", (1, 4, 4, 16)),
        ("image_encoder.blocks.1.attn.rel_pos_h", (5, 8)),
        ("image_encoder.blocks.4.norm1.weight", (16,)),
    ],
)
def test_what_is_not_sams_leaves_the_network_alone(
    sam: State, name: str, change: tuple[int, ...] | None
) -> None:
    network = filled()
    before = copied(network)
    if change is None:
        del sam[name]
    else:
        sam[name] = torch.zeros(change)
    with pytest.raises(WeightsError):
        network.load_sam_state_dict(sam)
    assert same(copied(network), before)


def test_own_weights_come_back_as_the_same_system(tmp_path: Path) -> None:
    network = filled(replace(TINY, intensity="lits"))
    path = tmp_path / "tiny.safetensors"
    save_weights(path, network.config, network.state_dict())
    loaded = read_network(path)
    assert isinstance(loaded, SAMAdapter)
    assert loaded.config == network.config
    for name, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=1e-3, atol=1e-3)


def test_every_network_has_a_system_that_its_file_names() -> None:
    assert {type(config) for config in CONFIGURATIONS.values()} == set(SYSTEMS.values())


def test_a_file_without_a_system_is_of_the_msam_family(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    config = replace(CONFIGURATIONS["msam-compact"], encoder_depth=1, global_blocks=(0,))
    save_weights(path, config, build_model("", config).state_dict())
    sizes = json.loads(weights.load_metadata(path)["config"])
    assert sizes.pop("system") == "msam"
    save_file(load_file(path), path, metadata={"config": json.dumps(sizes)})
    assert isinstance(read_network(path).config, ModelConfig)


def test_a_system_of_the_future_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"config": '{"system": "sam-17"}'})
    with pytest.raises(WeightsError, match="sam-17"):
        read_network(path)
