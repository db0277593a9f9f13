"""A sheet of pictures of everything that training samples are made of; look at it before training.

    msam samples configs/default.yaml samples.png

Each generator has a row. The samples of :class:`PatchSamples` are shown as the network sees them, varied
in contrast, noise, sharpness and slice thickness; the generators of :mod:`MSAMLogic.training.shapes` and
:mod:`MSAMLogic.training.synthetic` on scans that are left as they are, so that one sees what each adds. The
last rows are what clicks are recorded on: whole scans as :func:`varied_scan` makes them, those in which
:func:`implanted_scan` puts a lesion, and masks as :func:`wrong_mask` makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.errors import TrainingError
from MSAMLogic.files import atomic_path
from MSAMLogic.geometry import ImageGrid, PatchGrid, extract_patch
from MSAMLogic.largest_error import deepest_voxel
from MSAMLogic.loading import load_network
from MSAMLogic.model import CONFIGURATIONS
from MSAMLogic.training.cases import Case
from MSAMLogic.training.clicks import Mask, simulate_click
from MSAMLogic.training.implanting import implanted_scan
from MSAMLogic.training.lesions import Lesion
from MSAMLogic.training.loaded_case import LoadedCase
from MSAMLogic.training.redrawing import redrawn
from MSAMLogic.training.samples import PatchSamples, SampleMix
from MSAMLogic.training.scan_variation import varied_scan
from MSAMLogic.training.shapes import grown_shape, leaning_shape, lobulated_shape, spiculated_shape
from MSAMLogic.training.synthetic import coherent_region, insert_lesion, merged_region
from MSAMLogic.training.trainer import TrainingConfig
from MSAMLogic.training.wrong_masks import wrong_mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Shape = Callable[[int, NDArray[np.floating], float, np.random.Generator], Mask]
Region = Callable[[NDArray[np.float32], NDArray[np.integer], np.random.Generator], Mask | None]

_BACKGROUND = "#101114"
_TEXT = "#e8e8e8"
_TARGET = "#5ec8ff"
_ANSWER = "#ffb000"
_LESION_CLICK = "#35e05a"
_BACKGROUND_CLICK = "#ff3b3b"
_INCHES_A_PICTURE = 1.7
_INCHES_A_TITLE = 0.3
_TRIES = 40
_CUBIC = (1.0, 1.0, 1.0)  # the voxels of a patch


@dataclass(frozen=True, eq=False)
class Picture:
    """One slice of a patch.

    Attributes:
        patch: (n, n, n), axes those of the patch.
        target: (n, n, n), what is to be segmented; None where there is none.
        answer: (n, n, n), a mask that clicks correct, or another reader's; None where there is none.
        clicks: voxel (dim 0, dim 1, dim 2) and label (1 lesion, 0 background).
    """

    patch: NDArray[np.float32]
    target: Mask | None = None
    answer: Mask | None = None
    clicks: tuple[tuple[NDArray[np.intp], int], ...] = ()


def write_gallery(
    cases: Sequence[Case],
    path: Path,
    patch_size: int,
    spacings: tuple[float, float],
    seed: int = 0,
    columns: int = 8,
) -> None:
    """Write a PNG with a row of examples for each generator.

    Args:
        cases: cases with masks; a few of each source are read.
        path: the PNG; its folder is made if need be.
        patch_size: voxels a side of the patches.
        spacings: smallest and largest patch spacing in millimetres.
        seed: of everything that is drawn.
        columns: examples in a row.

    Raises:
        TrainingError: when no case can be read or has a lesion.
        OSError: when the file cannot be written.
    """
    loaded = [LoadedCase(case) for case in _a_few_of_each_source(cases, seed)]
    rows: list[tuple[str, list[Picture]]] = []
    for kind in (field.name for field in fields(SampleMix)):
        rows.append((f"PatchSamples, {kind}", _samples(loaded, kind, patch_size, spacings, seed, columns)))
    rng = np.random.default_rng(seed)
    patches = list(_patches(loaded, patch_size, rng, columns))
    shapes: list[tuple[str, Shape, bool]] = [
        ("grown_shape", grown_shape, False),
        ("lobulated_shape", lobulated_shape, False),
        ("spiculated_shape", spiculated_shape, False),
        ("leaning_shape", grown_shape, True),
    ]
    for name, shape, leans in shapes:
        pictures = [_inserted(patch, shape, leans, rng) for patch, _ in patches]
        rows.append((f"{name}, blended in by insert_lesion", pictures))
    finders: list[tuple[str, Region]] = [
        ("coherent_region", coherent_region),
        ("merged_region", merged_region),
    ]
    for name, find in finders:
        rows.append((name, [_region(patch, find, rng) for patch, _ in patches]))
    title = "redrawn: a reader's lesion (blue), as another would draw it (orange)"
    rows.append((title, [Picture(patch, target, redrawn(target, rng)) for patch, target in patches]))
    title = "simulate_click: lesion (blue), poor answer (orange), clicks for it (green) and against it (red)"
    rows.append((title, [_clicked(patch, target, rng) for patch, target in patches]))
    rows.append(
        (
            "varied_scan: the scan stretched, turned, in another scanner",
            _varied(loaded, patch_size, rng, columns),
        )
    )
    title = "implanted_scan: a lesion of any size in a whole scan, some without skull"
    rows.append((title, _implanted(loaded, patch_size, spacings, rng, columns)))
    title = "wrong_mask: a first mask (orange) far from the lesion (blue), for clicks to put right"
    wrong = [Picture(patch, target, wrong_mask(target, _CUBIC, rng)) for patch, target in patches]
    rows.append((title, wrong))
    figure = _drawn(rows, columns)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=100, facecolor=_BACKGROUND)


def patch_size_of(config: TrainingConfig) -> int:
    """Return the voxels a side of the patches that a training run makes.

    Raises:
        WeightsError: when the weights that the run starts from cannot be used.
    """
    if config.architecture is None and config.start is not None:
        return load_network(config.start).capabilities.patch_size
    return CONFIGURATIONS[config.architecture or "msam-compact"].patch_size


def _a_few_of_each_source(cases: Sequence[Case], seed: int, most: int = 4) -> list[Case]:
    rng = np.random.default_rng(seed)
    chosen: list[Case] = []
    for source in dict.fromkeys(case.source for case in cases):
        members = [case for case in cases if case.source == source]
        for number in sorted(rng.permutation(len(members))[:most]):
            chosen.append(members[number])
    return chosen


def _samples(
    loaded: list[LoadedCase],
    kind: str,
    patch_size: int,
    spacings: tuple[float, float],
    seed: int,
    count: int,
) -> list[Picture]:
    """Return samples of one kind alone, as the network sees them."""
    mix = SampleMix(**{field.name: float(field.name == kind) for field in fields(SampleMix)})
    samples = PatchSamples(loaded, {}, patch_size, spacings, seed, length=count, mix=mix)
    drawn = [samples[index] for index in range(count)]
    return [Picture(one["patch"][0].numpy(), one["target"][0].numpy()) for one in drawn]


def _lesions(
    loaded: list[LoadedCase], patch_size: int, rng: np.random.Generator, count: int
) -> Iterator[tuple[LoadedCase, Lesion, float]]:
    """Yield lesions, sources in turn, and the spacing of a patch of which each fills half the width."""
    sources: dict[str, list[LoadedCase]] = {}
    for case in loaded:
        if case.lesions:
            sources.setdefault(case.case.source, []).append(case)
    if not sources:
        raise TrainingError("No case has a lesion that is large enough to train on; check the masks.")
    for number in range(count):
        cases = list(sources.values())[number % len(sources)]
        case = cases[rng.integers(len(cases))]
        lesion = case.lesions[rng.integers(len(case.lesions))]
        yield case, lesion, max(lesion.extent / (0.5 * patch_size), 0.3)


def _patches(
    loaded: list[LoadedCase], patch_size: int, rng: np.random.Generator, count: int
) -> Iterator[tuple[NDArray[np.float32], Mask]]:
    """Yield patches in scanner values, each with a lesion of half its width, sources in turn."""
    for case, lesion, spacing in _lesions(loaded, patch_size, rng, count):
        grid = PatchGrid(lesion.centre, spacing, patch_size)
        # Where the image ends its lowest value goes on; 0 would be bright beside air.
        lowest = float(case.patch(grid, np.inf).min())
        yield case.patch(grid, lowest), case.target(lesion, grid)


def _varied(loaded: list[LoadedCase], patch_size: int, rng: np.random.Generator, count: int) -> list[Picture]:
    """Return lesions of varied scans in patches of the spacing that suits the lesion as it is."""
    pictures = []
    for case, lesion, spacing in _lesions(loaded, patch_size, rng, count):
        truth = sitk.GetArrayFromImage(case.components) == lesion.label
        image, truth = varied_scan(case.image, case.case.modality, truth, rng)
        pictures.append(_seen(image, truth, spacing, patch_size))
    return pictures


def _implanted(
    loaded: list[LoadedCase],
    patch_size: int,
    spacings: tuple[float, float],
    rng: np.random.Generator,
    count: int,
) -> list[Picture]:
    """Return whole scans with a lesion implanted, as far as a patch reaches round it."""
    samples = PatchSamples(loaded, {}, patch_size, spacings, 0, count)
    pictures: list[Picture] = []
    for _ in range(_TRIES * count):
        found = implanted_scan(samples, rng) if len(pictures) < count else None
        if found is not None:
            image, _, truth = found
            extent = max(n * s for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True))
            pictures.append(_seen(image, truth, 0.8 * extent / patch_size, patch_size))
    return pictures


def _seen(image: sitk.Image, truth: Mask, spacing: float, patch_size: int) -> Picture:
    """Return a patch of a scan round the deepest voxel of its lesion (k, j, i)."""
    deepest = deepest_voxel(truth, image.GetSpacing()[::-1])
    grid = PatchGrid(ImageGrid.of(image).point(deepest[::-1].astype(float)), spacing, patch_size)
    mask = sitk.GetImageFromArray(truth.astype(np.uint8))
    mask.CopyInformation(image)
    lowest = float(extract_patch(image, grid, np.inf).min())
    return Picture(extract_patch(image, grid, lowest), extract_patch(mask, grid, nearest=True) > 0.5)


def _inserted(patch: NDArray[np.float32], shape: Shape, leans: bool, rng: np.random.Generator) -> Picture:
    n = patch.shape[0]
    drawn = shape(n, n * rng.uniform(0.35, 0.65, 3), rng.uniform(0.08, 0.25) * n, rng)
    if leans:
        drawn = leaning_shape(drawn, patch, rng)
    return Picture(insert_lesion(patch, drawn, rng), drawn)


def _region(patch: NDArray[np.float32], find: Region, rng: np.random.Generator) -> Picture:
    """Return a region; most seeds have none, so several are tried, as training does."""
    n = patch.shape[0]
    for _ in range(_TRIES):
        region = find(patch, rng.integers(n // 4, 3 * n // 4, 3), rng)
        if region is not None:
            return Picture(patch, region)
    return Picture(patch)


def _clicked(patch: NDArray[np.float32], target: Mask, rng: np.random.Generator) -> Picture:
    """Return the first click in a lesion, and four further ones for an answer that lies beside it."""
    shift = max(1, patch.shape[0] // 12)
    answer = ndimage.shift(target.astype(np.uint8), rng.choice([-shift, shift], 3), order=0) > 0
    made = [simulate_click(target, None, rng), *(simulate_click(target, answer, rng) for _ in range(4))]
    return Picture(patch, target, answer, tuple(click for click in made if click is not None))


def _drawn(rows: Sequence[tuple[str, Sequence[Picture]]], columns: int) -> Figure:
    # The figure gets its Agg canvas by hand: no display is needed, and pyplot's backend stays as it is.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    row_height = _INCHES_A_PICTURE + _INCHES_A_TITLE
    width, height = columns * (_INCHES_A_PICTURE + 0.05) + 0.2, len(rows) * row_height + 0.1
    figure = Figure(figsize=(width, height), facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    for number, (title, pictures) in enumerate(rows):
        top = height - number * row_height
        figure.text(0.1 / width, (top - 0.09) / height, title, color=_TEXT, fontsize=11, va="top")
        for column, picture in enumerate(pictures):
            left = 0.1 + column * (_INCHES_A_PICTURE + 0.05)
            low = top - row_height
            axes = figure.add_axes(
                (left / width, low / height, _INCHES_A_PICTURE / width, _INCHES_A_PICTURE / height)
            )
            _draw(axes, picture)
    return figure


def _draw(axes: Axes, picture: Picture) -> None:
    """Draw the slice through the target's deepest voxel, dim 0 to the left and dim 1 upwards."""
    n = picture.patch.shape[0]
    level = n // 2
    if picture.target is not None and picture.target.any():
        level = int(deepest_voxel(picture.target, _CUBIC)[2])
    shown = picture.patch[:, :, level].T
    low, high = np.percentile(shown, (0.5, 99.5))
    axes.imshow(shown, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower")
    for mask, colour, style in ((picture.answer, _ANSWER, "-"), (picture.target, _TARGET, "-")):
        if mask is not None and mask[:, :, level].any():
            section = mask[:, :, level].T.astype(float)
            axes.contour(section, levels=[0.5], colors=[colour], linewidths=1.0, linestyles=style)
    for voxel, label in picture.clicks:
        # Every click is drawn, those of other slices smaller: one sees where they gather.
        axes.plot(
            voxel[0],
            voxel[1],
            marker="o" if label else "X",
            color=_LESION_CLICK if label else _BACKGROUND_CLICK,
            markeredgecolor="black",
            markersize=8 if abs(int(voxel[2]) - level) <= 2 else 5,
            markeredgewidth=0.6,
        )
    axes.set_xlim(n - 0.5, -0.5)  # patches run to the patient's right, which is shown on the left
    axes.set_ylim(-0.5, n - 0.5)
    axes.set_axis_off()
