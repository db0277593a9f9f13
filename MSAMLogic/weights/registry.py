"""The list of models, ``models.json``, and the systems that they belong to."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from MSAMLogic.errors import WeightsError
from MSAMLogic.systems import System, Text
from MSAMLogic.weights.places import REGISTRY_FILE, registry_folder

_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ModelEntry(BaseModel):
    """One model of ``models.json``.

    Attributes:
        name: what the user types, for example ``"sam-med3d-turbo"``.
        title: what the user reads.
        architecture: a key of :data:`MSAMLogic.model.config.CONFIGURATIONS`.
        file: name of the weights file, without folder.
        url: where to fetch it; ``None`` when it comes with the software.
        sha256: hexadecimal hash of the file; ``None`` when it is pinned on first use.
        size_bytes: size of the file in bytes; ``None`` when unknown.
        licence: SPDX name of the weights' licence.
        attributions: the credits that the licences of weights and training data ask for.
        trained_on: what the weights were trained on.
        intended_use: what the weights are meant for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    title: Text
    architecture: Text
    # A bare name, so that no list can make the software write or read outside the weights' folders.
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.(safetensors|pth|pt)$")]
    url: Annotated[str, Field(pattern=r"^https?://[^/\s]+/\S*$")] | None
    sha256: Sha256 | None
    size_bytes: Annotated[int, Field(gt=0)] | None
    licence: Text
    attributions: tuple[Text, ...] = ()
    trained_on: Text
    intended_use: Text

    @model_validator(mode="after")
    def _check_url(self) -> ModelEntry:
        if self.url is not None and self.sha256 is None:
            parts = urlsplit(self.url)
            if parts.scheme != "https" and parts.hostname not in _LOCAL_HOSTS:
                raise ValueError(
                    "a url without https needs a sha256, or anybody on the way can replace the file"
                )
        return self


class _Registry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    models: tuple[ModelEntry, ...]
    systems: tuple[System, ...] = ()

    @model_validator(mode="after")
    def _check_unique(self) -> _Registry:
        for field in ("name", "file"):
            self._require_unique(f"model has the {field}", [getattr(entry, field) for entry in self.models])
        networks = [network.name for system in self.systems for network in system.networks]
        self._require_unique("system has the network", networks)
        return self

    @staticmethod
    def _require_unique(what: str, values: list[str]) -> None:
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"more than one {what} {', '.join(twice)}")


def models() -> tuple[ModelEntry, ...]:
    """Return the models of ``models.json``, in its order.

    Raises:
        WeightsError: when the list is missing, or has an entry that cannot be used.
    """
    return _registry().models


def systems() -> tuple[System, ...]:
    """Return the systems of ``models.json``, in its order; none where a list of one's own has none.

    Raises:
        WeightsError: when the list is missing, or has an entry that cannot be used.
    """
    return _registry().systems


def _registry() -> _Registry:
    path = registry_folder() / REGISTRY_FILE
    try:
        return _Registry.model_validate_json(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    except ValidationError as error:
        raise WeightsError(
            f"{path} cannot be used: {_problems(error)}. Correct it, or install SlicerMSAM again."
        ) from error


def find_model(name: str) -> ModelEntry:
    """Return the model called ``name``.

    Raises:
        WeightsError: when ``models.json`` has none of that name, or cannot be used. Where ``name`` is a
            network of a system, the message says how to get weights for it.
    """
    registry = _registry()
    for entry in registry.models:
        if entry.name == name:
            return entry
    for system in registry.systems:
        if name in {network.name for network in system.networks}:
            raise WeightsError(
                f"'{name}' is a network of {system.title}, not a model with weights. {system.to_get_weights}"
            )
    known = ", ".join(entry.name for entry in registry.models) or "none"
    raise WeightsError(
        f"There is no model '{name}'; the known ones are: {known}. A weights file of your own is given by "
        "its path."
    )


def _problems(error: ValidationError) -> str:
    shown = []
    for problem in error.errors(include_url=False)[:3]:
        place = ".".join(str(part) for part in problem["loc"])
        shown.append(f"{place}: {problem['msg']}" if place else problem["msg"])
    return "; ".join(shown)
