"""Pictures of a segmentation: axial, coronal and sagittal slices after one click, three clicks, five.

Slices are shown as 3D Slicer and radiologists show them: patient's left on the right of axial and coronal
slices, anterior up in axial and to the left in sagittal slices, superior up. Axes come from the image's
geometry, never from the order of its voxels. An oblique image keeps its own slices, each named after the
nearest anatomical plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.bounding_box import Box, bounding_box
from MSAMLogic.errors import ImageError
from MSAMLogic.evaluation.metrics import dice
from MSAMLogic.evaluation.protocol import next_click
from MSAMLogic.files import atomic_path
from MSAMLogic.geometry import ImageGrid, Point
from MSAMLogic.intensity import Modality, guess_modality
from MSAMLogic.session import Click

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SOFT_TISSUE = (-160.0, 240.0)  # Hounsfield units shown black and white: level 40, width 400
_LUNG = (-1350.0, 150.0)  # level -600, width 1500
_AERATED_HU = -500.0
_SURROUNDINGS_MM = 10.0
_SMALLEST_VIEW_MM = 90.0
_VIEW_OF_LESION = 1.9  # side of a view as a multiple of the lesion's longest side
_IN_SLICE_MM = 2.0
_INCHES_A_VIEW = 3.1

BACKGROUND = "#101114"
TEXT = "#e8e8e8"
_PREDICTION = "#ffb000"
_TRUTH = "#5ec8ff"
_LESION_CLICK = "#35e05a"
_BACKGROUND_CLICK = "#ff3b3b"


@dataclass(frozen=True)
class PictureRow:
    """One row of a picture.

    Attributes:
        title: for example ``"After 1 click"``; the Dice is added.
        mask: the prediction on the grid of the image; what is not zero is lesion.
        clicks: the clicks made so far; those near a slice are marked in it.
    """

    title: str
    mask: sitk.Image
    clicks: tuple[Click, ...] = ()


@dataclass(frozen=True)
class _Plane:
    """Which axes of an array (k, j, i) in LPS order a view shows.

    Attributes:
        name: heading of the column.
        across: axis from left to right of the picture.
        upward: axis of the picture's vertical.
        through: axis at right angles to the slice.
        flipped: whether the vertical axis grows downwards in the picture.
        letters: what lies at the left, right, bottom and top of the picture.
    """

    name: str
    across: int
    upward: int
    through: int
    flipped: bool
    letters: tuple[str, str, str, str]


_PLANES = (
    _Plane("Axial", 2, 1, 0, True, ("R", "L", "P", "A")),
    _Plane("Coronal", 2, 0, 1, False, ("R", "L", "I", "S")),
    _Plane("Sagittal", 1, 0, 2, False, ("A", "P", "I", "S")),
)


def three_views(
    image: sitk.Image,
    lesion: sitk.Image,
    rows: Sequence[PictureRow],
    path: Path,
    point: Point | None = None,
    modality: Modality | None = None,
    title: str = "",
) -> None:
    """Write a PNG with one row of three orthogonal slices for each mask.

    All views of a picture show the same number of millimetres, cropped around the lesion with context.
    The reference is a thin dashed line, the prediction a filled solid one. Clicks are marked in the
    slices that they lie in or within 2 mm of: a dot for lesion, a cross for background.

    Args:
        image: the scan, in any orientation.
        lesion: the reference on the same grid; what is not zero is lesion.
        rows: masks with their titles and clicks, from top to bottom.
        path: the PNG to write; its folder is made if need be.
        point: LPS millimetres where the three slices meet; without it the lesion's deepest point.
        modality: chooses the grey window: a lung or soft tissue window for "CT", by what surrounds the
            lesion, and percentiles for "MR"; without it the image's values tell.
        title: heading of the picture.

    Raises:
        ImageError: when the lesion is empty, there are no rows, the point lies outside the image, or a
            mask is not on the grid of the image.
        OSError: when the file cannot be written.
    """
    _check(image, lesion, rows)
    views = LesionViews(image, lesion, point, modality)
    figure, grid = _figure(len(rows), title)
    for line, row in zip(grid, rows, strict=True):
        overlap = dice(_filled(lesion), _filled(row.mask))
        views.draw(line, row.mask, row.clicks)
        line[0].set_title(f"{row.title}: Dice {overlap:.2f}", loc="left", color=TEXT, fontsize=11, pad=6)
    _label(figure, grid)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=110, facecolor=BACKGROUND)


class LesionViews:
    """A lesion's surroundings, cropped, turned and windowed, to draw masks and clicks into.

    Args:
        image: the scan, in any orientation.
        lesion: the reference on the same grid, not empty.
        point: LPS millimetres where the three slices meet; without it the lesion's deepest point.
        modality: chooses the grey window, see :func:`three_views`.
        smallest_mm: millimetres a side that a view shows of a small lesion.

    Raises:
        ImageError: when the lesion is empty or the point lies outside the image.
    """

    def __init__(
        self,
        image: sitk.Image,
        lesion: sitk.Image,
        point: Point | None = None,
        modality: Modality | None = None,
        smallest_mm: float = _SMALLEST_VIEW_MM,
    ) -> None:
        if point is None:
            click = next_click(lesion, lesion * 0)
            if click is None:
                raise ImageError("The lesion's mask is empty, so there is nothing to show.")
            point = click.point
        if not ImageGrid.of(image).contains(point):
            raise ImageError(
                f"The point {point} (LPS millimetres) lies outside the image; choose one inside."
            )
        self._point = point
        self._side = _side_of_view(lesion, smallest_mm)
        self._box = _box_around(lesion, point, self._side)
        self._values = _oriented(image, self._box)
        self._truth = _oriented(lesion, self._box)
        self._window = _window(self._values, self._truth, modality or guess_modality(image))

    def draw(self, axes: Sequence[Axes], mask: sitk.Image, clicks: Sequence[Click]) -> None:
        """Draw the axial, coronal and sagittal slice with reference, mask and the clicks near them.

        Args:
            axes: three of them.
            mask: the prediction on the grid of the image; what is not zero is lesion.
            clicks: those in or within 2 mm of a slice are marked in it.
        """
        prediction = _oriented(mask, self._box)
        for plane, one in zip(_PLANES, axes, strict=True):
            _draw(
                one,
                plane,
                self._values,
                self._truth,
                prediction,
                self._window,
                self._point,
                clicks,
                self._side,
            )


def _check(image: sitk.Image, lesion: sitk.Image, rows: Sequence[PictureRow]) -> None:
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ImageError("The picture needs a single 3D volume with one value for each voxel.")
    if not rows:
        raise ImageError("A picture needs at least one row; give the mask after some click.")
    for mask in (lesion, *(row.mask for row in rows)):
        if mask.GetDimension() != 3 or not ImageGrid.of(image).matches(ImageGrid.of(mask)):
            raise ImageError("The picture's masks do not lie on the grid of the image; resample them first.")
    if not _filled(lesion).any():
        raise ImageError("The lesion's mask is empty, so there is nothing to show.")


def _filled(mask: sitk.Image) -> NDArray[np.bool_]:
    filled: NDArray[np.bool_] = sitk.GetArrayViewFromImage(mask) != 0
    return filled


def _side_of_view(lesion: sitk.Image, smallest_mm: float) -> float:
    """Return the millimetres that every view shows a side."""
    box = bounding_box(sitk.GetArrayViewFromImage(lesion))
    assert box is not None
    lengths = [(s.stop - s.start) * mm for s, mm in zip(box, lesion.GetSpacing()[::-1], strict=True)]
    return float(max(smallest_mm, _VIEW_OF_LESION * max(lengths)))


def _box_around(lesion: sitk.Image, point: Point, side: float) -> Box:
    """Return the voxels (k, j, i) around lesion and point that a view may show, clipped to the image."""
    grid = ImageGrid.of(lesion)
    found = bounding_box(sitk.GetArrayViewFromImage(lesion))
    assert found is not None
    slices = []
    for axis, index in zip(found, grid.index(point)[::-1], strict=True):
        slices.append(slice(min(axis.start, round(index)), max(axis.stop, round(index) + 1)))
    # The diagonal of the view reaches into the margin of an oblique image too.
    return tuple(
        slice(max(0, int(s.start - side / mm)), min(n, int(s.stop + side / mm) + 1))
        for s, mm, n in zip(slices, grid.spacing[::-1], grid.size[::-1], strict=True)
    )


def _oriented(image: sitk.Image, box: Box) -> sitk.Image:
    """Return the box of an image with its axes nearest to left, posterior and superior."""
    k, j, i = box
    oriented: sitk.Image = sitk.DICOMOrient(image[i, j, k], "LPS")
    return oriented


def _window(values: sitk.Image, truth: sitk.Image, modality: Modality) -> tuple[float, float]:
    """Return the values to show black and white."""
    array = sitk.GetArrayViewFromImage(values)
    if modality == "CT":
        filled = _filled(truth)
        distance = ndimage.distance_transform_edt(~filled, sampling=truth.GetSpacing()[::-1])
        around = array[(distance > 0) & (distance <= _SURROUNDINGS_MM)]
        return _LUNG if around.size and np.mean(around < _AERATED_HU) > 0.5 else _SOFT_TISSUE
    # Fat of scalp or skin outshines every tumour and may fill much of the box: it must not decide.
    low, common = np.percentile(array, (1.0, 75.0))
    brightest = np.percentile(array[_filled(truth)], 99.5)
    high = low + max(1.1 * (brightest - low), 1.5 * (common - low), 1e-6)
    return float(low), float(high)


def _figure(rows: int, title: str) -> tuple[Figure, NDArray[Any]]:
    # The figure gets its Agg canvas by hand: no display is needed, and the backend that a notebook or
    # Slicer has chosen through pyplot stays as it is.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = rows * (_INCHES_A_VIEW + 0.35) + (0.85 if title else 0.6)
    figure = Figure(figsize=(3 * _INCHES_A_VIEW + 0.4, height), facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, 3, squeeze=False)
    figure.subplots_adjust(
        left=0.02,
        right=0.98,
        bottom=0.4 / height,
        top=1 - (0.7 if title else 0.4) / height,
        wspace=0.04,
        hspace=0.12,
    )
    if title:
        figure.text(0.02, 1 - 0.1 / height, title, color=TEXT, fontsize=14, weight="bold", va="top")
    return figure, grid


def _draw(
    axes: Axes,
    plane: _Plane,
    values: sitk.Image,
    truth: sitk.Image,
    prediction: sitk.Image,
    window: tuple[float, float],
    point: Point,
    clicks: Sequence[Click],
    side: float,
) -> None:
    """Draw one slice in millimetres along its own axes, centred on the lesion."""
    from matplotlib.patheffects import Normal, Stroke

    grid = ImageGrid.of(values)
    spacing = np.asarray(grid.spacing[::-1])
    here = grid.index(point)[::-1]
    number = int(np.clip(round(here[plane.through]), 0, grid.size[::-1][plane.through] - 1))

    def in_slice(image: sitk.Image) -> NDArray[Any]:
        # What is left keeps its order, and in every plane the vertical axis comes before the horizontal.
        array: NDArray[Any] = np.take(sitk.GetArrayViewFromImage(image), number, axis=plane.through)
        return array

    across, upward = spacing[plane.across], spacing[plane.upward]
    picture = in_slice(values)
    bottom, right = (np.array(picture.shape) - 0.5) * (upward, across)
    axes.imshow(
        picture,
        cmap="gray",
        vmin=window[0],
        vmax=window[1],
        interpolation="bilinear",
        origin="lower",
        extent=(-0.5 * across, right, -0.5 * upward, bottom),
        aspect="equal",
    )
    x = np.arange(picture.shape[1]) * across
    y = np.arange(picture.shape[0]) * upward
    for image, colour, style, width in ((prediction, _PREDICTION, "-", 1.6), (truth, _TRUTH, "--", 1.0)):
        mask = (in_slice(image) != 0).astype(float)
        if not mask.any():
            continue
        if image is prediction:
            axes.contourf(x, y, mask, levels=[0.5, 1.5], colors=[colour], alpha=0.18)
        axes.contour(x, y, mask, levels=[0.5], colors=[colour], linewidths=width, linestyles=style)
    for click in clicks:
        index = grid.index(click.point)[::-1]
        away = abs(index[plane.through] - number)
        if away > 0.5 and away * spacing[plane.through] > _IN_SLICE_MM:
            continue
        axes.plot(
            index[plane.across] * across,
            index[plane.upward] * upward,
            linestyle="none",
            **_marker(click.positive),
        )

    box = bounding_box(sitk.GetArrayViewFromImage(truth))
    assert box is not None
    middle = [(axis.start + axis.stop - 1) / 2 * mm for axis, mm in zip(box, spacing, strict=True)]
    axes.set_xlim(middle[plane.across] - side / 2, middle[plane.across] + side / 2)
    limits = (middle[plane.upward] - side / 2, middle[plane.upward] + side / 2)
    axes.set_ylim(limits[::-1] if plane.flipped else limits)
    axes.set_facecolor("black")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.02), (0.5, 0.98))
    for letter, (left, low) in zip(plane.letters, places, strict=True):
        axes.text(
            left,
            low,
            letter,
            transform=axes.transAxes,
            color="#c8c8c8",
            fontsize=8,
            path_effects=[Stroke(linewidth=2, foreground="black"), Normal()],
            ha={0.02: "left", 0.98: "right"}.get(left, "center"),
            va={0.02: "bottom", 0.98: "top"}.get(low, "center"),
        )


def _marker(positive: bool) -> dict[str, Any]:
    if positive:
        return {"marker": "o", "markersize": 6, "color": _LESION_CLICK, "markeredgecolor": "black"}
    return {"marker": "X", "markersize": 7, "color": _BACKGROUND_CLICK, "markeredgecolor": "black"}


def _label(figure: Figure, grid: NDArray[Any]) -> None:
    for plane, axes in zip(_PLANES, grid[0], strict=True):
        axes.set_title(plane.name, loc="right", color="#b8b8b8", fontsize=10, pad=6)
    add_legend(figure)


def add_legend(figure: Figure) -> None:
    """Say at the bottom of a figure what lines and marks mean."""
    from matplotlib.lines import Line2D

    entries = [
        Line2D([], [], color=_PREDICTION, linewidth=1.6, label="Segmentation"),
        Line2D([], [], color=_TRUTH, linewidth=1.0, linestyle="--", label="Reference"),
        Line2D([], [], linestyle="none", label="Click on lesion", **_marker(True)),
        Line2D([], [], linestyle="none", label="Click on background", **_marker(False)),
    ]
    figure.legend(handles=entries, loc="lower center", ncols=4, frameon=False, labelcolor=TEXT, fontsize=10)
