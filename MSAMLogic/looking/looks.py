"""Looks at a lesion: where a patch goes, how fine it is, and how several patches make one mask.

A network with one spacing looks again beside the patch where a mask reaches its border. A network with
several spacings looks again coarser in that case, and finer where the lesion is small in the patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.between_cubes import brought_to
from MSAMLogic.bounding_box import bounding_box
from MSAMLogic.capabilities import Capabilities
from MSAMLogic.geometry import ImageGrid, PatchGrid, Point, Region, extract_patch
from MSAMLogic.predictor import Answer, FloatArray

# A lesion should fill somewhat less than half of a patch: its edge is then nearly as fine as the patch
# allows, and there is room for context and growth.
_WANTED_FILL = 0.4
_SMALL_FILL = 0.3
_BORDER_CELLS = 4  # cells of a face that must be lesion before the mask counts as cut off
_LARGEST_SHARE = 0.4  # of an image may be one lesion; more is the image itself, seen in emptiness
# By which power of the spacing a lesion grows: by 3 where no look sees its end, by less where they do, and by
# more where a coarser look shows something else.
_STEADY, _JUMP = 2.0, 4.5
_LITTLE_FILL = 0.15  # of a patch; what is smaller than that no coarser patch shows better
_FINER_FILL = 0.45  # share of a finer patch that a lesion may fill to be shown by it
_MOST_RAISED = 5.0  # logits that a finer answer may be raised to be as large as the coarser one
_OVERSAMPLING = 0.7  # a first look is no finer than this share of the image's finest voxel side
UNKNOWN_LOGIT = -6.0  # a mask prompt where nothing has been looked at yet


@dataclass(frozen=True, eq=False)
class Look:
    """One patch of a lesion with the network's last answer in it.

    Attributes:
        grid: the patch.
        logits: (r, r, r) float16 answer on the patch's cube.
        prompt: (m, m, m) float16 mask prompt of the next click.
        iou: the network's own estimate of how good the answer is.
    """

    grid: PatchGrid
    logits: NDArray[np.float16]
    prompt: NDArray[np.float16]
    iou: float = 1.0

    @classmethod
    def of(cls, grid: PatchGrid, answer: Answer) -> Look:
        """Return the look that gave ``answer``."""
        logits = answer.logits.astype(np.float16)
        same = answer.prompt is answer.logits or answer.prompt.shape == answer.logits.shape
        return cls(grid, logits, logits if same else answer.prompt.astype(np.float16), answer.iou)

    @property
    def answer_grid(self) -> PatchGrid:
        """The patch's cube at the resolution of the answer."""
        r = self.logits.shape[0]
        return PatchGrid(self.grid.centre, self.grid.extent / r, r, self.grid.axes)

    @property
    def volume(self) -> float:
        """Cubic millimetres of the mask."""
        return float((self.logits > 0).mean()) * self.grid.extent**3

    def logits_in(self, grid: PatchGrid) -> FloatArray:
        """Return the answer on another cube, (n, n, n), NaN where the look shows nothing."""
        return brought_to(grid, self.logits, self.answer_grid, np.nan)

    def weights(self) -> FloatArray:
        """Return how much each cell (r, r, r) counts beside other looks: 1 amid, almost 0 at the border."""
        r = self.logits.shape[0]
        ramp = (1 - np.abs(np.arange(r) + 0.5 - r / 2) / (r / 2)).astype(np.float32)
        weights: FloatArray = np.minimum(
            np.minimum(ramp[:, None, None], ramp[None, :, None]), ramp[None, None, :]
        )
        return weights


