"""What is remembered about a weights file ("pinned"), so that another file in its place is refused.

A file is checked against the SHA256 of the list. Where the list has none, the hash that the server announces
counts, or else the hash of what arrived.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from MSAMLogic.errors import WeightsError
from MSAMLogic.files import atomic_path
from MSAMLogic.weights.places import REGISTRY_FILE, cache_folder, is_bundled
from MSAMLogic.weights.registry import ModelEntry, Sha256


class Pin(BaseModel):
    """What is remembered about a fetched file.

    Attributes:
        sha256: hexadecimal hash that the file has to have.
        source: who said so: the list, the server, or the file itself when it first arrived.
        size_bytes: size of the file when it last passed the check.
        mtime_ns: time of its last change then, in nanoseconds. While size and time are the same the file
            is not hashed again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: Sha256
    source: Literal["models.json", "server", "first use"]
    size_bytes: int
    mtime_ns: int


def pin_path_of(path: Path) -> Path:
    """Return where the pin of a weights file lies: beside it, or in the user's cache."""
    beside = cache_folder() / path.name if is_bundled(path) else path
    return beside.with_name(beside.name + ".pin.json")


def read_pin(pin_path: Path) -> Pin | None:
    """Return a pin, or None where there is none yet.

    Raises:
        WeightsError: when it is damaged.
    """
    try:
        return Pin.model_validate_json(pin_path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        # To go on would trust any file, so the user decides.
        raise WeightsError(
            f"{pin_path}, which remembers the hash of the weights beside it, cannot be read. Delete it and "
            "the weights, then fetch them again."
        ) from error


def write_pin(path: Path, pin: Pin) -> None:
    """Remember a pin.

    Raises:
        OSError: when it cannot be written.
    """
    with atomic_path(path) as partial:
        partial.write_text(pin.model_dump_json(indent=2), encoding="utf-8")


def expected_hash(
    entry: ModelEntry, pin: Pin | None, announced: str | None
) -> tuple[str | None, Literal["models.json", "server", "first use"]]:
    """Return the hash that the file has to have, and who says so."""
    if entry.sha256 is not None:
        return entry.sha256, "models.json"
    if pin is not None:
        return pin.sha256, pin.source
    if announced is not None:
        return announced, "server"
    return None, "first use"


def difference(entry: ModelEntry, pin: Pin | None, actual: str, expected: str, pin_path: Path) -> str:
    """Return in a sentence how a hash differs from the one that was expected, and who expected it."""
    if entry.sha256 is not None:
        return f"its SHA256 is {actual}, but {REGISTRY_FILE} says {expected}."
    if pin is None:
        return f"its SHA256 is {actual}, but the server announced {expected}."
    return (
        f"its SHA256 is {actual}, but {expected} was remembered on first use. If its authors have published "
        f"a new version that you trust, delete {pin_path}."
    )
