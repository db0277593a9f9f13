"""Commands about training: train, carry the data elsewhere, average weights, look at samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from MSAMLogic.errors import TrainingError


def train(
    config: Annotated[
        Path,
        typer.Argument(help="A YAML file: configs/default.yaml, or an experiment of configs/experiments."),
    ],
    minutes: Annotated[
        float | None, typer.Option(help="Wall-clock budget, instead of the file's.", min=0.001)
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Data folder, instead of the file's.")] = None,
    output: Annotated[Path | None, typer.Option(help="Output folder, instead of the file's.")] = None,
) -> None:
    """Train a network, or go on with a run that was stopped."""
    from MSAMLogic.training.corrections.trainer import CorrectorConfig, CorrectorRun
    from MSAMLogic.training.experiments import ExperimentConfig, ExperimentRun, is_experiment
    from MSAMLogic.training.fusions.trainer import FusionConfig, FusionRun
    from MSAMLogic.training.recorded_run import recipe_of
    from MSAMLogic.training.trainer import Trainer, TrainingConfig

    changes = {"minutes": minutes, "data": data, "output": output}
    changes = {name: value for name, value in changes.items() if value is not None}
    if is_experiment(config):
        if data is not None:
            raise TrainingError("The data set of an experiment has a layout of its own; name it in the file.")
        ExperimentRun(ExperimentConfig.read(config).model_copy(update=changes), log=typer.echo).run()
    elif recipe_of(config) == "corrector":
        CorrectorRun(CorrectorConfig.read(config).model_copy(update=changes), log=typer.echo).run()
    elif recipe_of(config) == "look fusion":
        FusionRun(FusionConfig.read(config).model_copy(update=changes), log=typer.echo).run()
    else:
        Trainer(TrainingConfig.read(config).model_copy(update=changes), log=typer.echo).run()
    typer.echo("done")


def pack(
    data: Annotated[Path, typer.Argument(help="A folder with a cases.tsv.")],
    packed: Annotated[Path, typer.Argument(help="The folder to write.")],
    megabytes: Annotated[float, typer.Option(help="The most that it may take.", min=0.01)] = 60.0,
    training_only: Annotated[
        bool, typer.Option("--training-only", help="Without the scans of the patients kept aside.")
    ] = False,
) -> None:
    """Write a data set small enough to be carried to another machine; large scans lose resolution."""
    from MSAMLogic.training.packing import pack as write

    result = write(data, packed, megabytes, typer.echo, training_only)
    typer.echo(f"{packed}: {result.cases} cases, {result.size / 1e6:.1f} MB")


def average(
    weights: Annotated[list[Path], typer.Argument(help="Weights files of networks of the same sizes.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The safetensors file to write.")],
    keep: Annotated[
        list[str] | None, typer.Option(help="A part that stays as in the first file, such as look_fusion.")
    ] = None,
) -> None:
    """Write the mean of the weights of several runs that started from the same ones."""
    from MSAMLogic.training.averaging import average_weights

    average_weights(weights, output, keep or ())
    typer.echo(str(output))


def samples(
    config: Annotated[Path, typer.Argument(help="A YAML file; configs/default.yaml is an example.")],
    output: Annotated[Path, typer.Argument(help="The PNG to write.")],
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.", min=0)] = 0,
    columns: Annotated[int, typer.Option(help="Examples of each generator.", min=1)] = 8,
) -> None:
    """Draw a sheet of training samples: a row for each generator."""
    from MSAMLogic.packages import require

    require("matplotlib", "demo", "The sheet of samples")
    from MSAMLogic.training.cases import read_cases, split_by_patient
    from MSAMLogic.training.gallery import patch_size_of, write_gallery
    from MSAMLogic.training.trainer import TrainingConfig

    read = TrainingConfig.read(config)
    training, _ = split_by_patient(read_cases(read.data))
    write_gallery(training, output, patch_size_of(read), read.patch_spacings, seed, columns)
    typer.echo(str(output))
