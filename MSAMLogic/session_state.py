"""What a session is in at a moment: clicks, lesions with their patches, and the mask."""

from __future__ import annotations

from dataclasses import dataclass

from MSAMLogic.geometry import Point, Region
from MSAMLogic.looking.looks import Look
from MSAMLogic.voxels import EMPTY, NOWHERE, BoolArray, VoxelSet

# How far inside a patch a click must lie to be a correction there; nearer to the border there is too
# little context, and the click gets a patch of its own.
INSIDE = 0.05


@dataclass(frozen=True)
class Click:
    """A click of the reader.

    Attributes:
        point: LPS millimetres.
        positive: whether it is for the lesion.
    """

    point: Point
    positive: bool = True


@dataclass(frozen=True, eq=False)
class Lesion:
    """A lesion and its patches.

    Attributes:
        clicks: the clicks that belong to it.
        looks: its patches, the first the one that was clicked; none for a click that waits for one.
        voxels: its mask.
        hidden: voxels of the given mask that it took over; its own mask says what they are now.
    """

    clicks: tuple[Click, ...]
    looks: tuple[Look, ...]
    voxels: VoxelSet
    hidden: VoxelSet

    def shows(self, point: Point) -> bool:
        """Whether a point lies well inside one of the patches."""
        return any(look.grid.margin(point) >= INSIDE for look in self.looks)


@dataclass(frozen=True, eq=False)
class SessionState:
    """Everything that undo brings back. Never changed, only replaced.

    Attributes:
        clicks: all clicks, oldest first.
        lesions: what they made.
        given: the mask that the session started from.
    """

    clicks: tuple[Click, ...] = ()
    lesions: tuple[Lesion, ...] = ()
    given: VoxelSet = EMPTY

    def read(self, region: Region) -> BoolArray:
        """Return the mask (k, j, i) of a box."""
        out = self.given.read(region)
        for lesion in self.lesions:
            out &= ~lesion.hidden.read(region)
        for lesion in self.lesions:
            out |= lesion.voxels.read(region)
        return out

    @property
    def region(self) -> Region:
        """A box round the mask."""
        region = self.given.region
        for lesion in self.lesions:
            region = region.union(lesion.voxels.region)
        return region

    def extent_of_change(self, other: SessionState) -> Region:
        """Return a box outside of which both states have the same mask."""
        region = NOWHERE if self.given is other.given else self.given.region.union(other.given.region)
        mine, others = set(map(id, self.lesions)), set(map(id, other.lesions))
        for lesion in (*self.lesions, *other.lesions):
            if not (id(lesion) in mine and id(lesion) in others):
                region = region.union(lesion.voxels.region).union(lesion.hidden.region)
        return region
