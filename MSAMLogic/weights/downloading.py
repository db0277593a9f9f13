"""Fetch weights when the user asks for it, and delete them again.

What arrives is kept until it is complete, so a download that was stopped goes on where it ended. The weights
file itself appears only once its hash is right.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import requests

from MSAMLogic.errors import DownloadError, WeightsError
from MSAMLogic.files import sync_folder
from MSAMLogic.weights.file_lock import locked
from MSAMLogic.weights.local_files import by_hand, ensure_available, file_sha256, verify, weights_path
from MSAMLogic.weights.partial_download import (
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
from MSAMLogic.weights.pins import Pin, difference, expected_hash, pin_path_of, read_pin, write_pin
from MSAMLogic.weights.places import cache_folder, is_bundled
from MSAMLogic.weights.registry import ModelEntry, models

LOGGER = logging.getLogger(__name__)


class DownloadCancelled(DownloadError):
    """The user stopped a download; what had arrived is kept for the next one."""


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
    if entry.url is None or (is_bundled(path) and path.is_file()):
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
            f"`msam download {entry.name}` again to continue. {by_hand(entry, path)}"
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
            for each in unwanted + ([pin_path_of(path)] if forget_pin else []):
                if each.is_file():
                    each.unlink()
                    deleted = True
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be deleted: {error.strerror}. Close the programs that use it and try again."
        ) from error
    return deleted


def _download_path(entry: ModelEntry, folder: Path | None) -> Path:
    return (cache_folder() if folder is None else Path(folder)) / entry.file


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
    partial, pin_path = partial_path(path), pin_path_of(path)
    pin = read_pin(pin_path)
    _stop_if(cancelled, entry)
    with requests.Session() as session:
        response, offset = open_rest(session, url, path, proxies)
        with response:
            if response.status_code not in (200, 206) and not (response.status_code == 416 and offset):
                raise DownloadError(
                    f"'{entry.name}' could not be fetched: the server answered {response.status_code} "
                    f"{response.reason}. {status_help(response.status_code)} {by_hand(entry, path)}"
                )
            announced, announced_size = announced_file(response, url)
            expected, source = expected_hash(entry, pin, announced)
            if expected is not None and announced not in (None, expected):
                raise DownloadError(
                    f"'{entry.name}' is not fetched, because the server now has another file: "
                    f"{difference(entry, pin, announced, expected, pin_path)}"
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
            f"{entry.name}` again. {by_hand(entry, path)}"
        )
    actual = file_sha256(partial)
    if expected is not None and actual != expected:
        discard_partial(path)
        raise DownloadError(
            f"'{entry.name}' was fetched from {url} but is refused and deleted: "
            f"{difference(entry, pin, actual, expected, pin_path)} Try again; if it stays so, do not use it."
        )
    if expected is None:
        LOGGER.warning(
            "No SHA256 is known for '%s'; remembering that of what arrived: %s", entry.name, actual
        )
    status = partial.stat()
    # The pin comes first: the weights must never lie here without it.
    pin = Pin(sha256=actual, source=source, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
    write_pin(pin_path, pin)
    os.replace(partial, path)
    sync_folder(path.parent)
    record_path(path).unlink(missing_ok=True)
