"""Recorded corrections as training samples, turned and varied in contrast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.mask_in_cube import edge_distance
from MSAMLogic.training.corrections.record import RECORD
from MSAMLogic.training.cube_variation import turned, turned_point, varied
from MSAMLogic.training.recorded_samples import Arrays, RecordedSamples

_NO_ANSWER = 0.03  # share of the samples whose answer says nothing, so that the mask before counts too


class CorrectionSamples(RecordedSamples):
    """Samples as :class:`MSAMLogic.model.corrector.CorrectionTensors` names them.

    ``patch`` is the image, ``target`` (n, n, n) the share of each cell that is lesion.
    """

    kind = RECORD
    unit = "session"
    stream = 4

    def _sample(
        self, record: np.void, turn: NDArray[np.intp], flip: NDArray[np.bool_], rng: np.random.Generator
    ) -> Arrays:
        image, before, answer, truth = (
            turned(np.asarray(record[name], np.float32), turn, flip)
            for name in ("image", "before", "answer", "truth")
        )
        if rng.random() < _NO_ANSWER:
            answer = np.full_like(answer, -6.0)
        elif rng.random() < 0.1:
            answer = answer + np.full_like(answer, rng.normal(0, 1.5))
        share = np.asarray(before / 255, np.float32)
        return {
            "patch": varied(image, rng),
            "before": share,
            "distance": edge_distance(share),
            "answer": answer,
            "coords": turned_point(record["coords"], image.shape[0], turn, flip),
            "labels": record["labels"].astype(np.int64),
            "depth": np.asarray(record["depth"], np.float32),
            "voxel": record["voxel"][turn],
            "target": truth / 255,
        }
