"""From frames in any order to a stack on a grid, or the reason why they make none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MSAMLogic.dicom.frames import Frame
from MSAMLogic.errors import ImageError
from MSAMLogic.geometry import ImageGrid

_STRAIGHT_MM = 0.05  # a smaller tilt, over the whole stack, is rounding
_COSINE_TOLERANCE = 1e-3


def normal_of(orientation: Sequence[float]) -> np.ndarray:
    """Return the direction (3,) across slices, which makes a right-handed grid; LPS.

    Raises:
        ImageError: when rows and columns are no directions at right angles.
    """
    return _axes(orientation)[:, 2]


def positions_along(frames: Sequence[Frame]) -> np.ndarray:
    """Return millimetres (n,) of the frames along the normal of the first."""
    positions: np.ndarray = np.array([frame.position for frame in frames]) @ normal_of(frames[0].orientation)
    return positions


def stack(frames: Sequence[Frame]) -> tuple[list[Frame], ImageGrid, list[str]]:
    """Order frames by their position along the normal and put them on a grid.

    A gantry tilt moves every slice sideways by the same amount; the grid's third axis then slants, and
    every voxel keeps its place without resampling.

    Args:
        frames: of one size, spacing and orientation, no two at one position.

    Returns:
        The frames in order, the grid on which they lie, and what the user should know.

    Raises:
        ImageError: when slices are missing, unevenly spaced or shifted against each other.
    """
    axes = _axes(frames[0].orientation)
    along = positions_along(frames)
    order = np.argsort(along, kind="stable")
    ordered = [frames[n] for n in order]
    places = np.array([frame.position for frame in ordered])
    notes: list[str] = []
    if len(ordered) == 1:
        between = ordered[0].thickness
        if between is None:
            between = 1.0
            notes.append("The series has one slice, whose thickness it does not say; 1 mm is taken.")
    else:
        _check_even(along[order])
        step = (places[-1] - places[0]) / (len(ordered) - 1)
        even = places[0] + np.arange(len(ordered))[:, None] * step
        between = float(step @ axes[:, 2])
        if np.linalg.norm(places - even, axis=1).max() > _stray(between):
            raise ImageError("its slices are shifted sideways against each other, so they make no volume")
        sideways = step - between * axes[:, 2]
        if np.linalg.norm(sideways) * (len(ordered) - 1) > _STRAIGHT_MM:
            degrees = np.degrees(np.arctan2(np.linalg.norm(sideways), between))
            notes.append(
                f"The scanner's gantry was tilted by {degrees:.1f} degrees: the slices are kept as they are, "
                "on an axis that slants. NIfTI cannot hold such a grid; NRRD and DICOM can."
            )
            between = float(np.linalg.norm(step))
            axes[:, 2] = step / between
    row, column = ordered[0].spacing
    rows, columns = ordered[0].size
    x, y, z = (float(v) for v in places[0])
    grid = ImageGrid(
        (columns, rows, len(ordered)),
        (x, y, z),
        (column, row, between),
        tuple(float(v) for v in axes.ravel()),
    )
    return ordered, grid, notes


def _axes(orientation: Sequence[float]) -> np.ndarray:
    """Return the directions of i, j and the normal as columns (3, 3)."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose(lengths, 1, atol=_COSINE_TOLERANCE) or abs(row @ column) > _COSINE_TOLERANCE:
        raise ImageError("Image Orientation (Patient) is no pair of directions at right angles")
    row = row / lengths[0]
    column = column - (column @ row) * row  # few decimals make the angle inexact
    column /= np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)], axis=1)


def _stray(between: float) -> float:
    """Return millimetres that slices may stray from an even spacing: positions have few decimals."""
    return max(0.02 * between, min(0.1, 0.15 * between))


def _check_even(along: np.ndarray) -> None:
    """Raise :class:`ImageError` unless sorted positions (n,) are evenly spaced."""
    gaps = np.diff(along)
    least = float(gaps.min())
    even = np.linspace(along[0], along[-1], len(along))
    if np.abs(along - even).max() <= _stray(float(gaps.mean())):
        return
    steps = gaps / least
    if np.abs(steps - np.rint(steps)).max() <= 0.1:
        first = int(np.argmax(np.rint(steps) > 1))
        missing = int(np.rint(steps).sum()) - len(gaps)
        raise ImageError(
            f"{missing} of its slices are missing, the first {'one' if missing == 1 else 'ones'} after slice "
            f"{first + 1} of {len(along)} (slices lie {least:.3g} mm apart, there {gaps[first]:.3g} mm); "
            "copy the whole series again"
        )
    raise ImageError(
        f"its slices are unevenly spaced, {least:.3g} to {float(gaps.max()):.3g} mm apart; export a series "
        "with even spacing, or resample it with other software"
    )
