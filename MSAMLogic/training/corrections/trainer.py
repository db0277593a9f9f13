"""The recipe of the corrector: record sessions of a trained network, then learn what a reader meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset

from MSAMLogic.model.config import ModelConfig
from MSAMLogic.model.corrector import CorrectionTensors
from MSAMLogic.predictor import Predictor
from MSAMLogic.training.corrections.losses import correction_figures
from MSAMLogic.training.corrections.record import MOST_CLICKS, RECORD
from MSAMLogic.training.corrections.samples import CorrectionSamples
from MSAMLogic.training.corrections.sessions import RecordedSessions
from MSAMLogic.training.recorded_run import RecordedConfig, RecordedRun, Recorder
from MSAMLogic.training.run import ENDLESS, Batch
from MSAMLogic.training.samples import PatchSamples

_WIDTH, _CHANNELS = 16, 20


class CorrectorConfig(RecordedConfig):
    """What ``msam train CONFIG.yaml`` reads where the file says ``recipe: corrector``.

    Attributes:
        recipe: that it is this one.
        sessions: how many sessions are recorded.
        clicks: most clicks a session.
        own: share of the sessions in which the corrector of ``start`` makes the corrections.
        wrong: share of the sessions that go on from a first mask that is far from right.
    """

    recipe: Literal["corrector"]
    sessions: int = Field(default=600, ge=1)
    clicks: int = Field(default=9, ge=2, le=MOST_CLICKS)
    own: float = Field(default=0.0, ge=0, le=1)
    wrong: float = Field(default=0.0, ge=0, le=1)


class CorrectorRun(RecordedRun):
    """One run of the corrector's recipe.

    Args:
        config: what to teach, on what and for how long.
        log: called with one line of text now and then.
    """

    config: CorrectorConfig
    part = "corrector"
    kind = RECORD
    unit = "session"

    @property
    def count(self) -> int:
        """How many sessions are recorded."""
        return self.config.sessions

    def _sizes(self, config: ModelConfig) -> ModelConfig:
        return replace(config, corrector_width=config.corrector_width or _WIDTH, corrector_channels=_CHANNELS)

    @classmethod
    def _recorder(cls, config: CorrectorConfig, predictor: Predictor, samples: PatchSamples) -> Recorder:
        return RecordedSessions(
            predictor,
            samples,
            config.seed,
            config.sessions,
            config.clicks,
            config.shares,
            config.own,
            config.wrong,
        )

    def _samples_of(self, files: Sequence[Path]) -> Dataset[Batch]:
        return CorrectionSamples(files, self.config.seed, ENDLESS)

    def _loss(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        known = CorrectionTensors(
            batch["patch"], *(batch[name] for name in CorrectionTensors._fields if name != "image")
        )
        return correction_figures(self.network.correct(known), known, batch["target"])
