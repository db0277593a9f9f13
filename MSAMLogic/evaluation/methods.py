"""From the options of ``msam evaluate`` to the sessions that it measures, each with a name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from MSAMLogic.evaluation.ablation import without
from MSAMLogic.evaluation.protocol import Session
from MSAMLogic.predictor import Device, Precision, Predictor
from MSAMLogic.session import InteractiveSession


def sessions_to_measure(
    models: Sequence[str],
    ablations: Sequence[str] = (),
    baselines: bool = False,
    device: Device = "auto",
    precision: Precision = "auto",
) -> dict[str, Session]:
    """Return what is to be measured beside each other, by name: models, ablations, classical methods.

    Args:
        models: names of the registry or paths of weights files, at least one.
        ablations: ingredients of the first model to go without, see
            :data:`MSAMLogic.evaluation.ablation.INGREDIENTS`; each gives one more session, and names
            joined by ``+`` leave several out at once.
        baselines: whether the classical methods are measured too.
        device: where the networks run.
        precision: what they are computed in.

    Raises:
        ModelError: when an ingredient is unknown or absent, or the device is not there or does not compute at
            this precision.
        WeightsError: when weights cannot be used.
        PackageError: when a classical method's package is not installed.
    """
    from MSAMLogic.predictor import load_model

    classical: dict[str, Session] = {}
    if baselines:  # first: a missing package should be known before networks are loaded
        from MSAMLogic.evaluation.baselines import classical_sessions

        classical = {**classical_sessions()}
    names = _short_names(list(dict.fromkeys(models)))
    predictors: dict[str, Predictor] = {
        name: load_model(model, device, precision) for model, name in names.items()
    }
    measured: dict[str, Session] = {name: InteractiveSession(p) for name, p in predictors.items()}
    first = next(iter(predictors))
    for ablation in dict.fromkeys(ablations):
        ingredients = [part.strip() for part in ablation.split("+")]
        lessened = without(predictors[first], ingredients)
        measured[f"{first} without {' and '.join(ingredients)}"] = InteractiveSession(lessened)
    return {**measured, **classical}


def _short_names(models: Sequence[str]) -> dict[str, str]:
    """Return a name for each model: file names of paths, as long as they tell the models apart."""
    short = [Path(model).name for model in models]
    return dict(zip(models, short if len(set(short)) == len(short) else models, strict=True))
