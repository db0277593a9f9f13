"""Long and short axis of a lesion in the slices of a volume, measured as a radiologist measures them.

RECIST 1.1 takes the longest diameter in the plane of measurement, and as the short axis the longest line
that is perpendicular to it in the same slice (Eisenhauer et al. 2009, sections 3.1 and 3.3). Both run
between points of the outline; where a lesion is not convex or has several parts in a slice, the line may
leave it, as a caliper would.

**Where the outline runs.** Through the middle of every pixel edge between lesion and background: what
contouring a mask at one half draws, and what PyRadiomics measures on. Along rows and columns n pixels
measure n pixels, so a single voxel is as long and as short as its sides. A disc comes out up to a pixel too
long, never too short: the longest of all directions is the one in which most of the edge counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

_DIRECTIONS = 32
# Slices that differ by rounding alone count as equally long.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Axes:
    """The two lines in one slice, in fractional (row, column) indices of that slice.

    Attributes:
        slice_index: index along the first axis of the array.
        long_mm: millimetres of the longest line.
        short_mm: millimetres of the longest line perpendicular to it.
        long_ends: (2, 2), a (row, column) for each end.
        short_ends: (2, 2), likewise.
    """

    slice_index: int
    long_mm: float
    short_mm: float
    long_ends: FloatArray
    short_ends: FloatArray


def longest_axes(mask: BoolArray, steps: FloatArray) -> Axes:
    """Return the axes in the slice that has the longest line of all; of several, in the middle one.

    Args:
        mask: (slice, row, column), true in the lesion; not empty.
        steps: (2, 2) millimetres in the plane that one row (first column of the matrix) and one column
            (second) go; diagonal unless the image's axes slant.
    """
    hulls = [(index, *_longest(points, steps)) for index, points in _candidates(mask, steps)]
    longest = max(length for _, length, _ in hulls)
    ties = [hull for hull in hulls if hull[1] >= longest * (1 - _ROUNDING)]
    index, length, ends = ties[len(ties) // 2]
    short, short_ends = _longest_across(mask[index], ends, steps)
    return Axes(index, length, short, ends, short_ends)


def _candidates(mask: BoolArray, steps: FloatArray) -> list[tuple[int, FloatArray]]:
    """Return the slices that can have the longest line, with outline points (n, 2) that span their hull.

    The width of a point set in a direction is never more than its diameter, and the widest of m evenly
    spread directions never less than cos(90°/m) of it. The slices in between are few.
    """
    points = _extreme_points(mask)
    angles = np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS
    directions = np.stack([np.cos(angles), np.sin(angles)])
    projected = points @ steps.T @ directions
    filled = ~np.isnan(points[:, :, :1])
    highest = np.where(filled, projected, -np.inf).max(axis=1)
    lowest = np.where(filled, projected, np.inf).min(axis=1)
    widths = (highest - lowest).max(axis=1)  # -inf where a slice is empty
    most = widths / np.cos(np.pi / (2 * _DIRECTIONS))
    chosen = np.flatnonzero(most >= widths.max() * (1 - _ROUNDING))
    return [(int(index), points[index][filled[index, :, 0]]) for index in chosen]


def _extreme_points(mask: BoolArray) -> FloatArray:
    """Return the ends of every row and column of every slice: (slices, points, 2), NaN where one is empty."""
    parts = []
    for axis in (2, 1):
        count = mask.shape[axis]
        places = np.arange(1, count + 1, dtype=np.uint16).reshape(-1, *(1,) * (2 - axis))
        # The greatest product is the place of the last voxel; searching along strides is slower.
        last = (mask * places).max(axis=axis).astype(float)
        first = count + 1 - (mask * places[::-1]).max(axis=axis).astype(float)
        across = np.broadcast_to(np.arange(first.shape[1], dtype=float), first.shape)
        for ends in (first - 1.5, last - 0.5):
            point = np.stack((across, ends) if axis == 2 else (ends, across), axis=-1)
            point[last == 0] = np.nan
            parts.append(point)
    return np.concatenate(parts, axis=1)


def _longest(points: FloatArray, steps: FloatArray) -> tuple[float, FloatArray]:
    """Return millimetres and ends (2, 2) of the longest line between points (n, 2) of a slice."""
    # A single pixel has four points in general position, so there always is a hull.
    corners = points[ConvexHull(points).vertices]
    places = corners @ steps.T
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    a, b = np.unravel_index(int(distances.argmax()), distances.shape)
    return float(distances[a, b]), corners[[a, b]]


def _longest_across(section: BoolArray, ends: FloatArray, steps: FloatArray) -> tuple[float, FloatArray]:
    """Return millimetres and ends (2, 2) of the longest line of a slice perpendicular to another.

    Between two neighbouring vertices the outline's upper and lower side are straight, so the longest
    line across starts or ends at a vertex.

    Args:
        section: (row, column).
        ends: (2, 2) of the other line.
        steps: as in :func:`longest_axes`.
    """
    along = np.diff(ends, axis=0)[0] @ steps.T
    along /= np.linalg.norm(along)
    frame = np.stack([along, [-along[1], along[0]]])  # rows: along the line, across it
    segments = _outline(section)
    places = segments @ steps.T @ frame.T
    # Sorted by the place along the line, a segment covers its vertices in between.
    order = places[:, :, 0].argsort(axis=1)
    places = np.take_along_axis(places, order[:, :, None], axis=1)
    start, stop = places[:, 0], places[:, 1]
    length = stop[:, 0] - start[:, 0]
    slope = np.divide(stop[:, 1] - start[:, 1], length, out=np.zeros_like(length), where=length > _ROUNDING)
    at = np.unique(places[:, :, 0].round(9))
    best, best_ends = 0.0, np.zeros((2, 2))
    for some in np.array_split(at, max(1, at.size * length.size // 2_000_000)):
        covers = (start[:, 0] <= some[:, None] + _ROUNDING * 2) & (
            some[:, None] <= stop[:, 0] + _ROUNDING * 2
        )
        height = start[:, 1] + slope * (some[:, None] - start[:, 0])
        upright = length <= _ROUNDING
        highest = np.where(upright, np.maximum(start[:, 1], stop[:, 1]), height)
        lowest = np.where(upright, np.minimum(start[:, 1], stop[:, 1]), height)
        top = np.where(covers, highest, -np.inf).max(axis=1)
        bottom = np.where(covers, lowest, np.inf).min(axis=1)
        n = int((top - bottom).argmax())
        if top[n] - bottom[n] > best:
            best = float(top[n] - bottom[n])
            best_ends = np.array([[some[n], bottom[n]], [some[n], top[n]]])
    return best, best_ends @ np.linalg.inv(frame @ steps).T


def _outline(section: BoolArray) -> FloatArray:
    """Return the segments of the outline: (n, 2, 2), for both ends the (row, column).

    Every square of four pixel centres has two or four sides that lead from lesion to background; the
    outline joins their middles. Pixels that touch at a corner alone stay apart.
    """
    inside = np.pad(section, 1)
    a, b, c, d = inside[:-1, :-1], inside[:-1, 1:], inside[1:, :-1], inside[1:, 1:]
    up, down, left, right = a ^ b, c ^ d, a ^ c, b ^ d
    middles = {"up": (0.0, 0.5), "down": (1.0, 0.5), "left": (0.5, 0.0), "right": (0.5, 1.0)}
    saddle = up & down & left & right
    joins = [
        ("up", "down", up & down & ~saddle),
        ("left", "right", left & right & ~saddle),
        ("up", "left", (up & left & ~saddle) | (saddle & a)),
        ("down", "right", (down & right & ~saddle) | (saddle & a)),
        ("up", "right", (up & right & ~saddle) | (saddle & b)),
        ("down", "left", (down & left & ~saddle) | (saddle & b)),
    ]
    segments = []
    for one, other, where in joins:
        corner = np.argwhere(where) - 1.0  # of the padding
        segments.append(np.stack([corner + middles[one], corner + middles[other]], axis=1))
    return np.concatenate(segments)
