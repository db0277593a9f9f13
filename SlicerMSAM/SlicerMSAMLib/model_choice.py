"""The models that the panel offers, and loading one with its weights on the worker's thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
        name: in the registry.
        title: for the list.
        details: size and licence, for the line below.
        credits: what it was trained on and what it is meant for, for the tooltip.
    """

    name: str
    title: str
    details: str
    credits: str


def model_choices() -> list[ModelChoice]:
    """Return the registry's models, the default first.

    Raises:
        WeightsError: when the registry is missing or damaged.
    """
    from MSAMLogic import weights

    choices = []
    for entry in weights.models():
        size = _("size unknown") if entry.size_bytes is None else f"{entry.size_bytes / 1e6:.0f} MB"
        parts = [size, entry.licence]
        if not weights.is_available(entry):
            parts.append(_("downloaded at the first click"))
        explanation = "\n\n".join((entry.trained_on, entry.intended_use))
        choices.append(ModelChoice(entry.name, entry.title, " · ".join(parts), explanation))
    return choices


def is_here(name: str) -> bool:
    """Whether a model's weights are on this computer."""
    from MSAMLogic import weights
    from MSAMLogic.errors import MSAMError

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
