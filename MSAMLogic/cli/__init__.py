"""The command ``msam``: segment a scan by clicks, export masks, list and fetch models, train, evaluate.

Its commands import what they need when they run, so that ``msam --help`` is quick and needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable

from MSAMLogic.cli import evaluation, masks, models, training
from MSAMLogic.cli.application import app, reports_errors
from MSAMLogic.cli.masks import parse_click

__all__ = ["app", "parse_click"]

# In the order in which the help lists them.
_COMMANDS: dict[str, Callable[..., None]] = {
    "segment": masks.segment,
    "propose": masks.propose,
    "export": masks.export,
    "series": masks.list_series,
    "models": models.models,
    "download": models.download,
    "train": training.train,
    "pack": training.pack,
    "average": training.average,
    "samples": training.samples,
    "evaluate": evaluation.evaluate,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(reports_errors(_command))
