"""Weights files on this computer: where each lies, and whether it is the one that is meant."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from MSAMLogic.errors import WeightsError
from MSAMLogic.weights.pins import Pin, difference, expected_hash, pin_path_of, read_pin, write_pin
from MSAMLogic.weights.places import REGISTRY_FILE, cache_folder, is_bundled, registry_folder
from MSAMLogic.weights.registry import ModelEntry

LOGGER = logging.getLogger(__name__)


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
            f"{by_hand(entry, path)}"
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
    return read_pin(pin_path_of(weights_path(entry, folder)))


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
    elif is_bundled(path):  # put there by hand; a download does not touch it
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
    remembers = entry.sha256 is None or not is_bundled(path)
    pin_path = pin_path_of(path)
    pin = read_pin(pin_path) if remembers else None
    expected, source = expected_hash(entry, pin, None)
    seen = (expected, status.st_size, status.st_mtime_ns)
    if pin is not None and seen == (pin.sha256, pin.size_bytes, pin.mtime_ns):
        return
    actual = file_sha256(path)
    if expected is not None and actual != expected:
        raise WeightsError(f"{path} is refused: {difference(entry, pin, actual, expected, pin_path)} {again}")
    if remembers:
        if expected is None:
            LOGGER.warning(
                "No SHA256 is known for '%s'; remembering that of %s: %s", entry.name, path, actual
            )
        pin = Pin(sha256=actual, source=source, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
        try:
            write_pin(pin_path, pin)
        except OSError as error:
            LOGGER.warning("The check of %s cannot be remembered in %s: %s", path, pin_path, error.strerror)


def by_hand(entry: ModelEntry, path: Path) -> str:
    """Return in a sentence how to fetch the weights without this software."""
    return f"Or fetch {entry.url} with a browser and save it as {path}."
