"""A whole scan's labels, from a network that takes no clicks, by windows that overlap."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.errors import ImageError, ModelError
from MSAMLogic.geometry import RAS_AXES, ImageGrid, Index, Point, Region
from MSAMLogic.intensity import Modality, guess_modality, normalise

FloatArray = NDArray[np.float32]

_OVERLAP = 0.5  # of neighbouring windows
_SIGMA = 1 / 8  # of the Gaussian that weighs a window's voxels, in windows
_LEAST_WEIGHT = 1e-3  # a window's corners, where it may be the only one, still count
_SLAB = 32  # slices of the image that are put back at a time


class Classifier(Protocol):
    """A network that names what it finds, as :class:`MSAMLogic.predictor.TorchPredictor` runs it."""

    capabilities: Capabilities

    def classify(self, patch: FloatArray) -> FloatArray:
        """Return probabilities (K + 1, n, n, D) of background and the classes in a patch (n, n, D)."""


@dataclass(frozen=True, eq=False)
class ClassMap:
    """Labels on an image's own grid.

    Attributes:
        labels: uint8: 0 is background, k the k-th class.
        probability: float32, of the label that the voxel has.
    """

    labels: sitk.Image
    probability: sitk.Image


def segment_classes(
    model: Any,
    image: sitk.Image,
    modality: Modality | None = None,
    on_progress: Callable[[float], object] | None = None,
) -> sitk.Image:
    """Return the label map (uint8) of an image, on its own grid; see :func:`classify_image`."""
    return classify_image(model, image, modality, on_progress).labels


def classify_image(
    model: Any,
    image: sitk.Image,
    modality: Modality | None = None,
    on_progress: Callable[[float], object] | None = None,
) -> ClassMap:
    """Return the most probable class of each voxel of an image.

    The windows lie at the network's spacing along the patient's axes and overlap by half; each is
    normalised by itself, as the patches of training are. A Gaussian weighs them, and the mean
    probabilities are interpolated back onto the image's grid before the most probable label is taken.

    Args:
        model: what :func:`MSAMLogic.load_model` returns for a network that takes no clicks.
        image: a scalar image of three dimensions, in any orientation.
        modality: "CT" or "MR"; by default the image tells.
        on_progress: is called with the share of the windows that are done, 0 to 1, after each; what it
            raises ends the work.

    Raises:
        ModelError: when the model takes clicks.
        ImageError: when the image is no single 3D volume.
    """
    check_names_classes(model)
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ImageError("The image must be a single 3D volume with one value a voxel.")
    capabilities: Capabilities = model.capabilities
    kind = modality or guess_modality(image)
    size = (capabilities.patch_size, capabilities.patch_size, capabilities.slices)
    spacing = capabilities.spacings[0]
    grid = covering_grid(ImageGrid.of(image), (spacing, spacing, capabilities.slice_spacing))
    windows = window_regions(grid.size, size)
    weight = window_weight(size)
    sums = np.zeros((len(capabilities.classes) + 1, *grid.size), np.float32)
    total = np.zeros(grid.size, np.float32)
    for done, window in enumerate(windows, start=1):
        patch = normalise(_read(image, grid, window), kind, capabilities.intensity)
        found = model.classify(patch)
        inside = window.intersection(grid.whole)
        there = tuple(slice(a, b) for a, b in zip(inside.start, inside.stop, strict=True))
        here = tuple(
            slice(a - c, b - c) for a, b, c in zip(inside.start, inside.stop, window.start, strict=True)
        )
        sums[(slice(None), *there)] += found[(slice(None), *here)] * weight[here]
        total[there] += weight[here]
        if on_progress is not None:
            on_progress(done / len(windows))
    sums /= total
    return _on_image(sums, grid, image)


def check_names_classes(model: Any) -> None:
    """Raise :class:`ModelError` when a model takes clicks, or is none."""
    capabilities = getattr(model, "capabilities", None)
    if not isinstance(capabilities, Capabilities):
        raise ModelError(f"A {type(model).__name__} is no model; give what load_model returns.")
    if capabilities.takes_clicks or not capabilities.classes:
        raise ModelError("This model segments what is clicked; choose one that names what it finds.")


def covering_grid(image: ImageGrid, spacing: Point) -> ImageGrid:
    """Return a grid along the patient's axes whose voxels' centres enclose all centres of an image's voxels.

    Args:
        image: the image's grid.
        spacing: millimetres along (R, A, S).
    """
    last = [n - 1 for n in image.size]
    corners = np.array([image.point(np.array(c)) for c in itertools.product(*[(0, n) for n in last])])
    axes = np.asarray(RAS_AXES).reshape(3, 3)
    along = corners @ axes  # millimetres along R, A and S
    extent = np.ptp(along, axis=0)
    count = np.ceil(extent / np.asarray(spacing) - 1e-6).astype(int) + 1
    start = along.min(axis=0) - ((count - 1) * spacing - extent) / 2
    x, y, z = axes @ start
    i, j, k = (int(n) for n in count)
    return ImageGrid((i, j, k), (float(x), float(y), float(z)), spacing, RAS_AXES)


def window_regions(size: Index, window: Index) -> list[Region]:
    """Return windows that cover a grid, neighbours overlapping by at least half.

    A grid smaller than a window lies in its middle, and the window reaches beyond it.
    """
    starts = [_starts(n, w) for n, w in zip(size, window, strict=True)]
    i, j, k = window
    return [Region((a, b, c), (a + i, b + j, c + k)) for a, b, c in itertools.product(*starts)]


def _starts(length: int, window: int) -> list[int]:
    if length <= window:
        return [-((window - length) // 2)]
    step = max(1, int(window * (1 - _OVERLAP)))
    count = -(-(length - window) // step) + 1
    return [round(v) for v in np.linspace(0, length - window, count)]


def window_weight(size: Index) -> FloatArray:
    """Return the weight of each voxel of a window, 1 in the middle and falling to the faces."""
    weight: NDArray[np.float64] = np.ones(size)
    for axis, n in enumerate(size):
        offset = (np.arange(n) - (n - 1) / 2) / (n * _SIGMA)
        shape = [1, 1, 1]
        shape[axis] = n
        weight = weight * np.exp(-0.5 * offset**2).reshape(shape)
    result: FloatArray = np.maximum(weight / weight.max(), _LEAST_WEIGHT).astype(np.float32)
    return result


def _read(image: sitk.Image, grid: ImageGrid, window: Region) -> FloatArray:
    """Return scanner values (R, A, S) of a window, 0 outside the image."""
    reference = grid.reference(window)
    sampled = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    # A copy in any case: of a single voxel the view would be contiguous, and outlive its image.
    return np.array(sitk.GetArrayViewFromImage(sampled).transpose(2, 1, 0), np.float32, order="C")


def _on_image(probabilities: FloatArray, grid: ImageGrid, image: sitk.Image) -> ClassMap:
    """Return labels on the image's grid from probabilities (K + 1, R, A, S) on the windows' grid."""
    own = ImageGrid.of(image)
    classes = [grid.image(p.transpose(2, 1, 0), grid.whole) for p in probabilities]
    labels = np.zeros(own.size[::-1], np.uint8)
    best = np.zeros(own.size[::-1], np.float32)
    for k in range(0, own.size[2], _SLAB):
        stop = min(k + _SLAB, own.size[2])
        reference = own.reference(Region((0, 0, k), (own.size[0], own.size[1], stop)))
        for label, probability in enumerate(classes):
            sampled = sitk.Resample(
                probability, reference, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32
            )
            values = sitk.GetArrayViewFromImage(sampled)
            wins = values > best[k:stop]
            labels[k:stop][wins] = label
            best[k:stop][wins] = values[wins]
    return ClassMap(own.image(labels, own.whole), own.image(best, own.whole))
