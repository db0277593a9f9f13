"""Fetch a file piece by piece, and go on where an earlier try ended.

What has arrived lies in ``FILE.partial``, and ``FILE.partial.json`` says which file of the server it is from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ConfigDict, ValidationError

from MSAMLogic.files import atomic_path

_CHUNK_BYTES = 128 * 1024
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 30.0

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes of the whole file, ``None`` while unknown."""


class _PartialRecord(BaseModel):
    """Which file of the server the bytes of a partial file are from."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    url: str
    etag: str


def partial_path(path: Path) -> Path:
    """Return where the pieces of a file lie until it is complete."""
    return path.with_name(path.name + ".partial")


def record_path(path: Path) -> Path:
    """Return where it is noted which file of the server the pieces are from."""
    return path.with_name(path.name + ".partial.json")


def open_rest(
    session: requests.Session, url: str, path: Path, proxies: Mapping[str, str] | None
) -> tuple[requests.Response, int]:
    """Ask for what is missing of the file, or for all of it.

    Returns:
        The answer, whose body is yet to be read, and how many bytes of the partial file it continues.
    """

    def get(headers: dict[str, str]) -> requests.Response:
        # Compression on the way would make byte positions mean something else.
        return session.get(
            url,
            headers={"Accept-Encoding": "identity", **headers},
            proxies=None if proxies is None else dict(proxies),
            timeout=(_CONNECT_SECONDS, _SILENCE_SECONDS),
            stream=True,
        )

    offset, etag = _resumable(path, url)
    if not offset:
        return get({}), 0
    response = get({"Range": f"bytes={offset}-", "If-Range": etag})
    if response.status_code == 206:
        # A server may disregard If-Range, so what it sends is checked as well.
        start = response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        continues = start and response.headers.get("ETag") == etag
    else:  # 416: there is no such rest, and none is needed where the file ends here
        continues = (
            response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{offset}"
        )
    if continues:
        return response, offset
    if response.status_code in (206, 416):
        response.close()
        response = get({})
    return response, 0


def _resumable(path: Path, url: str) -> tuple[int, str]:
    """Return the bytes of the partial file that can be continued, and the server's name of that file."""
    try:
        record = _PartialRecord.model_validate_json(record_path(path).read_bytes())
        return (partial_path(path).stat().st_size, record.etag) if record.url == url else (0, "")
    except (OSError, ValidationError):
        return 0, ""


def announced_file(response: requests.Response, url: str) -> tuple[str | None, int | None]:
    """Return SHA256 and size that the Hugging Face hub announces while it redirects to its storage."""
    host = urlsplit(url).netloc
    for hop in (*response.history, response):
        etag = hop.headers.get("X-Linked-Etag", "").strip('"')
        # Small files are announced by another, shorter hash.
        if urlsplit(hop.url).netloc == host and re.fullmatch("[0-9a-f]{64}", etag):
            size = hop.headers.get("X-Linked-Size", "")
            return etag, int(size) if size.isdecimal() else None
    return None, None


def whole_size(response: requests.Response, offset: int) -> int | None:
    """Return the bytes of the whole file of which an answer is the rest, None where it does not say."""
    if response.status_code == 416:
        return offset
    length = response.headers.get("Content-Length", "")
    encoded = response.headers.get("Content-Encoding", "identity") != "identity"
    return offset + int(length) if length.isdecimal() and not encoded else None


def receive(
    response: requests.Response,
    path: Path,
    offset: int,
    size: int | None,
    progress: Progress | None,
    stop_if_cancelled: Callable[[], None],
) -> int:
    """Append the body of ``response`` to the partial file, from byte ``offset`` on.

    Args:
        response: an answer whose body is yet to be read.
        path: the file that the pieces are of.
        offset: bytes that are here.
        size: bytes of the whole file, where that is known.
        progress: called after every piece.
        stop_if_cancelled: called between pieces; may raise to stop.

    Returns:
        Bytes that the partial file has now; more than ``size`` when the server sends too much.
    """
    received = offset
    with open(partial_path(path), "ab") as stream:
        if progress is not None:
            progress(received, size)
        pieces = () if response.status_code == 416 else response.iter_content(_CHUNK_BYTES)
        for piece in pieces:
            stream.write(piece)
            received += len(piece)
            if size is not None and received > size:
                break
            if progress is not None:
                progress(received, size)
            if received != size:
                stop_if_cancelled()
        stream.flush()
        os.fsync(stream.fileno())
    return received


def start_partial(path: Path, url: str, etag: str) -> None:
    """Empty the partial file, and note which file of the server is to fill it."""
    # In this order: no record ever describes another file's bytes.
    partial_path(path).write_bytes(b"")
    if etag.startswith('"'):
        with atomic_path(record_path(path)) as record:
            record.write_text(_PartialRecord(url=url, etag=etag).model_dump_json(indent=2), encoding="utf-8")
    else:  # A weak ETag ("W/...") does not promise the same bytes: such a download starts anew every time.
        record_path(path).unlink(missing_ok=True)


def discard_partial(path: Path) -> None:
    """Drop what has arrived of a file."""
    partial_path(path).unlink(missing_ok=True)
    record_path(path).unlink(missing_ok=True)


def network_problem(error: requests.RequestException) -> str:
    """Say what is wrong without the texts of the network libraries, which can hold signed addresses."""
    if isinstance(error, requests.exceptions.SSLError):
        return (
            "the server's certificate is not trusted. In a network that inspects traffic, set "
            "REQUESTS_CA_BUNDLE to the certificate file that its administrators give out."
        )
    if isinstance(error, requests.exceptions.ProxyError | requests.exceptions.InvalidProxyURL):
        return "the proxy does not answer or refuses. Check HTTPS_PROXY or the proxy in the settings."
    if isinstance(error, requests.Timeout):
        return "the server does not answer. Check the network connection."
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off."
    if isinstance(error, requests.ConnectionError):
        return "there is no connection to the server. Check the network connection and the proxy."
    return f"the request failed ({type(error).__name__})."


def status_help(status: int) -> str:
    """Say what to do about the status of an answer that is no file."""
    if status == 407:
        return "The proxy wants a name and password: give it as http://NAME:PASSWORD@HOST:PORT."
    if status in (401, 403, 404, 410):
        return "The file was moved or needs a login; update SlicerMSAM."
    return "Try again later."
