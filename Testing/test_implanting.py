"""Lesions blended into whole scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from images import oblique
from scipy import ndimage

from MSAMLogic.geometry import PatchGrid
from MSAMLogic.training import implanting
from MSAMLogic.training.cases import read_cases
from MSAMLogic.training.implanting import implanted_scan, without_skull
from MSAMLogic.training.loaded_case import LoadedCase
from MSAMLogic.training.recorded_scans import ScanShares, any_scan
from MSAMLogic.training.samples import PatchSamples

SPACING = (1.5, 1.5, 2.5)
RADIUS = 50.0
HEADER = "case\tsource\tpatient\tmodality\timage\tmask\n"


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def head() -> tuple[sitk.Image, np.ndarray]:
    """Return a ball of noisy tissue in the air, and the millimetres (k, j, i) from its middle."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in (50, 80, 80)), indexing="ij")
    distance = np.sqrt((1.5 * (i - 39.5)) ** 2 + (1.5 * (j - 39.5)) ** 2 + (2.5 * (k - 24.5)) ** 2)
    values = np.where(distance < RADIUS, rng_of(1).normal(300, 12, distance.shape), 5)
    image = sitk.GetImageFromArray(values.round().astype(np.int16))
    image.SetSpacing(SPACING)
    image.SetDirection(oblique(15))
    return image, distance


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> PatchSamples:
    """Samples of the same head as an MR and as a CT."""
    made = tmp_path_factory.mktemp("heads")
    image, distance = head()
    mask = sitk.GetImageFromArray((distance < 6).astype(np.uint8))
    mask.CopyInformation(image)
    rows = []
    for modality, moved in (("MR", image), ("CT", 4 * image - 1200)):
        for kind, volume in (("image", moved), ("mask", mask)):
            sitk.WriteImage(volume, str(made / f"{modality}_{kind}.nii.gz"))
        cells = (
            modality,
            modality,
            modality,
            modality,
            f"{modality}_image.nii.gz",
            f"{modality}_mask.nii.gz",
        )
        rows.append("\t".join(cells) + "\n")
    Path(made / "cases.tsv").write_text(HEADER + "".join(rows))
    return PatchSamples([LoadedCase(case) for case in read_cases(made)], {}, 48, (0.8, 3.0), 0, 100)


def test_a_lesion_is_added_and_the_scan_stays_as_it_is_elsewhere(heads: PatchSamples) -> None:
    changed = outlying = 0
    for seed in range(24):
        found = implanted_scan(heads, rng_of(seed))
        assert found is not None
        scan, modality, truth = found
        case = heads.by_source[modality][0]
        before = sitk.GetArrayFromImage(case.image).astype(np.float32)
        values = sitk.GetArrayFromImage(scan)
        assert values.shape == truth.shape == before.shape and np.isfinite(values).all()
        assert scan.GetSpacing() == case.image.GetSpacing()
        assert scan.GetDirection() == pytest.approx(case.image.GetDirection())
        assert ndimage.label(truth, np.ones((3, 3, 3)))[1] == 1 and truth.sum() >= 30
        deep = ndimage.binary_erosion(truth, iterations=2)
        # A lesion that fades is gone so far beyond its edge as it is deep; and a patch has cells.
        depth = ndimage.distance_transform_edt(np.pad(truth, 1), sampling=SPACING[::-1]).max()
        far = ndimage.distance_transform_edt(~truth, sampling=SPACING[::-1]) > 1.2 * depth + 13
        kept = values[far]
        outlying += far.any()
        # What is not lesion is as it was, or has been taken away with the skull: one value.
        removed = kept != before[far]
        assert not removed.any() or np.unique(kept[removed]).size == 1
        changed += bool(deep.any()) and float(np.abs(values - before)[deep].mean()) > 12
    assert outlying > 20
    assert changed > 12  # most of them can be seen; some are too thin to have a middle


def test_lesions_are_large_and_small_and_lie_in_tissue(heads: PatchSamples) -> None:
    sizes = []
    _, distance = head()
    for seed in range(60):
        found = implanted_scan(heads, rng_of(seed))
        assert found is not None
        _, _, truth = found
        sizes.append(float((truth.sum() * np.prod(SPACING) * 6 / np.pi) ** (1 / 3)))
        assert (distance[truth] < RADIUS + 3).mean() > 0.95
    assert min(sizes) < 12 and max(sizes) > 50  # millimetres


