"""Training as an experiment's file says."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from MSAMLogic.errors import TrainingError
from MSAMLogic.model import Network
from MSAMLogic.training.experiments.cases import find_cases
from MSAMLogic.training.experiments.config import ExperimentConfig, StepSchedule
from MSAMLogic.training.experiments.network import first_network, parameter_groups, patch_shape
from MSAMLogic.training.experiments.patches import CasePatches
from MSAMLogic.training.recipes.table import recipe_of
from MSAMLogic.training.run import Batch, TrainingRun


class ExperimentRun(TrainingRun):
    """One run of a paper's recipe.

    Args:
        config: the experiment.
        log: called with one line of text now and then.

    Raises:
        TrainingError: when the data set is incomplete or has no training case, or the fields of the file do
            not fit each other.
        WeightsError: when the weights to start from cannot be read.
    """

    config: ExperimentConfig

    def __init__(self, config: ExperimentConfig, log: Callable[[str], None] = print) -> None:
        if config.optimiser is None or config.adaptation == "none":
            raise TrainingError("This experiment trains nothing; run 'msam evaluate' with the same file.")
        self.optimiser = config.optimiser
        self.cases = find_cases(config.dataset, config.split)
        if not self.cases.training:
            raise TrainingError("This experiment has no training case; correct split.")
        self.recipe = recipe_of(config.system, config.clicks)
        self.gradient_clip = self.optimiser.clip
        super().__init__(config, log)

    @property
    def steps_an_epoch(self) -> int:
        """Steps in which every training case is drawn once."""
        return math.ceil(len(self.cases.training) / (self.config.batch_size * self.group.size))

    @property
    def total_steps(self) -> int | None:
        """Steps after which the run ends: those of the epochs, unless fewer are asked for."""
        config = self.config
        of_epochs = None if config.epochs is None else config.epochs * self.steps_an_epoch
        limits = [limit for limit in (config.steps, of_epochs) if limit is not None]
        return min(limits, default=None)

    def _first_network(self) -> Network:
        return first_network(self.config, tuple(self.cases.targets))

    def _new_optimizer(self) -> torch.optim.Optimizer:
        groups = parameter_groups(self.optimiser.rates, self.network)
        own = self.optimiser
        return torch.optim.AdamW(groups, lr=1.0, weight_decay=own.weight_decay, eps=own.epsilon)

    def _samples(self) -> CasePatches:
        config, network = self.config, self.network
        trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
        self.log(
            f"{len(self.cases.training)} training cases, {len(self.cases.test)} kept aside; {trained:,} of "
            f"{sum(p.numel() for p in network.parameters()):,} parameters are trained on {self.device}"
        )
        shape, spacing = patch_shape(network)
        return CasePatches(
            self.cases.training,
            self.cases.targets,
            config.patches,
            shape,
            spacing,
            network.capabilities.intensity,
            not network.capabilities.takes_clicks,
            self.steps_an_epoch * config.batch_size * self.group.size,
            config.seed,
        )

    def _learning_rate(self) -> float:
        schedule, epoch = self.config.schedule, self.progress.step // self.steps_an_epoch
        if schedule is None:
            return 1.0
        if isinstance(schedule, StepSchedule):
            return float(schedule.factor ** bisect_right(schedule.milestones, epoch))
        assert self.config.epochs is not None  # the configuration was checked
        left = max(0.0, 1 - epoch / self.config.epochs)
        return float(schedule.end + (1 - schedule.end) * left**schedule.power)

    def _loss(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        return self.recipe(self.network, batch, rng)
