"""Configurations of a training run: the fields that all have, and reading them from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from MSAMLogic.errors import TrainingError

Model = TypeVar("Model", bound=BaseModel)


class RunConfig(BaseModel):
    """How a run goes, whatever it trains.

    Attributes:
        output: folder for checkpoints, log and weights; relative to the configuration file.
        minutes: wall-clock budget over all resumed runs; none without it.
        steps: most steps over all resumed runs. With it, and time enough, a run can be repeated to the bit
            on the same machine.
        batch_size: patches a step and process.
        mixed_precision: compute in bfloat16 where that is safe, on a device that has instructions for it.
        average: decay of the moving average of the weights, which is what is saved; 0 saves the weights
            themselves.
        seed: of weights, samples and clicks.
        workers: processes that prepare samples.
        threads: of torch; 0 leaves the default.
        checkpoint_minutes: between checkpoints.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    output: Path
    minutes: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=1, ge=1)
    mixed_precision: bool = True
    average: float = Field(default=0.0, ge=0, lt=1)
    seed: int = 0
    workers: int = Field(default=1, ge=0)
    threads: int = Field(default=0, ge=0)
    checkpoint_minutes: float = Field(default=4, gt=0)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        TrainingError: when it is missing or no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise TrainingError(f"{path} is not a training configuration: {one_line(error)}.") from error


def validated(model: type[Model], values: Any, path: Path) -> Model:
    """Return the values of a file as a configuration.

    Raises:
        TrainingError: when a field is wrong; the message names it.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise TrainingError(f"{path} is not a training configuration ({wrong}).") from error


def one_line(error: Exception) -> str:
    """Return the first line of an error's message, not too long to be read."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
