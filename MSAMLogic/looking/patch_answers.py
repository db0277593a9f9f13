"""What a network answers on one image, patch by patch; its encoder runs once a patch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import SimpleITK as sitk

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.errors import ImageError
from MSAMLogic.geometry import ImageGrid, PatchGrid, Point, extract_patch
from MSAMLogic.intensity import Modality, normalise
from MSAMLogic.looking.looks import Look, first_grid, mask_prompt
from MSAMLogic.predictor import FloatArray, Predictor
from MSAMLogic.session_state import Click
from MSAMLogic.voxels import VoxelSet

_KEPT_EMBEDDINGS = 8
_KEPT_PATCHES = 2  # one that is seen not to be empty, and a finer one that is looked at before it


class PatchAnswers:
    """The answers of one network on one image.

    Args:
        predictor: the network.
        image: a scalar volume of three dimensions; it is not copied.
        modality: "CT" clamps to ±1000 HU.
    """

    def __init__(self, predictor: Predictor, image: sitk.Image, modality: Modality) -> None:
        self._predictor, self._image, self._modality = predictor, image, modality
        self.grid = ImageGrid.of(image)
        self._features: OrderedDict[PatchGrid, Any] = OrderedDict()
        self._patches: OrderedDict[PatchGrid, FloatArray] = OrderedDict()

    @property
    def capabilities(self) -> Capabilities:
        """Those of the network."""
        return self._predictor.capabilities

    def answer(self, grid: PatchGrid, clicks: Sequence[Click], prompt: FloatArray) -> Look:
        """Return the network's answer in a patch.

        Args:
            grid: the patch; its axes are those of the arrays.
            clicks: of the lesion, the newest last; those outside the patch are not told, but for the newest.
            prompt: (m, m, m) mask prompt, logits; zeros before the first answer.
        """
        inside = [click for click in clicks if grid.margin(click.point) > 0] or list(clicks[-1:])
        if not self.capabilities.all_clicks:
            inside = inside[-1:]
        coords = grid.voxels(np.array([click.point for click in inside])).astype(np.float32)
        labels = np.array([int(click.positive) for click in inside], np.int64)
        return Look.of(grid, self._predictor.decode(self._encoded(grid), coords, labels, prompt))

    def replayed(self, grid: PatchGrid, clicks: Sequence[Click]) -> Look:
        """Return the answer in a patch to clicks made one after the other, as if it had been the first.

        The network learned from its own answers at one spacing; one brought from another spacing serves
        it less well.
        """
        size = self.capabilities.prompt_size
        look = self.answer(grid, clicks[:1], np.zeros((size,) * 3, np.float32))
        for count in range(2, len(clicks) + 1):
            look = self.answer(grid, clicks[:count], look.prompt.astype(np.float32))
        return look

    def prompt_of(self, mask: VoxelSet, grid: PatchGrid) -> FloatArray:
        """Return a mask as the mask prompt (m, m, m) of a patch."""
        image = self.grid.image(mask.read(mask.region).astype(np.float32), mask.region)
        return mask_prompt(image, grid, self.capabilities.prompt_size)

    def first_grid(self, point: Point) -> PatchGrid:
        """Return the patch of a first look, coarser when there is nothing but one value in it.

        Args:
            point: LPS millimetres of the click.

        Raises:
            ImageError: when there is one value as far as any patch reaches.
        """
        capabilities = self.capabilities
        first = first_grid(point, self.grid, capabilities)
        if first in self._features:
            return first
        for spacing in capabilities.spacings:
            if spacing < first.spacing:
                continue
            grid = replace(first, spacing=spacing)
            if np.ptp(self._patch(grid)):
                return grid
        raise ImageError(
            "The image has one and the same value everywhere round the click; there is nothing to segment. "
            "Click inside the body, or choose another volume."
        )

    def _encoded(self, grid: PatchGrid) -> Any:
        """Return the features of a patch: kept ones, or the encoder's."""
        if grid in self._features:
            self._features.move_to_end(grid)
            return self._features[grid]
        patch = normalise(self._patch(grid), self._modality, self.capabilities.intensity)
        features = self._predictor.encode(patch)
        self._features[grid] = features
        while len(self._features) > _KEPT_EMBEDDINGS:
            self._features.popitem(last=False)
        return features

    def _patch(self, grid: PatchGrid) -> FloatArray:
        """Return the scanner values of a patch; those of the newest are kept for what comes next."""
        if grid not in self._patches:
            capabilities = self.capabilities
            self._patches[grid] = extract_patch(
                self._image, grid, capabilities.outside, antialias=capabilities.antialias
            )
            while len(self._patches) > _KEPT_PATCHES:
                self._patches.popitem(last=False)
        return self._patches[grid]