@dataclass(frozen=True)
class Extent:
    """Where the lesion lies in a look.

    Attributes:
        low: patch voxel (3,) of the box's near corner.
        high: patch voxel (3,) of its far corner.
        cut: for each face (low 0, low 1, low 2, high 0, ...) whether the mask reaches it.
        volume: cubic millimetres.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    cut: tuple[bool, ...]
    volume: float

    @property
    def fill(self) -> float:
        """Longest side in patch voxels."""
        return float((self.high - self.low).max())


def lesion_extent(look: Look, inside: NDArray[np.float64] | None = None) -> Extent | None:
    """Return where the mask lies in a look, or None when it is empty.

    Args:
        look: the look.
        inside: patch voxel (3,) of a lesion click; then only the mask's part nearest to it counts, not
            every speck that the network put elsewhere.
    """
    mask = look.logits > 0
    box = bounding_box(mask)
    if box is None:
        return None
    r = mask.shape[0]
    scale = look.grid.size / r
    if inside is not None:
        labels, count = ndimage.label(mask[box])
        if count > 1:
            cell = np.clip(np.floor((inside + 0.5) / scale).astype(int), 0, r - 1)
            filled = np.argwhere(labels)
            offsets = filled + [axis.start for axis in box] - cell
            nearest = filled[int((offsets**2).sum(axis=1).argmin())]
            mask = np.zeros_like(mask)
            mask[box] = labels == labels[tuple(nearest)]
    low, high, cut = np.zeros(3), np.zeros(3), [False] * 6
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        low[axis], high[axis] = hit[0] * scale - 0.5, (hit[-1] + 1) * scale - 0.5
        for face, side in ((axis, 0), (axis + 3, -1)):
            cut[face] = int(np.count_nonzero(mask.take(side, axis))) >= _BORDER_CELLS
    return Extent(low, high, tuple(cut), float(np.count_nonzero(mask)) * look.answer_grid.spacing**3)


def first_grid(point: Point, image: ImageGrid, capabilities: Capabilities) -> PatchGrid:
    """Return the patch of a first look: round the click, no coarser than the whole image needs."""
    spacing = capabilities.first_spacing
    longest = max(n * s for n, s in zip(image.size, image.spacing, strict=True))
    for finer in reversed([s for s in capabilities.spacings if s < spacing]):
        if finer * capabilities.patch_size < longest or finer < min(image.spacing):
            break
        spacing = finer
    return PatchGrid(point, spacing, capabilities.patch_size)


def first_grids(point: Point, image: ImageGrid, capabilities: Capabilities) -> list[PatchGrid]:
    """Return the patches round the click to look at first, the finest first.

    Several where the network may look at several spacings, none of them much finer than the voxels. Those
    larger than the image stay: what they show is compared with what the finer ones show.
    """
    finest = min(image.spacing)
    wanted = [s for s in capabilities.first_looks if s > _OVERSAMPLING * finest]
    return [PatchGrid(point, s, capabilities.patch_size) for s in wanted] or [
        first_grid(point, image, capabilities)
    ]


def steadiest_look(looks: Sequence[Look], image: ImageGrid) -> Look:
    """Return the look whose lesion is as large as in the next finer and the next coarser look.

    A lesion has one size however it is looked at. A patch that lies within it shows no edge, and what is
    drawn there is a blob that grows with the patch; a patch in which it is a speck takes its surroundings
    along. The same stability finds regions without a known scale in Matas et al. 2002 (MSER).

    A coarse look at a small crop shows the crop as one thing with a sharp edge, steady at any spacing. Such
    looks do not count: whoever crops a scan round a lesion leaves more round it than there is of it.

    Nor do coarse looks that show something else than two or more finer ones, much larger, and nothing that is
    steady. A speck is hardly steady in any look, and neither is the organ that it lies in.

    Args:
        looks: answers to the same clicks at different spacings.
        image: the image's grid.
    """
    most = _LARGEST_SHARE * float(np.prod(image.size) * np.prod(image.spacing))
    likely = [look for look in looks if look.volume <= most] or looks
    if len(likely) == 1:
        return likely[0]
    ordered = sorted(likely, key=lambda look: look.grid.spacing)
    scale = np.log([look.grid.spacing for look in ordered])
    size = np.log([look.volume + 1.0 for look in ordered])
    growth = np.diff(size) / np.diff(scale)
    # Beyond both ends nothing is known; a blob that fills its share of any patch has the slope 3.
    slopes = np.concatenate(([3.0], np.abs(growth), [3.0]))
    unsteady = slopes[:-1] + slopes[1:]
    return ordered[int(np.argmin(unsteady[: _looks_that_count(growth)]))]


def _looks_that_count(growth: NDArray[np.floating]) -> int:
    """Return how many looks, from the finest on, may say how large a lesion is.

    Args:
        growth: by which power of the spacing the lesion grows from each look to the next coarser one.
    """
    count = len(growth) + 1
    for finer in range(len(growth) - 1, 0, -1):  # at least two looks are finer than the jump
        if growth[finer] > _JUMP:
            if (np.abs(growth[finer + 1 : count - 1]) < _STEADY).any():
                break
            count = finer + 1
    return count


def show_little(finer: Look, coarser: Look) -> bool:
    """Whether two looks at one click agree on a lesion that is little in the coarser one.

    How far it goes on is known then, and a still coarser look would show a speck, or something else.

    Args:
        finer: the next finer look.
        coarser: the coarser one; the click is in the middle of both patches.
    """
    sides = []
    for look in (finer, coarser):
        extent = lesion_extent(look, np.full(3, (look.grid.size - 1) / 2))
        if extent is None or any(extent.cut):
            return False
        sides.append(extent.fill * look.grid.spacing)
    fine, coarse = sides
    return coarse < _LITTLE_FILL * coarser.grid.extent and 0.5 < coarse / fine < 2


def as_large(look: Look, volume: float) -> Look:
    """Return a look whose logits are raised, all alike, until its lesion has a volume; larger ones stay.

    A network is bolder where a lesion is a few voxels wide: looked at again in a finer patch, the same clicks
    give a sharper and smaller lesion. How large it is was seen, and clicked at, in the coarser one.

    Args:
        look: the finer look.
        volume: cubic millimetres.
    """
    wanted = round(volume / look.answer_grid.spacing**3)
    logits = look.logits.astype(np.float32)
    if not np.count_nonzero(logits > 0) < wanted < logits.size:
        return look
    level = float(np.partition(logits, logits.size - wanted - 1, axis=None)[logits.size - wanted - 1])
    raised = min(-level, _MOST_RAISED)
    # The next click goes on from the answer that was shown.
    prompt = np.clip(look.prompt.astype(np.float32) + raised, -10, 10)
    return replace(look, logits=(logits + raised).astype(np.float16), prompt=prompt.astype(np.float16))


def sharpest_look(chosen: Look, looks: Sequence[Look]) -> Look:
    """Return the finest first look that shows the whole lesion of the chosen one, and draw it as large.

    The chosen look says how large the lesion is, a finer one where its edge runs.

    Args:
        chosen: of ``looks``, the one to go by.
        looks: answers to the same click, the patches round it.
    """
    extent = lesion_extent(chosen, np.full(3, (chosen.grid.size - 1) / 2))
    if extent is None or any(extent.cut):
        return chosen
    longest = extent.fill * chosen.grid.spacing
    finer = [
        look
        for look in looks
        if look.grid.spacing < chosen.grid.spacing and longest < _FINER_FILL * look.grid.extent
    ]
    return as_large(min(finer, key=lambda look: look.grid.spacing), extent.volume) if finer else chosen


def better_grid(
    grid: PatchGrid, extent: Extent, clicks: Sequence[Point], image: ImageGrid, capabilities: Capabilities
) -> PatchGrid | None:
    """Return the patch that suits the lesion better, or None when ``grid`` does well.

    Coarser when the mask reaches the border or nearly fills the patch, finer when it is small, but no
    finer than the image; round the lesion, and moved so that the clicks stay inside where they can.

    Args:
        grid: the present patch.
        extent: where the lesion lies in it.
        clicks: LPS millimetres of the lesion's clicks.
        image: the image's grid.
        capabilities: the network's.
    """
    n = grid.size
    levels = capabilities.spacings
    finest = min(levels[-1], max(levels[0], 0.99 * min(image.spacing)))
    if any(extent.cut) or extent.fill > 0.85 * n:
        # How far the lesion goes on is unknown; twice as far is a good guess.
        coarser = [level for level in levels if level > 1.01 * grid.spacing]
        if not coarser:
            return None
        spacing = min(coarser, key=lambda level: abs(np.log(level / (2 * grid.spacing))))
    elif extent.fill < _SMALL_FILL * n:
        wanted = max(extent.fill * grid.spacing / (_WANTED_FILL * n), finest)
        spacing = min(levels, key=lambda level: abs(np.log(level / wanted)))
        if spacing > 0.8 * grid.spacing:
            return None
    else:
        return None
    centre = grid.world((extent.low + extent.high) / 2)
    reach = 0.42 * n * spacing  # clicks keep a little distance from the faces
    for click in clicks:
        centre = np.clip(centre, np.asarray(click) - reach, np.asarray(click) + reach)
    x, y, z = (float(v) for v in centre)
    return PatchGrid((x, y, z), spacing, n, grid.axes)


def joint_grid(looks: Sequence[Look], point: Point, capabilities: Capabilities) -> PatchGrid | None:
    """Return a patch that shows a lesion and a point outside its patches, or None when none can.

    Only for a network that may look coarser: the point can then turn out to belong to the lesion.
    """
    corners = [point]
    for look in looks:
        extent = lesion_extent(look)
        if extent is not None:
            box = np.array(np.meshgrid(*zip(extent.low, extent.high, strict=True))).reshape(3, -1).T
            corners.extend((float(x), float(y), float(z)) for x, y, z in look.grid.world(box))
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    wanted = float((high - low).max()) / (0.7 * capabilities.patch_size)
    levels = [s for s in capabilities.spacings if s >= max(wanted, looks[0].grid.spacing)]
    if len(capabilities.spacings) == 1 or not levels:
        return None
    x, y, z = (float(v) for v in (low + high) / 2)
    return PatchGrid((x, y, z), levels[0], capabilities.patch_size, looks[0].grid.axes)


def is_connected(look: Look, points: Sequence[Point]) -> bool:
    """Whether all points (LPS millimetres) lie in, or within two cells of, one part of a look's mask."""
    labels, _ = ndimage.label(ndimage.binary_dilation(look.logits > 0, iterations=1))
    cells = np.floor(look.answer_grid.voxels(np.asarray(points)) + 0.5).astype(int)
    parts = [labels[tuple(slice(max(0, c - 1), c + 2) for c in cell)] for cell in cells]
    common = set(np.unique(parts[0])).intersection(*(np.unique(part) for part in parts[1:]))
    return bool(common - {0})


