"""The public data sets: official layouts, label meanings, what is said when a file is missing, splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from images import AXIAL
from miniatures import LAYOUTS, labels_of, write_miniature, write_volume

from MSAMLogic.errors import TrainingError
from MSAMLogic.training.datasets import DatasetTable, Volume, dataset_names, dataset_table, find_volumes
from MSAMLogic.training.experiments import cases as cases_module
from MSAMLogic.training.experiments.cases import find_cases
from MSAMLogic.training.experiments.config import (
    DatasetConfig,
    ListedSplit,
    OfficialSplit,
    SeededSplit,
)
from MSAMLogic.training.experiments.volumes import LoadedVolume

ALL = SeededSplit(test=0.0)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All data sets, each a miniature in a folder of its own."""
    made = {name: tmp_path_factory.mktemp(name) for name in LAYOUTS}
    for name, root in made.items():
        write_miniature(name, root)
    return made


def channel_of(table: DatasetTable) -> str | None:
    return table.channels[0] if table.channels else None


def test_every_table_has_a_miniature() -> None:
    assert dataset_names() == sorted(LAYOUTS)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_a_data_set_is_found_in_its_official_layout(roots: dict[str, Path], name: str) -> None:
    table, layout, root = dataset_table(name), LAYOUTS[name], roots[name]
    subsets = list(find_volumes(table, root, channel_of(table)).values())
    found = [volume for volumes in subsets for volume in volumes]
    expected = [*layout.numbers, *layout.others]
    assert {volume.name for volume in found} == {layout.name(n) for n in expected}
    assert len(subsets[0]) == len(layout.numbers)
    for number in expected:
        (volume,) = (v for v in found if v.name == layout.name(number))
        assert volume.image_path in {root / path for path in layout.images(number)}
        assert volume.mask_path == root / layout.mask(number)
        assert volume.modality == ("MR" if name in ("brats21", "amos22-mr", "acdc") else "CT")


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_labels_become_the_targets_in_their_order(roots: dict[str, Path], name: str) -> None:
    table, layout = dataset_table(name), LAYOUTS[name]
    assert sorted(table.labels.values()) == sorted(layout.values)
    number = layout.numbers[0]
    chosen = tuple(table.labels)[::-1]  # another order than the values'
    dataset = DatasetConfig(name=name, root=roots[name], channel=channel_of(table), targets=chosen)
    found = find_cases(dataset, ALL)
    (volume,) = (v for v in found.training if v.name == layout.name(number))
    loaded = LoadedVolume(volume, found.targets)
    written = labels_of(layout.values, number)
    for place, target in enumerate(chosen, start=1):
        assert np.array_equal(loaded.labels == place, written == table.labels[target])
        voxel = loaded.voxels(place)[0]
        assert written[tuple(voxel[::-1])] == table.labels[target]
    assert loaded.present == list(range(1, len(chosen) + 1))


def test_a_union_joins_its_labels_and_excludes_its_parts(roots: dict[str, Path]) -> None:
    dataset = DatasetConfig(name="brats21", root=roots["brats21"], channel="t2", targets=("tumour core",))
    found = find_cases(dataset, ALL)
    assert found.targets == {"tumour core": (1, 4)}
    written = labels_of((1, 2, 4), 0)
    assert np.array_equal(
        LoadedVolume(found.training[0], found.targets).labels == 1, np.isin(written, (1, 4))
    )
    with pytest.raises(TrainingError, match="overlap"):
        dataset_table("brats21").values(("tumour core", "oedema", "whole tumour"))
    with pytest.raises(TrainingError, match=r"no target 'tumor'.*whole tumour"):
        dataset_table("brats21").values(("tumor",))


@pytest.mark.parametrize("name", sorted(LAYOUTS))
@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_missing_file_is_named(tmp_path: Path, name: str, kind: str) -> None:
    write_miniature(name, tmp_path)
    layout, table = LAYOUTS[name], dataset_table(name)
    number = layout.numbers[1]
    images = [path for path in layout.images(number) if not table.channels or "t1." in path]
    path = tmp_path / (images[0] if kind == "image" else layout.mask(number))
    path.unlink()
    with pytest.raises(TrainingError, match=f"{path.name}.* is missing") as caught:
        find_volumes(table, tmp_path, "t1" if table.channels else None)
    assert table.title in str(caught.value)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_an_empty_folder_is_said_to_be_none(tmp_path: Path, name: str) -> None:
    table = dataset_table(name)
    with pytest.raises(TrainingError, match=r"dataset\.json is missing|holds no file"):
        find_volumes(table, tmp_path, channel_of(table))
    with pytest.raises(TrainingError, match="There is no folder"):
        find_volumes(table, tmp_path / "nowhere", channel_of(table))


