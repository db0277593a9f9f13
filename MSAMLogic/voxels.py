"""Sets of voxels that cost what the lesion costs, however large the image is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.geometry import Region

BoolArray = NDArray[np.bool_]

NOWHERE = Region((0, 0, 0), (0, 0, 0))


def _slices(region: Region, corner: Region) -> tuple[slice, slice, slice]:
    """Return the (k, j, i) slices of ``region`` in an array that starts at ``corner.start``."""
    k, j, i = (
        slice(a - c, b - c)
        for a, b, c in zip(reversed(region.start), reversed(region.stop), reversed(corner.start), strict=True)
    )
    return k, j, i


@dataclass(frozen=True)
class VoxelSet:
    """Voxels of an image, kept as bits of their bounding box.

    Attributes:
        region: the tight box of the voxels.
        bits: (k, j, bytes of i) the box, eight voxels a byte.
    """

    region: Region
    bits: NDArray[np.uint8]

    @classmethod
    def of(cls, array: BoolArray, region: Region) -> VoxelSet:
        """Return the set of the voxels that are true in ``array`` (k, j, i), which fills ``region``."""
        if not array.any():
            return EMPTY
        bounds = []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            hit = np.flatnonzero(array.any(axis=others))
            bounds.append((int(hit[0]), int(hit[-1]) + 1))
        (k0, k1), (j0, j1), (i0, i1) = bounds
        x, y, z = region.start
        tight = Region((x + i0, y + j0, z + k0), (x + i1, y + j1, z + k1))
        return cls(tight, np.packbits(array[k0:k1, j0:j1, i0:i1], axis=-1))

    @property
    def empty(self) -> bool:
        """Whether there is no voxel in the set."""
        return self.region.empty

    @property
    def count(self) -> int:
        """How many voxels there are."""
        return int(np.count_nonzero(self.read(self.region)))

    def read(self, region: Region) -> BoolArray:
        """Return (k, j, i) of ``region``, true where the voxel is in the set."""
        out = np.zeros(tuple(reversed(region.size)), bool)
        common = region.intersection(self.region)
        if not common.empty:
            k, j, i = _slices(common, self.region)
            rows = np.unpackbits(self.bits[k, j], axis=-1, count=self.region.size[0])
            out[_slices(common, region)] = rows[:, :, i].view(bool)
        return out

    def __contains__(self, index: tuple[int, int, int]) -> bool:
        """Whether the voxel (i, j, k) is in the set."""
        i, j, k = index
        return bool(self.read(Region((i, j, k), (i + 1, j + 1, k + 1)))[0, 0, 0])

    def union(self, other: VoxelSet) -> VoxelSet:
        """Return the voxels that are in either set."""
        if self.empty or other.empty:
            return other if self.empty else self
        region = self.region.union(other.region)
        return VoxelSet.of(self.read(region) | other.read(region), region)

    def intersection(self, other: VoxelSet) -> VoxelSet:
        """Return the voxels that are in both sets."""
        common = self.region.intersection(other.region)
        return EMPTY if common.empty else VoxelSet.of(self.read(common) & other.read(common), common)

    def minus(self, other: VoxelSet) -> VoxelSet:
        """Return the voxels that are in this set and not in the other."""
        if self.region.intersection(other.region).empty:
            return self
        return VoxelSet.of(self.read(self.region) & ~other.read(self.region), self.region)

    def dice(self, other: VoxelSet) -> float:
        """Return the Dice coefficient of both sets; 1 where both are empty."""
        common = self.region.intersection(other.region)
        both = np.count_nonzero(self.read(common) & other.read(common)) if not common.empty else 0
        total = self.count + other.count
        return 2 * both / total if total else 1.0


EMPTY = VoxelSet(NOWHERE, np.zeros((0, 0, 0), np.uint8))


def changed_region(before: BoolArray, after: BoolArray, region: Region) -> Region:
    """Return the tight box, within ``region``, of the voxels in which two arrays (k, j, i) differ."""
    return VoxelSet.of(before ^ after, region).region