def next_grids(look: Look, extent: Extent) -> list[PatchGrid]:
    """Return the patches beside a look in which its lesion goes on: one for each face that cuts it."""
    grid = look.grid
    mask = look.logits > 0
    scale = grid.size / mask.shape[0]
    grids = []
    for face, cut in enumerate(extent.cut):
        if not cut:
            continue
        axis, side = face % 3, -1 if face >= 3 else 0
        contact = np.take(mask, side, axis)
        deepest = np.unravel_index(
            int(ndimage.distance_transform_edt(np.pad(contact, 1)).argmax()), np.array(contact.shape) + 2
        )
        cell = np.insert(np.array(deepest, float) - 1, axis, 0 if side == 0 else mask.shape[0] - 1)
        x, y, z = grid.world((cell + 0.5) * scale - 0.5)
        grids.append(PatchGrid((float(x), float(y), float(z)), grid.spacing, grid.size, grid.axes))
    return grids


def transfer_prompt(looks: Sequence[Look], grid: PatchGrid, prompt_size: int) -> FloatArray:
    """Return what earlier looks know, as the mask prompt (m, m, m) of a new patch."""
    target = PatchGrid(grid.centre, grid.extent / prompt_size, prompt_size, grid.axes)
    out = np.full((prompt_size,) * 3, UNKNOWN_LOGIT, np.float32)
    for look in looks:
        sampled = look.logits_in(target)
        out = np.where(np.isnan(sampled), out, sampled)
    return np.clip(out, -10, 10).astype(np.float32)


