"""What the file of an experiment says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from MSAMLogic import weights
from MSAMLogic.errors import TrainingError
from MSAMLogic.training.configuration import RunConfig, read_yaml, validated
from MSAMLogic.training.recipes.table import SYSTEMS

Adaptation = Literal["none", "full", "lora", "lora+mea", "decoder", "adapter"]
Protocol = Literal["patch", "session", "points", "semantic"]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]

_PATHS = {"output", "root", "lists", "sam"}  # relative to the file that holds them
_WHOLE = {"split", "start", "schedule"}  # replaced as a whole, where a file has a base


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetConfig(_Part):
    """A data set on this machine.

    Attributes:
        name: of a table in :mod:`MSAMLogic.training.datasets`; ``cases`` for a folder with a ``cases.tsv``.
        root: its folder.
        channel: which image of a case, for data sets with several.
        targets: what to segment: labels or unions of the table, all labels by default. Systems that take
            clicks have one at a time, others all as classes.
        collection: of a ``cases.tsv`` the cases of this source only.
    """

    name: str
    root: Path
    channel: str | None = None
    targets: tuple[str, ...] = ()
    collection: str | None = None


class SeededSplit(_Part):
    """A share of the patients of the first subset, drawn by a seed.

    Attributes:
        test: share of the patients to test with.
        seed: of the draw.
    """

    test: Share
    seed: int = 0


class OfficialSplit(_Part):
    """Two official subsets.

    Attributes:
        training: name of the one to train with.
        test: name of the one to test with.
    """

    training: str
    test: str


class ListedSplit(_Part):
    """Published lists of cases.

    Attributes:
        lists: a YAML file with the lists ``training`` and ``test``.
    """

    lists: Path


Split = SeededSplit | OfficialSplit | ListedSplit


class SAMStart(_Part):
    """SAM's own published weights as the start.

    Attributes:
        sam: the file, ``sam_vit_b_01ec64.pth``.
    """

    sam: Path


class Turning(_Part):
    """Random changes of where a patch lies, each with its chance.

    Attributes:
        flip: chance for each axis.
        rotate: chance of a rotation about any axis.
        degrees: largest rotation.
        zoom: chance of another size.
        zooms: smallest and largest size.
    """

    flip: Share = 0.0
    rotate: Share = 0.0
    degrees: float = 30.0
    zoom: Share = 0.0
    zooms: tuple[Positive, Positive] = (0.9, 1.1)


class PatchConfig(_Part):
    """Which patches are trained on.

    Attributes:
        centre: ``box`` puts a patch round the target as a whole, ``voxel`` round a voxel.
        foreground: share of the patches round a voxel of the target; the others are round any voxel.
        smallest: patches with fewer voxels of the target are replaced by another case's.
        shift: chance that all values are shifted.
        shifts: largest shift, in deviations.
        turning: how patches are turned.
    """

    centre: Literal["box", "voxel"] = "box"
    foreground: Share = 1.0
    smallest: int = Field(default=0, ge=0)
    shift: Share = 0.0
    shifts: float = Field(default=0.0, ge=0)
    turning: Turning = Turning()


class OptimiserConfig(_Part):
    """AdamW.

    Attributes:
        rates: learning rate of the parameters whose names begin so; the longest beginning counts, and
            ``default`` is for all others.
        weight_decay: of all parameters.
        epsilon: added to the denominator.
        clip: largest norm of the gradients; None leaves them.
    """

    rates: dict[str, Positive] = Field(min_length=1)
    weight_decay: float = Field(default=0.0, ge=0)
    epsilon: Positive = 1e-8
    clip: float | None = Field(default=None, gt=0)


class StepSchedule(_Part):
    """Multiplies the learning rate at some epochs.

    Attributes:
        milestones: the epochs, ascending.
        factor: by what.
    """

    milestones: tuple[int, ...]
    factor: Positive


class PowerSchedule(_Part):
    """Lowers the learning rate with the share of epochs that is left.

    Attributes:
        power: of that share; 1 is a straight line.
        end: share of the learning rate in the end.
    """

    power: Positive
    end: Share = 0.0


class EvaluationConfig(_Part):
    """How the trained network is measured.

    Attributes:
        protocol: ``patch``: clicks in one patch round the target, scored there (M-SAM's release);
            ``session``: clicks into the interactive session, scored in the whole volume (SAM-Med3D);
            ``points``: all points at once (3DSAM-adapter); ``semantic``: windows side by side, no clicks.
        points: numbers of points after which to score; empty for ``semantic``.
        tolerance: millimetres of the surface Dice (NSD).
        dataset: another data set than that of training, for transfer.
        split: that of the other data set.
    """

    protocol: Protocol
    points: tuple[Annotated[int, Field(ge=1)], ...] = ()
    tolerance: Positive = 2.0
    dataset: DatasetConfig | None = None
    split: Split | None = None

    @model_validator(mode="after")
    def _fitting(self) -> EvaluationConfig:
        if (self.protocol == "semantic") == bool(self.points):
            raise ValueError("all protocols but semantic need points")
        if (self.dataset is None) != (self.split is None):
            raise ValueError("another data set needs its split, and a split its data set")
        return self


class ExperimentConfig(RunConfig):
    """What ``msam train`` and ``msam evaluate`` read of an experiment.

    A file may name another as its ``base``, relative to it; mappings are joined, other values replaced.

    Attributes:
        system: one of :data:`MSAMLogic.training.recipes.table.SYSTEMS`.
        adaptation: what is trained. Of the M-SAM family ``lora+mea`` (M-SAM), ``lora`` (without the
            mask-enhanced adapter), ``full`` (SAM-Med3D, everything) or ``none`` (SAM-Med3D as it is); of the
            others ``adapter`` (what the system trains), ``decoder`` (all but the image encoder), ``full`` or
            ``none``.
        start: weights to start from: a name of the registry, a path, or SAM's own; random without it.
        sizes: sizes of the network in place of the published ones.
        dataset: what to train on.
        split: which of its cases are kept aside.
        epochs: times that every training case is drawn.
        clicks: on a patch, for systems that learn click after click.
        patches: which patches are trained on.
        optimiser: how the weights change; not needed where nothing is trained.
        schedule: how the learning rate changes.
        evaluation: how the trained network is measured.
    """

    system: str
    adaptation: Adaptation
    start: str | SAMStart | None = None
    sizes: dict[str, Any] = Field(default={})
    dataset: DatasetConfig
    split: Split
    epochs: int | None = Field(default=None, ge=1)
    clicks: int = Field(default=10, ge=1)
    patches: PatchConfig = PatchConfig()
    optimiser: OptimiserConfig | None = None
    schedule: StepSchedule | PowerSchedule | None = None
    evaluation: EvaluationConfig

    @model_validator(mode="after")
    def _possible(self) -> ExperimentConfig:
        if self.system not in SYSTEMS:
            raise ValueError(f"there is no system '{self.system}'; choose one of {', '.join(SYSTEMS)}")
        if self.adaptation == "none":
            return self
        if self.optimiser is None:
            raise ValueError("an optimiser is needed to train")
        if self.epochs is None and self.steps is None and self.minutes is None:
            raise ValueError("one of epochs, steps and minutes must end the run")
        if isinstance(self.schedule, PowerSchedule) and self.epochs is None:
            raise ValueError("this schedule needs epochs")
        return self

    @classmethod
    def read(cls, path: Path) -> ExperimentConfig:
        """Read a YAML file and what it is based on; paths in each file are relative to its folder.

        Raises:
            TrainingError: when a file is missing or a field is wrong.
        """
        return validated(cls, _joined(path, ()), path)


def is_experiment(path: Path) -> bool:
    """Whether a YAML file is that of an experiment: it names a system, or a base.

    Raises:
        TrainingError: when it cannot be read.
    """
    values = read_yaml(path)
    return isinstance(values, dict) and bool({"system", "base"} & set(values))


def _joined(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """Return the values of a file, joined with those of its base."""
    if path.resolve() in above:
        raise TrainingError(f"{path} is its own base; name another file.")
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise TrainingError(f"{path} is not a training configuration: it holds no fields.")
    base = values.pop("base", None)
    own = _placed(values, path.parent)
    if base is None:
        return own
    return _join(_joined(path.parent / str(base), (*above, path.resolve())), own)


def _join(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    joined = dict(base)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(joined.get(key), dict)
        joined[key] = _join(joined[key], value) if both and key not in _WHOLE else value
    return joined


def _placed(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return values with their relative paths put into a folder."""
    placed: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            placed[key] = _placed(value, folder)
        elif isinstance(value, str) and (
            key in _PATHS or (key == "start" and value.endswith(weights.SUFFIXES))
        ):
            placed[key] = str(folder / value)
        else:
            placed[key] = value
    return placed
