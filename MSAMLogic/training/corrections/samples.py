"""Recorded corrections as training samples, turned and varied in contrast."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from MSAMLogic.correction import edge_distance
from MSAMLogic.errors import TrainingError
from MSAMLogic.training.corrections.record import RECORD
from MSAMLogic.training.cube_variation import turned, turned_point, varied
from MSAMLogic.training.records import map_records

_NO_ANSWER = 0.03  # share of the samples whose answer says nothing, so that the mask before counts too


class CorrectionSamples(Dataset[dict[str, Tensor]]):
    """Endless samples, addressed by index.

    Args:
        files: recorded sessions, see :mod:`record`.
        seed: of the whole sequence.
        length: nominal number of samples.

    Raises:
        TrainingError: when nothing was recorded, or a file is damaged.
    """

    def __init__(self, files: Sequence[Path], seed: int, length: int) -> None:
        self.sessions = [records for file in files if len(records := map_records(file, RECORD))]
        if not self.sessions:
            raise TrainingError("No session was recorded that has a correction; record more of them.")
        self.seed, self.length = seed, length

    def __len__(self) -> int:
        """Return the nominal number of samples."""
        return self.length

    @property
    def corrections(self) -> int:
        """How many recorded corrections there are."""
        return sum(len(records) for records in self.sessions)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return sample ``index``, see :class:`MSAMLogic.model.corrector.CorrectionTensors`.

        ``patch`` is its image, ``target`` (n, n, n) the share of each cell that is lesion.
        """
        rng = np.random.default_rng((self.seed, 4, index))
        records = self.sessions[rng.integers(len(self.sessions))]
        record = records[rng.integers(len(records))]
        turn = rng.permutation(3)
        flip = rng.random(3) < 0.5
        image, before, answer, truth = (
            turned(np.asarray(record[name], np.float32), turn, flip)
            for name in ("image", "before", "answer", "truth")
        )
        coords = turned_point(record["coords"], image.shape[0], turn, flip)
        if rng.random() < _NO_ANSWER:
            answer = np.full_like(answer, -6.0)
        elif rng.random() < 0.1:
            answer = answer + np.full_like(answer, rng.normal(0, 1.5))
        share = np.asarray(before / 255, np.float32)
        sample = {
            "patch": varied(image, rng),
            "before": share,
            "distance": edge_distance(share),
            "answer": answer,
            "coords": coords,
            "labels": record["labels"].astype(np.int64),
            "depth": np.asarray(record["depth"], np.float32),
            "voxel": record["voxel"][turn],
            "target": truth / 255,
        }
        return {name: torch.from_numpy(np.array(value, order="C")) for name, value in sample.items()}
