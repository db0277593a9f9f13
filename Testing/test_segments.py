"""Several and overlapping segments, coded names, and masks that have to fit the scan's voxels."""

from __future__ import annotations

from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from images import AXIAL, LEFT_HANDED, oblique
from readers import assert_same_voxels, by_slicer, points_of

from MSAMLogic.errors import ImageError
from MSAMLogic.export import Code, Segment, read_segments_nrrd, write_segments_nrrd
from MSAMLogic.export.masks import write_labels
from MSAMLogic.export.segments import place
from MSAMLogic.export.terminology import ABNORMAL, LESION, REGIONS, TYPES, find_code
from MSAMLogic.geometry import ImageGrid, Region

SIZE = (9, 8, 7)


def on_grid(array: np.ndarray, direction: tuple[float, ...] = AXIAL) -> sitk.Image:
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing((0.7, 1.3, 3.25))
    image.SetOrigin((-101.5, 60.25, 1200.125))
    image.SetDirection(direction)
    return image


def box(start: tuple[int, int, int], stop: tuple[int, int, int]) -> np.ndarray:
    array = np.zeros(SIZE[::-1], np.uint8)
    array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))[::-1]] = 1
    return array


def overlapping(direction: tuple[float, ...] = AXIAL) -> list[Segment]:
    """Return three segments, of which the second overlaps the first."""
    return [
        Segment(on_grid(box((1, 1, 1), (5, 5, 5)), direction), "Primary", (1.0, 0.25, 0.0)),
        Segment(
            on_grid(box((3, 3, 3), (8, 7, 6)), direction),
            "Läsion 病変",
            (0.0, 0.5, 1.0),
            type=TYPES["necrosis"],
            region=REGIONS["lung"],
        ),
        Segment(on_grid(box((6, 0, 0), (9, 2, 2)), direction), "Far"),
    ]


# .seg.nrrd with layers


@pytest.mark.parametrize("direction", [AXIAL, LEFT_HANDED, oblique(33)], ids=["axial", "left", "oblique"])
def test_slicer_reads_overlapping_segments_with_names_colours_and_terminology(
    tmp_path: Path, direction: tuple[float, ...]
) -> None:
    segments = overlapping(direction)
    path = tmp_path / "out.seg.nrrd"
    write_segments_nrrd(path, segments)
    read = by_slicer([path], tmp_path)[str(path)]
    for answer, segment in zip(read, segments, strict=True):
        assert answer["name"] == segment.name
        assert answer["colour"] == pytest.approx(segment.colour, abs=1e-5)
        _, category, kind, _, _, region, _ = answer["terminology"].split("~")
        assert category == str(ABNORMAL) and kind == str(segment.type)
        assert region == (str(segment.region) if segment.region else "^^")
        assert_same_voxels(np.array(answer["points"]), points_of(segment.mask))
    # What does not overlap shares a layer, which is faster to edit.
    assert [answer["layer"] for answer in read] == [0, 1, 0]


def test_overlapping_segments_come_back(tmp_path: Path) -> None:
    segments = overlapping()
    write_segments_nrrd(tmp_path / "out.seg.nrrd", segments)
    read = read_segments_nrrd(tmp_path / "out.seg.nrrd")
    for found, segment in zip(read, segments, strict=True):
        assert np.array_equal(sitk.GetArrayFromImage(found.mask), sitk.GetArrayFromImage(segment.mask))
        assert ImageGrid.of(found.mask).matches(ImageGrid.of(segment.mask))
        assert (found.name, found.type, found.region) == (segment.name, segment.type, segment.region)
        assert found.colour == pytest.approx(segment.colour, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**16))
def test_any_segments_come_back(tmp_path_factory: pytest.TempPathFactory, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    masks = [on_grid(random.random(SIZE[::-1]) < 0.2) for _ in range(count)]
    path = tmp_path_factory.mktemp("any") / "out.seg.nrrd"
    write_segments_nrrd(path, [Segment(mask) for mask in masks])
    for found, mask in zip(read_segments_nrrd(path), masks, strict=True):
        assert np.array_equal(sitk.GetArrayFromImage(found.mask), sitk.GetArrayFromImage(mask))


def test_the_extent_of_every_segment_is_that_of_the_scan(tmp_path: Path) -> None:
    write_segments_nrrd(tmp_path / "out.seg.nrrd", overlapping())
    header = nrrd.read_header(str(tmp_path / "out.seg.nrrd"))
    assert {header[f"Segment{n}_Extent"] for n in range(3)} == {"0 8 0 7 0 6"}
    assert header["kinds"] == ["list", "domain", "domain", "domain"]
    assert np.isnan(header["space directions"][0]).all()


def test_a_part_of_the_scan_is_written_on_the_whole_grid(tmp_path: Path) -> None:
    whole = on_grid(box((3, 2, 1), (7, 6, 4)))
    write_segments_nrrd(tmp_path / "out.seg.nrrd", [Segment(whole[2:8, 1:7, 1:5])], ImageGrid.of(whole))
    back = sitk.ReadImage(str(tmp_path / "out.seg.nrrd"))
    assert back.GetSize() == SIZE
    assert np.array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(whole))


