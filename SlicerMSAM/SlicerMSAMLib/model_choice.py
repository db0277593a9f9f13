"""The models that the panel offers, and loading one with its weights on the worker's thread.

A model is a name of the registry, or the path of a weights file of the user's own. Those files are kept in
Slicer's settings, so that they are offered again in the next scene.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import slicer
from slicer.i18n import tr as _

from SlicerMSAMLib.inference_worker import Job


@dataclass(frozen=True)
class Progress:
    """How far a long task is.

    Attributes:
        text: what is being done.
        share: 0 to 1, or None when unknown.
    """

    text: str
    share: float | None = None


@dataclass(frozen=True)
class ModelChoice:
    """One entry of the model list.

    Attributes:
        name: in the registry, or the path of a file.
        title: for the list.
        details: size and licence, for the line below.
        credits: what it was trained on and what it is meant for, for the tooltip.
    """

    name: str
    title: str
    details: str
    credits: str


def model_choices(takes_clicks: bool = True) -> list[ModelChoice]:
    """Return the registry's models of one kind, the default first.

    Args:
        takes_clicks: those that segment what is clicked, or those that name what they find.

    Raises:
        WeightsError: when the registry is missing or damaged.
    """
    from MSAMLogic import weights

    without_clicks = {
        network.name
        for system in weights.systems()
        for network in system.networks
        if network.takes == "no clicks"
    }
    choices = []
    for entry in weights.models():
        if takes_clicks is (entry.architecture in without_clicks):
            continue
        size = _("size unknown") if entry.size_bytes is None else f"{entry.size_bytes / 1e6:.0f} MB"
        parts = [size, entry.licence]
        if not weights.is_available(entry):
            parts.append(_("downloaded at the first click"))
        explanation = "\n\n".join((entry.trained_on, entry.intended_use))
        choices.append(ModelChoice(entry.name, entry.title, " · ".join(parts), explanation))
    return choices


def is_own_file(name: str) -> bool:
    """Whether a model's name is the path of a file: dialogs give whole paths, in any system's writing."""
    return PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()


def short_name(name: str) -> str:
    """Return a model's name without the folders of a path."""
    return PureWindowsPath(name).stem if is_own_file(name) else name  # it knows both separators


def own_file(path: str) -> ModelChoice:
    """Return the list's entry of a weights file of the user's own, whether it is there or not."""
    file = Path(path)
    if file.is_file():
        details = _("{size} MB · your own file").format(size=f"{file.stat().st_size / 1e6:.0f}")
    else:
        details = _("the file is missing")
    return ModelChoice(path, short_name(path), details, path)


def kept_files(setting: str) -> list[str]:
    """Return the paths that :func:`keep_files` kept and that are still there."""
    try:
        paths = json.loads(str(slicer.app.userSettings().value(setting, "")))
    except ValueError:
        return []
    return [path for path in paths if isinstance(path, str) and Path(path).is_file()]


def keep_files(setting: str, paths: Sequence[str]) -> None:
    """Keep paths in Slicer's settings."""
    slicer.app.userSettings().setValue(setting, json.dumps(list(paths)))


def is_here(name: str) -> bool:
    """Whether a model's weights are on this computer."""
    from MSAMLogic import weights
    from MSAMLogic.errors import MSAMError

    if is_own_file(name):
        return Path(name).is_file()
    try:
        return weights.is_available(weights.find_model(name))
    except MSAMError:
        return False


def load_predictor(name: str, job: Job) -> Any:
    """Return a model with its weights, downloaded when they are missing; on the worker's thread.

    Raises:
        MSAMError: when the weights cannot be fetched or read, or PyTorch is missing.
    """
    from MSAMLogic import load_model, weights

    if is_own_file(name):
        job.report(Progress(_("Loading {title}").format(title=short_name(name))))
        return load_model(name)
    entry = weights.find_model(name)
    if not weights.is_available(entry):

        def tell(here: int, whole: int | None) -> None:
            share = here / whole if whole else None
            job.report(Progress(_("Downloading {title}").format(title=entry.title), share))

        weights.download(entry, progress=tell, cancelled=lambda: job.is_cancelled)
    job.report(Progress(_("Loading {title}").format(title=entry.title)))
    return load_model(name)


def device_text(predictor: Any) -> str:
    """Return where a model runs, in words."""
    names = {"cuda": _("NVIDIA GPU"), "mps": _("Apple GPU"), "cpu": _("processor")}
    kind = getattr(getattr(predictor, "device", None), "type", "cpu")
    return names.get(kind, kind)