def test_a_listed_case_must_be_there_as_a_whole(tmp_path: Path) -> None:
    write_miniature("msd-colon", tmp_path)
    layout = LAYOUTS["msd-colon"]
    for path in (*layout.images(5), layout.mask(5)):
        (tmp_path / path).unlink()
    with pytest.raises(TrainingError, match=r"colon_005\.nii\.gz is missing"):
        find_volumes(dataset_table("msd-colon"), tmp_path)


def test_another_data_set_in_the_folder_is_noticed_by_its_labels(tmp_path: Path) -> None:
    write_miniature("msd-pancreas", tmp_path)
    index = json.loads((tmp_path / "dataset.json").read_text())
    index["labels"]["3"] = "cyst"
    (tmp_path / "dataset.json").write_text(json.dumps(index))
    with pytest.raises(TrainingError, match=r"labels \[1, 2, 3\], MSD Pancreas has \[1, 2\]"):
        find_volumes(dataset_table("msd-pancreas"), tmp_path)
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(TrainingError, match="no list of cases"):
        find_volumes(dataset_table("msd-pancreas"), tmp_path)


def test_cases_whose_labels_were_never_handed_out_are_left_alone(tmp_path: Path) -> None:
    write_miniature("kits19", tmp_path)
    for number in (210, 299):
        write_volume(tmp_path / f"case_{number:05d}" / "imaging.nii.gz", np.zeros((4, 4, 4), np.int16), AXIAL)
    names = [volume.name for volume in find_volumes(dataset_table("kits19"), tmp_path)["training"]]
    assert names == ["case_00000", "case_00001", "case_00002"]


def test_the_scans_of_amos_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    for name in ("amos22-ct", "amos22-mr"):
        write_miniature(name, tmp_path)
    lists = [LAYOUTS[name].index(LAYOUTS[name]) for name in ("amos22-ct", "amos22-mr")]  # type: ignore[misc]
    joined = lists[0] | {key: lists[0][key] + lists[1][key] for key in ("training", "validation")}
    (tmp_path / "dataset.json").write_text(json.dumps(joined))
    for name, first in (("amos22-ct", "amos_0001"), ("amos22-mr", "amos_0507")):
        found = find_volumes(dataset_table(name), tmp_path)
        assert found["training"][0].name == first and len(found["training"]) == 2
        assert len(found["validation"]) == 1


def test_the_film_of_a_heart_is_no_frame(tmp_path: Path) -> None:
    write_miniature("acdc", tmp_path)
    write_volume(
        tmp_path / "training" / "patient001" / "patient001_4d.nii.gz", np.zeros((4, 4, 4), np.int16), AXIAL
    )
    assert len(find_volumes(dataset_table("acdc"), tmp_path)["training"]) == 6


def test_a_channel_must_be_one_of_the_data_set(roots: dict[str, Path]) -> None:
    for name, channel in (("brats21", None), ("brats21", "pet"), ("kits19", "flair")):
        with pytest.raises(TrainingError, match=f"no channel '{channel}'"):
            find_volumes(dataset_table(name), roots[name], channel)


def test_labels_of_another_header_go_with_their_voxels_and_of_another_size_are_refused(
    tmp_path: Path,
) -> None:
    write_miniature("lits", tmp_path)
    mask = sitk.ReadImage(str(tmp_path / "segmentation-8.nii"))
    mask.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(mask, str(tmp_path / "segmentation-8.nii"))
    write_volume(tmp_path / "segmentation-95.nii", np.zeros((4, 4, 4), np.uint8), AXIAL)
    moved, other, _ = find_volumes(dataset_table("lits"), tmp_path)["training"]
    loaded = LoadedVolume(moved, {"tumour": (2,)})
    assert loaded.label_image.GetOrigin() == loaded.image.GetOrigin()
    with pytest.raises(TrainingError, match=r"segmentation-95\.nii has \(4, 4, 4\) voxels"):
        LoadedVolume(other, {"tumour": (2,)})
    (tmp_path / "volume-97.nii").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"volume-97\.nii is no image"):
        LoadedVolume(Volume("a", "a", "CT", tmp_path / "volume-97.nii", tmp_path), {})


