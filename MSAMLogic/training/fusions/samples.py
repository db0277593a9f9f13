"""Recorded first looks as training samples, turned and varied in contrast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.training.cube_variation import turned, turned_point, varied
from MSAMLogic.training.fusions.record import RECORD
from MSAMLogic.training.recorded_samples import Arrays, RecordedSamples

_MISSING = 0.15  # share of the samples in which one of the looks was not made
_SHIFTED = 0.4  # share in which all answers are a little larger or smaller
_MISTAKEN = 0.15  # share in which another look than the best one was chosen


class FusionSamples(RecordedSamples):
    """Samples as :class:`MSAMLogic.model.look_fusion.FirstLookTensors` names them.

    ``patch`` is the image, ``target`` (n, n, n) the share of each cell that is lesion.
    """

    kind = RECORD
    unit = "first click"
    stream = 7

    def _sample(
        self, record: np.void, turn: NDArray[np.intp], flip: NDArray[np.bool_], rng: np.random.Generator
    ) -> Arrays:
        image, chosen, truth = (
            turned(np.asarray(record[name], np.float32), turn, flip) for name in ("image", "chosen", "truth")
        )
        answers = np.stack([turned(np.asarray(a, np.float32), turn, flip) for a in record["answers"]])
        if rng.random() < _MISSING:
            answers[rng.integers(len(answers))] = np.nan
        if rng.random() < _MISTAKEN:
            other = answers[rng.integers(len(answers))]
            chosen = chosen if np.isnan(other).all() else other
        if rng.random() < _SHIFTED:
            shift = np.float32(rng.normal(0, 1))
            chosen, answers = chosen + shift, answers + shift
        return {
            "patch": varied(image, rng),
            "chosen": chosen,
            "answers": answers,
            "click": turned_point(record["click"], image.shape[0], turn, flip),
            "voxel": record["voxel"][turn],
            "target": truth / 255,
        }
