"""The recipe of the look fusion: record first looks of a trained network, then learn what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset

from MSAMLogic.model.config import ModelConfig
from MSAMLogic.model.look_fusion import FirstLookTensors
from MSAMLogic.predictor import Predictor
from MSAMLogic.training.fusions.first_clicks import FirstClicks
from MSAMLogic.training.fusions.losses import fusion_figures
from MSAMLogic.training.fusions.record import RECORD
from MSAMLogic.training.fusions.samples import FusionSamples
from MSAMLogic.training.recorded_run import RecordedConfig, RecordedRun, Recorder
from MSAMLogic.training.run import ENDLESS, Batch
from MSAMLogic.training.samples import PatchSamples

_WIDTH = 16


class FusionConfig(RecordedConfig):
    """What ``msam train CONFIG.yaml`` reads where the file says ``recipe: look fusion``.

    Attributes:
        recipe: that it is this one.
        first_clicks: how many first clicks are recorded.
        drawn_again: share of the steps in which what the fusion itself draws takes the place of the chosen
            look: a session lets it draw twice, the second time on what it drew
            (:class:`MSAMLogic.looking.mask_fusion.MaskFusion`).
    """

    recipe: Literal["look fusion"]
    first_clicks: int = Field(default=3000, ge=1)
    drawn_again: float = Field(default=0.0, ge=0, le=1)


class FusionRun(RecordedRun):
    """One run of the look fusion's recipe.

    Args:
        config: what to teach, on what and for how long.
        log: called with one line of text now and then.
    """

    config: FusionConfig
    part = "look_fusion"
    kind = RECORD
    unit = "first click"
    made_up_size = 96  # the coarsest of the first looks should see more than the end of the scan

    @property
    def count(self) -> int:
        """How many first clicks are recorded."""
        return self.config.first_clicks

    def _sizes(self, config: ModelConfig) -> ModelConfig:
        return replace(config, fusion_width=config.fusion_width or _WIDTH)

    @classmethod
    def _recorder(cls, config: FusionConfig, predictor: Predictor, samples: PatchSamples) -> Recorder:
        return FirstClicks(predictor, samples, config.seed, config.first_clicks, config.shares)

    def _samples_of(self, files: Sequence[Path]) -> Dataset[Batch]:
        return FusionSamples(files, self.config.seed, ENDLESS)

    def _loss(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        known = FirstLookTensors(
            batch["patch"], *(batch[name] for name in FirstLookTensors._fields if name != "image")
        )
        if rng.random() < self.config.drawn_again:
            with torch.no_grad():
                known = known._replace(chosen=self.network.fuse(known).float())
        return fusion_figures(self.network.fuse(known), known, batch["target"])
