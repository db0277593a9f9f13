"""The click protocol: where a careful reader would click, and how good the answer is each time.

A lesion is a 26-connected part of the reference mask. Click 1 is its deepest point, the one farthest
from the outside in millimetres. Each later click is the deepest point of the largest error: a
26-connected part of what is missed (then the click says lesion) or of what is too much (then it says
background). The image border counts as outside; where many points are equally deep, as in lesions of one
or two thick slices, the one nearest to their middle is taken. Everything happens on the image's own
grid and nothing is left to chance, so a run can be repeated exactly.

For a model that takes clicks for the lesion only, what is too much cannot be clicked: each later click is
the deepest point of the largest part that is missed, and the series ends when nothing is missed.

The whole answer is compared with the one lesion: what a session marks in another lesion is an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.bounding_box import bounding_box
from MSAMLogic.errors import ClickError, ImageError
from MSAMLogic.evaluation.metrics import dice, intersection_over_union, surface_dice
from MSAMLogic.geometry import ImageGrid, Point
from MSAMLogic.largest_error import largest_error
from MSAMLogic.session import Click

SMALLEST_MM3 = 200.0  # of a lesion that is clicked
MOST_LESIONS = 3  # of a case, the largest
_NEIGHBOURS_26 = np.ones((3, 3, 3), bool)


class Session(Protocol):
    """What the protocol needs of an interactive segmentation.

    Where it has an attribute ``background_clicks`` that is False, it is given clicks for the lesion only.
    """

    def set_image(self, image: sitk.Image, /) -> object:
        """Start over with ``image`` and an empty mask."""

    def click(self, point: Point, /, *, positive: bool) -> object:
        """Take a click in LPS millimetres: lesion when ``positive``, else background."""

    @property
    def mask(self) -> sitk.Image:
        """The present mask on the grid of the image; what is not zero is lesion."""


@dataclass(frozen=True)
class ClickScore:
    """A click and the quality of the mask that it led to.

    Attributes:
        click: the click, at the centre of a voxel of the image.
        dice: Dice coefficient of mask and lesion.
        iou: intersection over union of the same.
        surface_dice: surface Dice at 2 mm of the same.
        seconds: wall time of the session's answer to the click alone.
    """

    click: Click
    dice: float
    iou: float
    surface_dice: float
    seconds: float


@dataclass(frozen=True)
class ClickSeries:
    """The scores of one lesion, click after click.

    Attributes:
        scores: one for each click, at least one; fewer than asked for when the mask became perfect, or
            missed nothing more and the session takes clicks for the lesion only.
    """

    scores: tuple[ClickScore, ...]

    def after(self, clicks: int) -> ClickScore:
        """Return the score after ``clicks`` clicks, or the last one when there was none left to make.

        Raises:
            ClickError: when ``clicks`` is less than 1.
        """
        if clicks < 1:
            raise ClickError(f"There is no score after {clicks} clicks; ask for 1 or more.")
        return self.scores[min(clicks, len(self.scores)) - 1]


def lesions(
    mask: sitk.Image, minimum_volume_mm3: float = SMALLEST_MM3, most: int = MOST_LESIONS
) -> list[sitk.Image]:
    """Return the lesions of a reference mask that are worth clicking, the largest first.

    Args:
        mask: reference of a case; what is not zero is lesion.
        minimum_volume_mm3: smaller 26-connected parts are left out.
        most: how many lesions to return at most.

    Returns:
        One uint8 mask (0, 1) for each lesion, on the grid of ``mask``; none when nothing is large enough.

    Raises:
        ImageError: when ``mask`` is not a scalar volume.
    """
    array = _array(mask)
    box = bounding_box(array)
    if box is None:
        return []
    labels, _ = ndimage.label(array[box], _NEIGHBOURS_26)
    sizes = np.bincount(labels.ravel())[1:]
    minimum = minimum_volume_mm3 / float(np.prod(mask.GetSpacing()))
    chosen = [n + 1 for n in np.argsort(-sizes, kind="stable")[:most] if sizes[n] >= minimum]
    found = []
    for label in chosen:
        lesion = np.zeros(array.shape, np.uint8)
        lesion[box] = labels == label
        image = sitk.GetImageFromArray(lesion)
        image.CopyInformation(mask)
        found.append(image)
    return found


def next_click(truth: sitk.Image, prediction: sitk.Image, background_clicks: bool = True) -> Click | None:
    """Return the click that corrects the largest error of ``prediction``.

    Of two errors of the same size, one that is missed goes before one that is too much.

    Args:
        truth: the lesion; what is not zero is lesion.
        prediction: the present mask on the same grid.
        background_clicks: whether what is too much may be clicked, or only what is missed.

    Returns:
        The click, or None when the masks are equal or no click that is allowed would correct anything.

    Raises:
        ImageError: when an image is not a scalar volume or the grids differ.
    """
    _require_same_grid(truth, prediction, "The prediction", "the lesion")
    found = largest_error(_array(truth), _array(prediction), truth.GetSpacing()[::-1], background_clicks)
    if found is None:
        return None
    (k, j, i), positive = found
    return Click(ImageGrid.of(truth).point(np.array([i, j, k])), positive)


def run_clicks(
    session: Session,
    image: sitk.Image,
    lesion: sitk.Image,
    clicks: int = 10,
    on_click: Callable[[ClickScore, sitk.Image], object] | None = None,
) -> ClickSeries:
    """Click on one lesion by the protocol and score the mask after every click.

    The session is given the image anew, so nothing is left of what it did before.

    Args:
        session: what answers the clicks.
        image: the scan.
        lesion: the reference, on the grid of the scan; what is not zero is lesion.
        clicks: how many clicks at most; fewer are made when no error is left that a click may correct.
        on_click: called after each click with its score and the session's whole mask.

    Returns:
        The scores, one for each click.

    Raises:
        ImageError: when the lesion is empty or a mask is not on the grid of the image.
        ClickError: when ``clicks`` is less than 1, and what the session raises.
    """
    if clicks < 1:
        raise ClickError(f"A series of {clicks} clicks cannot be made; ask for 1 or more.")
    _require_same_grid(image, lesion, "The lesion", "the image")
    truth = _array(lesion)
    if not truth.any():
        raise ImageError("The lesion's mask is empty, so there is nothing to click on.")
    spacing = lesion.GetSpacing()[::-1]
    session.set_image(image)
    background_clicks: bool = getattr(session, "background_clicks", True)
    click = next_click(lesion, lesion * 0)
    scores: list[ClickScore] = []
    while click is not None and len(scores) < clicks:
        start = time.perf_counter()
        session.click(click.point, positive=click.positive)
        seconds = time.perf_counter() - start
        answer = session.mask
        _require_same_grid(lesion, answer, "The session's mask", "the image")
        prediction = _array(answer)
        box = bounding_box(truth, prediction)
        a, b = truth[box] != 0, prediction[box] != 0
        score = ClickScore(
            click, dice(a, b), intersection_over_union(a, b), surface_dice(a, b, spacing), seconds
        )
        scores.append(score)
        if on_click is not None:
            on_click(score, answer)
        click = next_click(lesion, answer, background_clicks)
    return ClickSeries(tuple(scores))


def _array(mask: sitk.Image) -> NDArray[Any]:
    """Return the voxels (k, j, i) of a mask without copying them; they live as long as the mask."""
    if mask.GetDimension() != 3 or mask.GetNumberOfComponentsPerPixel() != 1:
        raise ImageError("A mask must be a single 3D volume with one value for each voxel.")
    array: NDArray[Any] = sitk.GetArrayViewFromImage(mask)
    return array


def _require_same_grid(one: sitk.Image, other: sitk.Image, other_name: str, one_name: str) -> None:
    if one.GetDimension() != 3 or other.GetDimension() != 3:
        raise ImageError(f"{other_name} and {one_name} must both be single 3D volumes.")
    if not ImageGrid.of(one).matches(ImageGrid.of(other)):
        raise ImageError(
            f"{other_name} does not lie on the grid of {one_name} (size, spacing, origin or direction "
            "differ); resample it to that grid first."
        )