def test_in_a_ct_a_lesion_differs_as_soft_tissue_does_not_as_bone_and_air(heads: PatchSamples) -> None:
    case = heads.by_source["CT"][0]
    image = sitk.GetArrayFromImage(case.image).astype(np.float32)
    _, distance = head()
    image[(distance < 46) & (distance > 38)] = 1500  # a skull
    scan = sitk.GetImageFromArray(image)
    scan.CopyInformation(case.image)
    middle = case.grid.point(np.array([40.0, 40.0, 25.0]))
    for seed in range(12):
        patch = PatchGrid(middle, 2.0, 48)
        values, tissue = implanting._windowed(scan, case, patch, rng_of(seed))
        assert -250 <= values.min() <= -80 and 120 <= values.max() <= 400
        assert tissue[24, 24, 24] and not tissue[0, 0, 0]  # air in the corner


def test_chance_comes_from_the_seed(heads: PatchSamples) -> None:
    one, again, other = (implanted_scan(heads, rng_of(seed)) for seed in (3, 3, 4))
    assert one is not None and again is not None and other is not None
    assert sitk.GetArrayFromImage(one[0]).tobytes() == sitk.GetArrayFromImage(again[0]).tobytes()
    assert (one[2] == again[2]).all()
    assert sitk.GetArrayFromImage(one[0]).tobytes() != sitk.GetArrayFromImage(other[0]).tobytes()


def test_a_scan_without_tissue_gets_no_lesion(heads: PatchSamples, monkeypatch: pytest.MonkeyPatch) -> None:
    for case in (heads.by_source["CT"][0], heads.by_source["MR"][0]):
        monkeypatch.setitem(case.__dict__, "body", np.zeros((0, 3), np.intp))
    monkeypatch.setattr(implanting, "_BARE", 0.0)
    assert implanted_scan(heads, rng_of(0)) is None
    image, _, _ = any_scan(heads, 0, ScanShares(0.0, 1.0), rng_of(0))
    assert image.GetSize() != (80, 80, 50)  # a made-up scan stands in


@pytest.mark.parametrize("depth", [8.0, 20.0])
def test_without_its_skull_a_head_keeps_what_lies_deep(depth: float) -> None:
    image, distance = head()
    body = np.argwhere(distance < RADIUS)[::7, ::-1]
    for seed in range(6):
        bare, left = without_skull(sitk.Cast(image, sitk.sitkFloat32), body, 100.0, depth, rng_of(seed))
        values, before = sitk.GetArrayFromImage(bare), sitk.GetArrayFromImage(image)
        deep, shallow = distance < RADIUS - depth - 4, distance > RADIUS - depth + 4
        assert (values[deep] == before[deep]).all()
        around = np.unique(values[shallow])
        assert around.size == 1 and around[0] <= 100  # air, or darker than the tissue
        assert bare.GetDirection() == image.GetDirection()
        inside = distance[tuple(left.T[::-1])]
        assert 0 < len(left) < len(body) and inside.max() < RADIUS - depth + 4


def test_a_head_that_would_be_gone_stays_as_it_is() -> None:
    image, distance = head()
    body = np.argwhere(distance < RADIUS)[::7, ::-1]
    bare, left = without_skull(sitk.Cast(image, sitk.sitkFloat32), body, 100.0, 80.0, rng_of(0))
    assert (sitk.GetArrayFromImage(bare) == sitk.GetArrayFromImage(image)).all() and left is body


def test_kinds_of_scans_come_as_often_as_is_asked(heads: PatchSamples) -> None:
    def kinds(shares: ScanShares) -> dict[str, int]:
        count = {"drawn": 0, "implanted": 0, "made up": 0}
        for seed in range(24):
            image, _, truth = any_scan(heads, seed, shares, rng_of(seed))
            whole = image.GetSize() == (80, 80, 50)
            drawn = whole and truth.sum() == (head()[1] < 6).sum()
            count["drawn" if drawn else "implanted" if whole else "made up"] += 1
        return count

    assert kinds(ScanShares(1.0)) == {"drawn": 24, "implanted": 0, "made up": 0}
    assert kinds(ScanShares(0.0, 1.0)) == {"drawn": 0, "implanted": 24, "made up": 0}
    assert kinds(ScanShares(0.0)) == {"drawn": 0, "implanted": 0, "made up": 24}
    mixed = kinds(ScanShares(0.3, 0.4))
    assert min(mixed.values()) >= 3


def test_implanted_scans_are_seen_otherwise_where_that_is_asked(heads: PatchSamples) -> None:
    plain, varied = (
        [any_scan(heads, seed, ScanShares(0.0, 1.0, share), rng_of(seed))[0] for seed in range(8)]
        for share in (0.0, 1.0)
    )
    assert all(image.GetSpacing() == pytest.approx(SPACING) for image in plain)
    assert len({round(image.GetSpacing()[0], 3) for image in varied}) > 3
