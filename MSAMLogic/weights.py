"""Weights files: which there are, where they lie, and fetching and checking them.

``model_weights/models.json`` lists them, and the systems that they belong to. A model without ``url``
comes with the software and lies beside that list; one with ``url`` is fetched into the user's cache folder
when the user asks for it.

What is fetched is checked against the SHA256 of the list. Where the list has none, the hash that the
server announces counts, or else the hash of what arrived; it is remembered ("pinned") beside the file,
and from then on a file with other contents is refused. Importing this module does not import torch.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from MSAMLogic.errors import DownloadError, WeightsError
from MSAMLogic.file_lock import locked
from MSAMLogic.files import atomic_path, sync_folder
from MSAMLogic.partial_download import (
    Progress,
    announced_file,
    discard_partial,
    network_problem,
    open_rest,
    partial_path,
    receive,
    record_path,
    start_partial,
    status_help,
    whole_size,
)
from MSAMLogic.systems import System, Text
from MSAMLogic.weights_reading import SUFFIXES, load_metadata, load_state

# How a file is read stands in weights_reading.py; to callers it is one thing.
__all__ = [
    "REGISTRY_FILE",
    "SUFFIXES",
    "DownloadCancelled",
    "Downloaded",
    "ModelEntry",
    "Pin",
    "Progress",
    "cache_folder",
    "delete_download",
    "download",
    "downloads",
    "ensure_available",
    "file_sha256",
    "find_model",
    "is_available",
    "load_metadata",
    "load_state",
    "models",
    "pinned",
    "registry_folder",
    "systems",
    "verify",
    "weights_path",
]

LOGGER = logging.getLogger(__name__)

REGISTRY_FILE = "models.json"

_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class DownloadCancelled(DownloadError):
    """The user stopped a download; what had arrived is kept for the next one."""


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


class Downloaded(NamedTuple):
    """What a download left on the disk.

    Attributes:
        entry: the model.
        path: the weights file, or the partial one.
        size_bytes: what it takes on the disk.
        complete: whether the weights can be used; ``False`` while a part is missing.
    """

    entry: ModelEntry
    path: Path
    size_bytes: int
    complete: bool


def cache_folder() -> Path:
    """Return the user's folder for downloads, by ``MSAM_CACHE`` or the platform's convention.

    The folder need not exist yet.
    """
    chosen = os.environ.get("MSAM_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "msam"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "msam"
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The convention says to ignore a relative path.
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "msam"


def registry_folder() -> Path:
    """Return the folder of ``models.json`` and the weights that come with the software.

    It is ``MSAM_MODEL_WEIGHTS`` where that is set, else ``model_weights`` beside the package (a clone, a
    Slicer extension), else ``model_weights`` inside the package (an installed wheel).

    Raises:
        WeightsError: when there is no ``models.json``.
    """
    candidates = _registry_candidates()
    for folder in candidates:
        if (folder / REGISTRY_FILE).is_file():
            return folder
    places = " or ".join(str(folder / REGISTRY_FILE) for folder in candidates)
    raise WeightsError(
        f"The list of models is missing: there is no {places}. Install SlicerMSAM again, or set "
        f"MSAM_MODEL_WEIGHTS to the folder that has {REGISTRY_FILE}."
    )


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


def weights_path(entry: ModelEntry, folder: Path | None = None) -> Path:
    """Return where the weights of ``entry`` lie, or will lie once they are fetched.

    Args:
        entry: the model.
        folder: folder to use in place of the usual ones.

    Raises:
        WeightsError: when there is no ``models.json``.
    """
    if folder is not None:
        return Path(folder) / entry.file
    # A file laid beside the list by hand counts as well, for computers without a network.
    bundled = registry_folder() / entry.file
    return bundled if entry.url is None or bundled.is_file() else cache_folder() / entry.file


def is_available(entry: ModelEntry, folder: Path | None = None) -> bool:
    """Return whether the weights of ``entry`` are on this computer; they are not checked.

    Args:
        entry: the model.
        folder: folder to use in place of the usual ones.

    Raises:
        WeightsError: when there is no ``models.json``.
    """
    return weights_path(entry, folder).is_file()


def ensure_available(entry: ModelEntry, folder: Path | None = None) -> Path:
    """Return the checked weights file of ``entry``, without using the network.

    Args:
        entry: the model.
        folder: folder to use in place of the usual ones.

    Raises:
        WeightsError: when the file is not here, saying how to fetch it, or fails its check.
    """
    path = weights_path(entry, folder)
    if not path.is_file():
        if entry.url is None:
            raise WeightsError(f"{path}, which comes with SlicerMSAM, is missing. Install SlicerMSAM again.")
        raise WeightsError(
            f"The weights of '{entry.name}' are not on this computer. Run `msam download {entry.name}`. "
            f"{_by_hand(entry, path)}"
        )
    verify(entry, path)
    return path


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA256 of a file.

    Raises:
        WeightsError: when the file cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error


def pinned(entry: ModelEntry, folder: Path | None = None) -> Pin | None:
    """Return what is remembered about the file of ``entry``; ``None`` before its first use.

    Args:
        entry: the model.
        folder: folder to use in place of the usual ones.

    Raises:
        WeightsError: when the memory is damaged.
    """
    return _read_pin(_pin_path(weights_path(entry, folder)))


def verify(entry: ModelEntry, path: Path) -> None:
    """Check that ``path`` is the file that ``entry`` means.

    A file outside the folder of ``models.json`` is hashed only when it changed since its last check. One
    whose hash nobody has said yet is pinned as it is.

    Args:
        entry: the model.
        path: the weights file.

    Raises:
        WeightsError: when the file is missing, or has another size or hash than the list or pin says.
    """
    if entry.url is None:
        again = "Install SlicerMSAM again."
    elif _is_bundled(path):  # put there by hand; a download does not touch it
        again = f"Delete it, then run `msam download {entry.name}`."
    else:
        again = f"Run `msam download {entry.name}` to fetch it again."
    try:
        status = path.stat()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}. {again}") from error
    if entry.size_bytes is not None and status.st_size != entry.size_bytes:
        raise WeightsError(
            f"{path} has {status.st_size} bytes, but '{entry.name}' has {entry.size_bytes}: the file is "
            f"damaged or another one. {again}"
        )
    if entry.url is None and entry.sha256 is None:
        LOGGER.warning(
            "%s lists no SHA256 of '%s', so its contents are not checked", REGISTRY_FILE, entry.name
        )
        return
    # Files that come with the software are small, and their folder may be write-protected or under
    # version control: nothing is remembered about them.
    remembers = entry.sha256 is None or not _is_bundled(path)
    pin_path = _pin_path(path)
    pin = _read_pin(pin_path) if remembers else None
    expected, source = _expected(entry, pin, None)
    seen = (expected, status.st_size, status.st_mtime_ns)
    if pin is not None and seen == (pin.sha256, pin.size_bytes, pin.mtime_ns):
        return
    actual = file_sha256(path)
    if expected is not None and actual != expected:
        raise WeightsError(
            f"{path} is refused: {_difference(entry, pin, actual, expected, pin_path)} {again}"
        )
    if remembers:
        if expected is None:
            LOGGER.warning(
                "No SHA256 is known for '%s'; remembering that of %s: %s", entry.name, path, actual
            )
        pin = Pin(sha256=actual, source=source, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
        try:
            _write_pin(pin_path, pin)
        except OSError as error:
            LOGGER.warning("The check of %s cannot be remembered in %s: %s", path, pin_path, error.strerror)


def download(
    entry: ModelEntry,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    proxies: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Path:
    """Fetch the weights of ``entry`` and check them; a file that is here and intact is not fetched again.

    What arrives is kept in ``FILE.partial`` until it is complete, so a download that was stopped goes on
    where it ended. The weights file itself appears only once its hash is right.

    Args:
        entry: a model that has a ``url``.
        progress: called after every piece, with counts in bytes that never fall.
        cancelled: asked between pieces; ``True`` stops the download.
        proxies: scheme (``"https"``) to proxy URL; without it the environment (``HTTPS_PROXY``) decides.
        folder: where to put the file in place of the user's cache folder.

    Returns:
        Path of the weights file. :func:`pinned` says where its hash came from.

    Raises:
        DownloadCancelled: when ``cancelled`` said so.
        DownloadError: when the file cannot be fetched or written, or is another than expected.
        WeightsError: when the model has no ``url``, or its pin is damaged.
    """
    path = weights_path(entry, folder)
    if entry.url is None or (_is_bundled(path) and path.is_file()):
        return ensure_available(entry, folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path, lambda: _stop_if(cancelled, entry)):
            if path.is_file():
                try:
                    verify(entry, path)
                except WeightsError as error:
                    LOGGER.warning("Fetching '%s' again. %s", entry.name, error)
                else:
                    return path
            _fetch(entry, entry.url, path, progress, cancelled, proxies)
    except requests.RequestException as error:
        raise DownloadError(
            f"'{entry.name}' could not be fetched: {network_problem(error)} What has arrived is kept; run "
            f"`msam download {entry.name}` again to continue. {_by_hand(entry, path)}"
        ) from error
    except OSError as error:
        raise DownloadError(
            f"'{entry.name}' could not be written to {path}: {error.strerror or type(error).__name__}. Free "
            "some disk space or set MSAM_CACHE to a folder that you can write to; then try again."
        ) from error
    return path


def downloads(folder: Path | None = None) -> tuple[Downloaded, ...]:
    """Return what downloads have left on the disk, complete or not, in the order of ``models.json``.

    Args:
        folder: folder to look into in place of the user's cache folder.

    Raises:
        WeightsError: when ``models.json`` is missing or cannot be used.
    """
    found = []
    for entry in models():
        path = _download_path(entry, folder)
        for candidate, complete in ((path, True), (partial_path(path), False)):
            if entry.url is not None and candidate.is_file():
                found.append(Downloaded(entry, candidate, candidate.stat().st_size, complete))
    return tuple(found)


def delete_download(entry: ModelEntry, folder: Path | None = None, forget_pin: bool = False) -> bool:
    """Delete what downloads of ``entry`` left on the disk; never what came with the software.

    Args:
        entry: the model.
        folder: folder to use in place of the user's cache folder.
        forget_pin: also forget the hash, so that the next download may bring another file. Without it
            the hash stays, and the next download has to bring the same file.

    Returns:
        Whether there was anything to delete.

    Raises:
        WeightsError: when a download is under way or the file cannot be deleted, for example because a
            program on Windows has it open.
    """
    path = _download_path(entry, folder)
    if entry.url is None or not path.parent.is_dir():
        return False

    def refuse() -> None:
        raise WeightsError(
            f"'{entry.name}' is being downloaded at the moment. Stop that first, then delete it."
        )

    deleted = False
    try:
        with locked(path, refuse):
            unwanted = [path, partial_path(path), record_path(path)]
            for each in unwanted + ([_pin_path(path)] if forget_pin else []):
                if each.is_file():
                    each.unlink()
                    deleted = True
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be deleted: {error.strerror}. Close the programs that use it and try again."
        ) from error
    return deleted


def _registry_candidates() -> list[Path]:
    chosen = os.environ.get("MSAM_MODEL_WEIGHTS")
    if chosen:  # a wrong setting must not be passed over in silence
        return [Path(chosen).expanduser()]
    package = Path(__file__).resolve().parent
    return [package.parent / "model_weights", package / "model_weights"]


def _is_bundled(path: Path) -> bool:
    return path.parent.resolve() in [folder.resolve() for folder in _registry_candidates()]


def _download_path(entry: ModelEntry, folder: Path | None) -> Path:
    return (cache_folder() if folder is None else Path(folder)) / entry.file


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _pin_path(path: Path) -> Path:
    return _beside(cache_folder() / path.name if _is_bundled(path) else path, ".pin.json")


def _read_pin(pin_path: Path) -> Pin | None:
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


def _expected(
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


def _difference(entry: ModelEntry, pin: Pin | None, actual: str, expected: str, pin_path: Path) -> str:
    if entry.sha256 is not None:
        return f"its SHA256 is {actual}, but {REGISTRY_FILE} says {expected}."
    if pin is None:
        return f"its SHA256 is {actual}, but the server announced {expected}."
    return (
        f"its SHA256 is {actual}, but {expected} was remembered on first use. If its authors have published "
        f"a new version that you trust, delete {pin_path}."
    )


def _by_hand(entry: ModelEntry, path: Path) -> str:
    return f"Or fetch {entry.url} with a browser and save it as {path}."


def _problems(error: ValidationError) -> str:
    shown = []
    for problem in error.errors(include_url=False)[:3]:
        place = ".".join(str(part) for part in problem["loc"])
        shown.append(f"{place}: {problem['msg']}" if place else problem["msg"])
    return "; ".join(shown)


def _write_pin(path: Path, pin: Pin) -> None:
    with atomic_path(path) as partial:
        partial.write_text(pin.model_dump_json(indent=2), encoding="utf-8")


def _stop_if(cancelled: Callable[[], bool] | None, entry: ModelEntry) -> None:
    if cancelled is not None and cancelled():
        raise DownloadCancelled(
            f"The download of '{entry.name}' was stopped. What has arrived is kept; run "
            f"`msam download {entry.name}` to continue."
        )


def _fetch(
    entry: ModelEntry,
    url: str,
    path: Path,
    progress: Progress | None,
    cancelled: Callable[[], bool] | None,
    proxies: Mapping[str, str] | None,
) -> None:
    """Fetch ``url`` to ``path``; the caller holds the lock and translates errors of network and disk."""
    partial, pin_path = partial_path(path), _pin_path(path)
    pin = _read_pin(pin_path)
    _stop_if(cancelled, entry)
    with requests.Session() as session:
        response, offset = open_rest(session, url, path, proxies)
        with response:
            if response.status_code not in (200, 206) and not (response.status_code == 416 and offset):
                raise DownloadError(
                    f"'{entry.name}' could not be fetched: the server answered {response.status_code} "
                    f"{response.reason}. {status_help(response.status_code)} {_by_hand(entry, path)}"
                )
            announced, announced_size = announced_file(response, url)
            expected, source = _expected(entry, pin, announced)
            if expected is not None and announced not in (None, expected):
                raise DownloadError(
                    f"'{entry.name}' is not fetched, because the server now has another file: "
                    f"{_difference(entry, pin, announced, expected, pin_path)}"
                )
            size = whole_size(response, offset)
            expected_size = entry.size_bytes or announced_size
            if expected_size is not None and size not in (None, expected_size):
                discard_partial(path)
                raise DownloadError(
                    f"'{entry.name}' is not fetched, because the server has another file: {size} bytes "
                    f"in place of {expected_size}. Update SlicerMSAM, or try again later."
                )
            if not offset:
                start_partial(path, url, response.headers.get("ETag", ""))
            size = expected_size if size is None else size
            received = receive(response, path, offset, size, progress, lambda: _stop_if(cancelled, entry))
    if size is not None and received != size:
        if received > size:
            discard_partial(path)
        raise DownloadError(
            f"'{entry.name}' could not be fetched: {received} of {size} bytes arrived. Run `msam download "
            f"{entry.name}` again. {_by_hand(entry, path)}"
        )
    actual = file_sha256(partial)
    if expected is not None and actual != expected:
        discard_partial(path)
        raise DownloadError(
            f"'{entry.name}' was fetched from {url} but is refused and deleted: "
            f"{_difference(entry, pin, actual, expected, pin_path)} Try again; if it stays so, do not use it."
        )
    if expected is None:
        LOGGER.warning(
            "No SHA256 is known for '%s'; remembering that of what arrived: %s", entry.name, actual
        )
    status = partial.stat()
    # The pin comes first: the weights must never lie here without it.
    pin = Pin(sha256=actual, source=source, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
    _write_pin(pin_path, pin)
    os.replace(partial, path)
    sync_folder(path.parent)
    record_path(path).unlink(missing_ok=True)
