"""The papers' experiments: a file names system, data set, split and recipe, to train and to evaluate."""

from MSAMLogic.training.experiments.config import ExperimentConfig, is_experiment
from MSAMLogic.training.experiments.training import ExperimentRun

__all__ = ["ExperimentConfig", "ExperimentRun", "is_experiment"]
