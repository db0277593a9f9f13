"""Recorded first looks as training samples, turned and varied in contrast."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from MSAMLogic.errors import TrainingError
from MSAMLogic.training.cube_variation import turned, turned_point, varied
from MSAMLogic.training.fusions.record import RECORD
from MSAMLogic.training.records import map_records

_MISSING = 0.15  # share of the samples in which one of the looks was not made
_SHIFTED = 0.4  # share in which all answers are a little larger or smaller
_MISTAKEN = 0.15  # share in which another look than the best one was chosen


class FusionSamples(Dataset[dict[str, Tensor]]):
    """Endless samples, addressed by index.

    Args:
        files: recorded first clicks, see :mod:`record`.
        seed: of the whole sequence.
        length: nominal number of samples.

    Raises:
        TrainingError: when nothing was recorded, or a file is damaged.
    """

    def __init__(self, files: Sequence[Path], seed: int, length: int) -> None:
        self.clicks = [records for file in files if len(records := map_records(file, RECORD))]
        if not self.clicks:
            raise TrainingError("No first click was recorded; record more of them.")
        self.seed, self.length = seed, length

    def __len__(self) -> int:
        """Return the nominal number of samples."""
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return sample ``index``, see :class:`MSAMLogic.model.look_fusion.FirstLookTensors`.

        ``patch`` is its image, ``target`` (n, n, n) the share of each cell that is lesion.
        """
        rng = np.random.default_rng((self.seed, 7, index))
        records = self.clicks[rng.integers(len(self.clicks))]
        record = records[rng.integers(len(records))]
        turn = rng.permutation(3)
        flip = rng.random(3) < 0.5
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
        sample = {
            "patch": varied(image, rng),
            "chosen": chosen,
            "answers": answers,
            "click": turned_point(record["click"], image.shape[0], turn, flip),
            "voxel": record["voxel"][turn],
            "target": truth / 255,
        }
        return {name: torch.from_numpy(np.array(value, order="C")) for name, value in sample.items()}
