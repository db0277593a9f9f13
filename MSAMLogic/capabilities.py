"""What a network takes and gives; sessions, the command line and the module offer accordingly."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IntensityRange:
    """A fixed normalisation, for a network that was trained with one.

    Attributes:
        low: scanner values below are raised to this.
        high: scanner values above are lowered to this.
        mean: is subtracted from the clipped values.
        deviation: divides what is left.
    """

    low: float
    high: float
    mean: float
    deviation: float


@dataclass(frozen=True)
class Capabilities:
    """What a network takes and gives.

    Attributes:
        patch_size: voxels a side of a patch, n.
        prompt_size: cells a side of a mask prompt, m.
        spacings: millimetres a voxel at which it may look, ascending.
        first_spacing: the one for a first look.
        antialias: whether patches coarser than the image average over its voxels.
        all_clicks: whether it is given all clicks of the patch, or the newest.
        first_looks: those to look at first and to choose among by how steady the lesion's size is; empty
            for a network that knows one spacing only.
        corrects: whether a further click changes the mask round that click only, as the network sees fit.
        fused_looks: spacings of the first looks that the network makes one mask of, in its own order; empty
            for one whose best look stands for itself.
        takes_clicks: whether it segments what is clicked; False for a network that names what it finds.
        background_clicks: whether clicks may be against the lesion.
        classes: names of the labels 1, 2, ... of a network that takes no clicks.
        intensity: a fixed normalisation in place of M-SAM's z-score.
        slices: voxels along the third axis of a patch that is no cube but (n, n, slices); 0 for a cube.
        slice_spacing: millimetres between those slices.
    """

    patch_size: int
    prompt_size: int
    spacings: tuple[float, ...] = (1.5,)
    first_spacing: float = 1.5
    antialias: bool = False
    all_clicks: bool = False
    first_looks: tuple[float, ...] = ()
    corrects: bool = False
    fused_looks: tuple[float, ...] = ()
    takes_clicks: bool = True
    background_clicks: bool = True
    classes: tuple[str, ...] = ()
    intensity: IntensityRange | None = None
    slices: int = 0
    slice_spacing: float = 0.0

    @property
    def outside(self) -> float:
        """Scanner value of what lies beyond the image: 0, or what a fixed normalisation makes 0."""
        return 0.0 if self.intensity is None else self.intensity.mean
