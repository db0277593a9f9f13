"""Records as training samples: which of them, and how each is turned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from MSAMLogic.errors import TrainingError
from MSAMLogic.training.records import map_records

Arrays = dict[str, NDArray[np.generic]]


class RecordedSamples(Dataset[dict[str, Tensor]], ABC):
    """Endless samples, addressed by index: a recording by chance, one of its records, turned by chance.

    Args:
        files: recordings, each a file of records, see :mod:`records`.
        seed: of the whole sequence.
        length: nominal number of samples.

    Attributes:
        kind: of the records.
        unit: what was recorded, one at a time.
        stream: a number that no other kind of sample has, so that the same seed draws otherwise.

    Raises:
        TrainingError: when nothing was recorded, or a file is damaged.
    """

    kind: ClassVar[np.dtype[np.void]]
    unit: ClassVar[str]
    stream: ClassVar[int]

    def __init__(self, files: Sequence[Path], seed: int, length: int) -> None:
        self.recordings = [records for file in files if len(records := map_records(file, self.kind))]
        if not self.recordings:
            raise TrainingError(
                f"No {self.unit} was recorded that there is something to learn from; record more."
            )
        self.seed, self.length = seed, length

    def __len__(self) -> int:
        """Return the nominal number of samples."""
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return sample ``index``."""
        rng = np.random.default_rng((self.seed, self.stream, index))
        records = self.recordings[rng.integers(len(self.recordings))]
        record = records[rng.integers(len(records))]
        sample = self._sample(record, rng.permutation(3), rng.random(3) < 0.5, rng)
        return {name: torch.from_numpy(np.array(value, order="C")) for name, value in sample.items()}

    @abstractmethod
    def _sample(
        self, record: np.void, turn: NDArray[np.intp], flip: NDArray[np.bool_], rng: np.random.Generator
    ) -> Arrays:
        """Return a record as a sample, its axes exchanged and some of them reversed, see :func:`turned`."""