def mask_prompt(mask: sitk.Image, grid: PatchGrid, prompt_size: int) -> FloatArray:
    """Return a given mask (1 inside, 0 outside) as the mask prompt (m, m, m) of a patch."""
    share = extract_patch(mask, grid)
    means = sitk.BinShrink(sitk.GetImageFromArray(share), (grid.size // prompt_size,) * 3)
    return np.asarray(12 * sitk.GetArrayViewFromImage(means) - 6, np.float32)


def covered(grid: PatchGrid, image: ImageGrid, region: Region) -> NDArray[np.bool_]:
    """Return (k, j, i) of a box of the image, true where the voxel's centre lies within a patch."""
    ones = sitk.Image((1, 1, 1), sitk.sitkUInt8) + 1  # the patch as a single voxel
    ones.SetOrigin(grid.centre)
    ones.SetSpacing((grid.extent,) * 3)
    ones.SetDirection(grid.axes)
    inside = sitk.Resample(ones, image.reference(region), sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return np.asarray(sitk.GetArrayFromImage(inside), dtype=bool)


def fused_mask(looks: Sequence[Look], image: ImageGrid, within: Region) -> tuple[NDArray[np.bool_], Region]:
    """Return the mask of all looks together, on the image's own grid.

    Each look counts by its distance to its own border, so that no seam shows where two patches meet.

    Args:
        looks: looks at one lesion.
        image: the image's grid.
        within: the box to stay in.

    Returns:
        (k, j, i) booleans and the box that they fill: the lesion's, not the patch's.
    """
    region = Region((0, 0, 0), (0, 0, 0))
    for look in looks:
        region = region.union(image.region_of_cells(look.answer_grid, look.logits > 0))
    region = region.intersection(within)
    if region.empty:
        return np.zeros((0, 0, 0), bool), region
    total = np.zeros(tuple(reversed(region.size)), np.float32)
    reference = image.reference(region)
    for look in looks:
        logits = _sample(look.answer_grid.image(look.logits.astype(np.float32)), reference, UNKNOWN_LOGIT)
        if len(looks) == 1:
            return logits > 0, region
        total += logits * _sample(look.answer_grid.image(look.weights()), reference, 0.0)
    return total > 0, region


def joint_logits(looks: Sequence[Look], grid: PatchGrid) -> FloatArray:
    """Return the logits (n, n, n) of all looks together on another cube; "not looked at" beyond them.

    Each look counts by its distance to its own border, as in :func:`fused_mask`.
    """
    total = np.full((grid.size,) * 3, 1e-6 * UNKNOWN_LOGIT, np.float32)
    weight = np.full((grid.size,) * 3, 1e-6, np.float32)
    for look in looks:
        weights = brought_to(grid, look.weights(), look.answer_grid, 0.0)
        total += weights * brought_to(grid, look.logits, look.answer_grid, UNKNOWN_LOGIT)
        weight += weights
    return total / weight


def _sample(image: sitk.Image, reference: sitk.Image, outside: float) -> FloatArray:
    sampled = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, outside, sitk.sitkFloat32)
    array: FloatArray = sitk.GetArrayFromImage(sampled)
    return array
