"""Predictors that need no torch and whose answers a test can foresee."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.capabilities import Capabilities, IntensityRange
from MSAMLogic.correcting.correction import Correction
from MSAMLogic.looking.first_looks import FirstLooks
from MSAMLogic.predictor import Answer

FloatArray = NDArray[np.float32]


class ThresholdPredictor:
    """The bright part under the lesion clicks, without a ball round each background click.

    What the mask prompt holds stays, so that a session that forgets the prompt is found out.
    """

    def __init__(self, capabilities: Capabilities | None = None, ball: float = 4.0) -> None:
        self.capabilities = capabilities or Capabilities(32, 16, (1.5,), 1.5, all_clicks=True)
        self.ball = ball
        self.encoded = 0
        self.decoded = 0
        self.seen: list[tuple[FloatArray, NDArray[np.int64]]] = []

    def encode(self, patch: FloatArray) -> Any:
        assert patch.shape == (self.capabilities.patch_size,) * 3
        self.encoded += 1
        return patch

    def decode(
        self, features: Any, coords: FloatArray, labels: NDArray[np.int64], prompt: FloatArray
    ) -> Answer:
        self.decoded += 1
        self.seen.append((coords, labels))
        n, m = self.capabilities.patch_size, self.capabilities.prompt_size
        step = n // m
        previous = prompt.repeat(step, 0).repeat(step, 1).repeat(step, 2) > 0
        components, _ = ndimage.label(features > 0.5 * float(features.max()))
        mask = previous.copy()
        grid = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1)
        for point, label in sorted(zip(coords, labels, strict=True), key=lambda click: -click[1]):
            cell = tuple(np.clip(np.rint(point).astype(int), 0, n - 1))
            if label == 1 and components[cell]:
                mask |= components == components[cell]
            if label == 0:
                mask &= np.linalg.norm(grid - point, axis=-1) > self.ball
        logits = np.where(mask, 5.0, -5.0).astype(np.float32)
        small = logits.reshape(m, step, m, step, m, step).mean(axis=(1, 3, 5))
        return Answer(logits, small, 0.9)


class CorrectingPredictor(ThresholdPredictor):
    """Answers as a threshold does, and corrects by a rule of the test."""

    def __init__(self, rule: Callable[[Correction], FloatArray], capabilities: Capabilities | None = None):
        super().__init__(capabilities or Capabilities(32, 16, (1.5,), 1.5, all_clicks=True, corrects=True))
        self.rule = rule
        self.corrections: list[Correction] = []

    def correct(self, correction: Correction) -> FloatArray:
        self.corrections.append(correction)
        return self.rule(correction)


class FusingPredictor(ThresholdPredictor):
    """Answers as a threshold does, and makes one mask of its first looks by a rule of the test."""

    def __init__(self, rule: Callable[[FirstLooks], FloatArray]) -> None:
        looks = (0.75, 1.5, 3.0)
        super().__init__(
            Capabilities(32, 16, looks, 1.5, all_clicks=True, first_looks=looks, fused_looks=looks)
        )
        self.rule = rule
        self.fusions: list[FirstLooks] = []

    def fuse(self, known: FirstLooks) -> FloatArray:
        self.fusions.append(known)
        return self.rule(known)


def as_before(correction: Correction) -> FloatArray:
    """Leave the mask as it is, and be sure of it."""
    return np.where(correction.before > 0.5, 1.0, -1.0).astype(np.float32)


def obey(correction: Correction, cells: float = 4.0) -> FloatArray:
    """Obey the click within so many cells of it."""
    n = correction.image.shape[0]
    offset = np.stack(np.indices((n, n, n))) - (n - 1) / 2
    near = np.linalg.norm(offset, axis=0) < cells
    sign = 5.0 if correction.labels[-1] else -5.0
    return np.where(near, sign, as_before(correction)).astype(np.float32)


class SignPredictor:
    """Names bright voxels the first class and dark ones the second, as surely as they are bright or dark.

    It looks at each voxel alone and its probabilities are linear in the values, so windows must not matter.
    Scanner values from -100 to 100 become -1 to 1.
    """

    def __init__(
        self,
        patch: tuple[int, int] = (16, 6),
        spacing: tuple[float, float] = (2.0, 3.0),
        intensity: IntensityRange | None = IntensityRange(-100, 100, 0, 100),  # noqa: B008
    ) -> None:
        self.capabilities = Capabilities(
            patch[0],
            patch[0],
            (spacing[0],),
            spacing[0],
            takes_clicks=False,
            background_clicks=False,
            classes=("bright", "dark"),
            intensity=intensity,
            slices=patch[1],
            slice_spacing=spacing[1],
        )
        self.seen: list[FloatArray] = []

    def classify(self, patch: FloatArray) -> FloatArray:
        n, slices = self.capabilities.patch_size, self.capabilities.slices
        assert patch.shape == (n, n, slices)
        self.seen.append(patch)
        bright, dark = np.clip(patch, 0, 1), np.clip(-patch, 0, 1)
        return np.stack((1 - bright - dark, bright, dark)).astype(np.float32)