@pytest.mark.parametrize("content", [b"", b"NRRD0004\n", b"letter"])
def test_what_is_no_segmentation_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "out.seg.nrrd").write_bytes(content)
    with pytest.raises(ImageError, match=r"'out\.seg\.nrrd' cannot be read"):
        read_segments_nrrd(tmp_path / "out.seg.nrrd")
    sitk.WriteImage(on_grid(box((1, 1, 1), (2, 2, 2))), str(tmp_path / "plain.seg.nrrd"))
    with pytest.raises(ImageError, match="names no segments"):
        read_segments_nrrd(tmp_path / "plain.seg.nrrd")


@pytest.mark.parametrize("count", [0, 256])
def test_too_few_and_too_many_segments_are_refused(tmp_path: Path, count: int) -> None:
    segments = [overlapping()[0]] * count
    for write in (
        lambda: write_segments_nrrd(tmp_path / "out.seg.nrrd", segments),
        lambda: write_labels(tmp_path / "out.nrrd", segments, ImageGrid.of(overlapping()[0].mask)),
    ):
        with pytest.raises(ImageError, match="from 1 to 255"):
            write()
    assert list(tmp_path.iterdir()) == []


# Label maps


def test_a_label_map_counts_its_segments(tmp_path: Path) -> None:
    first, second, third = overlapping()
    grid = ImageGrid.of(first.mask)
    write_labels(tmp_path / "out.nrrd", [first, third], grid)
    back = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nrrd")))
    expected = sitk.GetArrayFromImage(first.mask) + 2 * sitk.GetArrayFromImage(third.mask)
    assert np.array_equal(back, expected)
    with pytest.raises(ImageError, match=r"overlap.*\.seg\.nrrd"):
        write_labels(tmp_path / "no.nrrd", [first, second], grid)
    assert not (tmp_path / "no.nrrd").exists()


# Masks on the scan's voxels


AXES = st.permutations([0, 1, 2])
FLIPS = st.tuples(st.booleans(), st.booleans(), st.booleans())


@settings(max_examples=30, deadline=None)
@given(AXES, FLIPS, st.sampled_from([AXIAL, LEFT_HANDED, oblique(33)]), st.integers(0, 2**16))
def test_a_mask_lands_on_its_voxels_however_its_axes_run(
    axes: list[int], flips: tuple[bool, bool, bool], direction: tuple[float, ...], seed: int
) -> None:
    mask = on_grid(np.random.default_rng(seed).random(SIZE[::-1]) < 0.1, direction)
    if not sitk.GetArrayViewFromImage(mask).any():
        return
    turned = sitk.PermuteAxes(sitk.Flip(mask, flips), axes)
    values, region = place(turned, ImageGrid.of(mask))
    whole = np.zeros(SIZE[::-1], np.uint8)
    whole[tuple(slice(a, b) for a, b in zip(region.start, region.stop, strict=True))[::-1]] = values
    assert np.array_equal(whole, sitk.GetArrayFromImage(mask))


def test_only_what_is_drawn_must_lie_in_the_scan() -> None:
    mask = on_grid(box((3, 2, 1), (7, 6, 4)))
    larger = sitk.ConstantPad(mask, (2, 2, 2), (1, 1, 1))
    assert place(larger, ImageGrid.of(mask))[1] == Region((3, 2, 1), (7, 6, 4))
    with pytest.raises(ImageError, match="beyond the scan"):
        place(mask, ImageGrid.of(mask[:6, :, :]))


@pytest.mark.parametrize("change", ["half a voxel", "spacing", "turned", "sheared"])
def test_a_mask_between_the_scans_voxels_is_refused(change: str) -> None:
    mask = on_grid(box((3, 2, 1), (7, 6, 4)))
    grid = ImageGrid.of(mask)
    if change == "half a voxel":
        mask.SetOrigin((-101.5 + 0.35, 60.25, 1200.125))
    elif change == "spacing":
        mask.SetSpacing((0.71, 1.3, 3.25))
    elif change == "turned":
        mask.SetDirection(oblique(2))
    else:
        mask.SetDirection((1, 0, 0, 0, 1, 0.2, 0, 0, 0.98))
    with pytest.raises(ImageError, match="does not lie on the scan's voxels"):
        place(mask, grid)


# Coded names


def test_names_and_full_codes_are_found() -> None:
    assert find_code("Lung", REGIONS) == Code("39607008", "SCT", "Lung")
    assert find_code(" lesion ", TYPES) == LESION
    assert find_code("SCT^12738006^Brain", TYPES) == REGIONS["brain"]


@pytest.mark.parametrize(
    "text",
    ["", "lnug", "SCT^1", "SCT^^Lung", "SCT^1^a~b", "SCT^1^a|b", "A^B^" + "x" * 65, "S^" + "1" * 17 + "^x"],
)
def test_what_is_no_coded_name_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(ImageError, match=r"no coded name.*Lung.*SCT\^39607008\^Lung"):
        find_code(text, REGIONS)


def test_the_codes_of_a_list_differ() -> None:
    for known in (TYPES, REGIONS):
        assert len({code.value for code in known.values()}) == len(known)
        assert all(code.scheme == "SCT" and code.value.isdecimal() for code in known.values())
        assert all(code.meaning.lower() == name for name, code in known.items())