# Splits


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 3), st.floats(0, 1), st.integers(0, 5))
def test_a_seeded_split_keeps_the_share_of_patients_aside(
    patients: int, frames: int, share: float, seed: int
) -> None:
    volumes = [
        Volume(f"{p} {f}", str(p), "MR", Path("i"), Path("m")) for p in range(patients) for f in range(frames)
    ]
    split = SeededSplit(test=share, seed=seed)
    training, test = cases_module._seeded(volumes, split)
    assert sorted(v.name for v in training + test) == sorted(v.name for v in volumes)
    kept_aside = {v.patient for v in test}
    assert len(kept_aside) == round(share * patients) and not kept_aside & {v.patient for v in training}
    assert cases_module._seeded(volumes[::-1], split)[1] == test[::-1]


def test_both_frames_of_a_heart_stay_together(roots: dict[str, Path]) -> None:
    found = find_cases(DatasetConfig(name="acdc", root=roots["acdc"]), SeededSplit(test=0.34))
    assert len(found.test) == 2 and len({volume.patient for volume in found.test}) == 1


def test_official_and_listed_splits_are_taken_as_they_are(roots: dict[str, Path], tmp_path: Path) -> None:
    amos = DatasetConfig(name="amos22-ct", root=roots["amos22-ct"])
    found = find_cases(amos, OfficialSplit(training="training", test="validation"))
    assert [volume.name for volume in found.test] == ["amos_0013"]
    with pytest.raises(TrainingError, match="no subset 'testing'"):
        find_cases(amos, OfficialSplit(training="training", test="testing"))
    lists = tmp_path / "lists.yaml"
    lists.write_text(yaml.safe_dump({"training": ["volume-95"], "test": ["volume-97", "volume-8"]}))
    lits = DatasetConfig(name="lits", root=roots["lits"])
    found = find_cases(lits, ListedSplit(lists=lists))
    assert [volume.name for volume in found.training] == ["volume-95"]
    assert [volume.name for volume in found.test] == ["volume-97", "volume-8"]
    lists.write_text(yaml.safe_dump({"training": ["volume-1"], "test": []}))
    with pytest.raises(TrainingError, match=r"lacks the case volume-1 that lists\.yaml lists"):
        find_cases(lits, ListedSplit(lists=lists))
    lists.write_text("training: [1]\n")
    with pytest.raises(TrainingError, match="needs the list 'training'"):
        find_cases(lits, ListedSplit(lists=lists))


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("3dsam-adapter/splits/kits21.yaml", (209, 61)),
        ("3dsam-adapter/splits/lits.yaml", (83, 24)),
        ("3dsam-adapter/splits/msd-pancreas.yaml", (196, 57)),
        ("3dsam-adapter/splits/msd-colon.yaml", (89, 26)),
        ("masksam/splits/synapse.yaml", (18, 12)),
    ],
)
def test_published_lists_are_whole_and_share_no_case(path: str, counts: tuple[int, int]) -> None:
    lists = yaml.safe_load((Path(__file__).parents[1] / "configs" / "experiments" / path).read_text())
    training, test = set(lists["training"]), set(lists["test"])
    assert (len(training), len(test)) == counts and not training & test


def test_a_folder_of_our_own_cases_is_a_data_set_too(tmp_path: Path) -> None:
    rows = ["case\tsource\tpatient\tmodality\timage\tmask", "one\ta\tp\tCT\ti\tm", "two\tb\tq\tMR\ti\tm"]
    (tmp_path / "cases.tsv").write_text("\n".join(rows) + "\n")
    found = find_cases(DatasetConfig(name="cases", root=tmp_path, collection="b"), ALL)
    assert [volume.name for volume in found.training] == ["two"] and found.targets == {"lesion": (1,)}
    with pytest.raises(TrainingError, match="no case of 'c'"):
        find_cases(DatasetConfig(name="cases", root=tmp_path, collection="c"), ALL)
    with pytest.raises(TrainingError, match=r"no data set 'kits'.*kits19"):
        find_cases(DatasetConfig(name="kits", root=tmp_path), ALL)
