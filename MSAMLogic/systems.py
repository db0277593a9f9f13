"""The systems of the papers as ``model_weights/models.json`` lists them: what each takes, and its weights.

A system is what a paper describes; its networks are those that :func:`MSAMLogic.model.build_model` knows.
Weights that are ready to use are models of the same list (:class:`MSAMLogic.weights.ModelEntry`), and
belong to the system that has their architecture. :func:`MSAMLogic.weights.systems` reads the list.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]
Takes = Literal["newest click", "all clicks", "lesion clicks", "no clicks"]

TAKES_IN_WORDS: dict[Takes, str] = {
    "newest click": "takes the newest click and its own last mask",
    "all clicks": "takes all clicks at once",
    "lesion clicks": "takes clicks for the lesion only",
    "no clicks": "takes no clicks: finds lesions and names them",
}


class NetworkEntry(BaseModel):
    """One network of a system.

    Attributes:
        name: as :func:`MSAMLogic.model.build_model` takes it.
        takes: what it is given of the clicks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    takes: Takes


class PublishedFile(BaseModel):
    """Weights that training can start from; they do not segment by themselves, or not with this network.

    Attributes:
        file: its name.
        source: who published it.
        licence: SPDX name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: Text
    source: Text
    licence: Text


class System(BaseModel):
    """One system.

    Attributes:
        title: what the user reads.
        paper: authors, title and where it was published.
        networks: its networks, the published one first.
        starts_from: weights of others that its training can start from.
        to_get_weights: a sentence that says how to get weights that segment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    title: Text
    paper: Text
    networks: Annotated[tuple[NetworkEntry, ...], Field(min_length=1)]
    starts_from: tuple[PublishedFile, ...] = ()
    to_get_weights: Text
