"""Weights: the list of models, fetching from a server that misbehaves, checking and reading files."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import pickle
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from MSAMLogic import weights
from MSAMLogic.errors import DownloadError, WeightsError
from MSAMLogic.weights import local_files

CONTENT = random.Random(1).randbytes(700_001)
OTHER_CONTENT = random.Random(2).randbytes(700_001)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves /model.pth with ranges, by way of a redirect where the server is told to announce a hash."""

    server: WeightsServer

    def do_GET(self) -> None:
        server = self.server
        seen: dict[str, Any] = {"target": self.path, "range": self.headers.get("Range"), "sent": 0}
        server.requests.append(seen)
        if server.status != 200:
            self.send_error(server.status)
            return
        if server.announces is not None and not self.path.endswith("/storage"):
            self.send_response(302)
            self.send_header("Location", "/storage")
            self.send_header("X-Linked-Etag", f'"{server.announces}"')
            self.send_header("X-Linked-Size", str(len(server.content)))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        same = server.ignores_if_range or self.headers.get("If-Range") in (None, server.etag)
        if seen["range"] and same and not server.ignores_range:
            start = int(seen["range"].removeprefix("bytes=").removesuffix("-"))
        body = server.content[start:]
        if seen["range"] and start and not body:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"
            )
        self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        part = body if server.breaks_after is None else body[: server.breaks_after]
        server.may_answer.wait(10)
        seen["sent"] = len(part)
        with suppress(ConnectionError):  # a client that stopped the download
            self.wfile.write(part)

    def log_message(self, format: str, *args: object) -> None:
        pass


class WeightsServer(ThreadingHTTPServer):
    """A web server on this computer, whose faults the tests choose."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.status = 200
        self.announces: str | None = None
        self.breaks_after: int | None = None
        self.ignores_range = False
        self.ignores_if_range = False
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.serve(CONTENT)

    def serve(self, content: bytes) -> None:
        self.content = content
        self.etag = f'"{sha256(content)[:8]}"'

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server() -> Iterator[WeightsServer]:
    server = WeightsServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.may_answer.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no proxy from the environment of whoever runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    folder = tmp_path / "cache"
    monkeypatch.setenv("MSAM_CACHE", str(folder))
    monkeypatch.delenv("MSAM_MODEL_WEIGHTS", raising=False)
    return folder


def make_entry(server: WeightsServer | None, **changes: Any) -> weights.ModelEntry:
    values = {
        "name": "example",
        "title": "Example",
        "architecture": "msam-compact",
        "file": "model.pth",
        "url": None if server is None else f"{server.address}/model.pth",
        "sha256": sha256(CONTENT),
        "size_bytes": None,
        "licence": "Apache-2.0",
        "trained_on": "nothing",
        "intended_use": "tests",
    }
    return weights.ModelEntry(**(values | changes))


def leave_a_part(server: WeightsServer, entry: weights.ModelEntry, size: int = 400_000) -> int:
    """Break a download off; return the bytes it kept."""
    server.breaks_after = size
    with pytest.raises(DownloadError, match="broke off"):
        weights.download(entry)
    server.breaks_after = None
    server.requests.clear()
    kept = (weights.cache_folder() / "model.pth.partial").stat().st_size
    assert 0 < kept <= size
    return kept


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"model.pth.lock"}


def test_a_download_is_fetched_checked_and_not_fetched_twice(server: WeightsServer, cache: Path) -> None:
    entry = make_entry(server, size_bytes=len(CONTENT))
    assert not weights.is_available(entry)
    path = weights.download(entry)
    assert path == cache / "model.pth" == weights.weights_path(entry)
    assert path.read_bytes() == CONTENT
    assert files_in(cache) == {"model.pth", "model.pth.pin.json"}
    assert weights.download(entry) == weights.ensure_available(entry) == path
    assert len(server.requests) == 1


def test_progress_never_falls_and_ends_at_the_size(server: WeightsServer) -> None:
    calls: list[tuple[int, int | None]] = []
    weights.download(make_entry(server), progress=lambda here, whole: calls.append((here, whole)))
    here = [call[0] for call in calls]
    assert here[0] == 0 and len(here) > 3
    assert here == sorted(here)
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert {whole for _, whole in calls} == {len(CONTENT)}


def test_a_broken_download_is_continued(server: WeightsServer, cache: Path) -> None:
    entry = make_entry(server)
    kept = leave_a_part(server, entry)
    assert not weights.is_available(entry)
    started_at: list[int] = []
    path = weights.download(entry, progress=lambda here, whole: started_at.append(here))
    assert path.read_bytes() == CONTENT
    assert [(seen["range"], seen["sent"]) for seen in server.requests] == [
        (f"bytes={kept}-", len(CONTENT) - kept)
    ]
    assert started_at[0] == kept
    assert files_in(cache) == {"model.pth", "model.pth.pin.json"}


def test_a_continued_download_follows_the_redirect_with_its_range(server: WeightsServer) -> None:
    server.announces = sha256(CONTENT)
    entry = make_entry(server, sha256=None)
    kept = leave_a_part(server, entry)
    assert weights.download(entry).read_bytes() == CONTENT
    assert [seen["sent"] for seen in server.requests] == [0, len(CONTENT) - kept]


def test_a_complete_part_is_used_without_fetching_it_again(server: WeightsServer, cache: Path) -> None:
    entry = make_entry(server)
    leave_a_part(server, entry)
    (cache / "model.pth.partial").write_bytes(CONTENT)  # as if the computer had stopped before the renaming
    assert weights.download(entry).read_bytes() == CONTENT
    assert [seen["sent"] for seen in server.requests] == [0]


@pytest.mark.parametrize("ignores_if_range", [False, True])
def test_a_file_that_changed_on_the_server_is_fetched_from_the_start(
    server: WeightsServer, ignores_if_range: bool
) -> None:
    # No hash is known, so nothing but the ETag can tell the two files apart.
    entry = make_entry(server, sha256=None)
    leave_a_part(server, entry)
    server.serve(OTHER_CONTENT)
    server.ignores_if_range = ignores_if_range
    assert weights.download(entry).read_bytes() == OTHER_CONTENT
    # A server that honours If-Range answers with the new file at once; the other is asked again.
    assert len(server.requests) == (2 if ignores_if_range else 1)


def test_a_server_without_ranges_sends_all_again(server: WeightsServer) -> None:
    entry = make_entry(server)
    leave_a_part(server, entry)
    server.ignores_range = True
    calls: list[int] = []
    assert weights.download(entry, lambda here, whole: calls.append(here)).read_bytes() == CONTENT
    assert [seen["sent"] for seen in server.requests] == [len(CONTENT)]
    assert calls[0] == 0 and calls[-1] == len(CONTENT)


def test_a_wrong_hash_is_refused_and_nothing_is_left(server: WeightsServer, cache: Path) -> None:
    server.serve(OTHER_CONTENT)
    with pytest.raises(DownloadError, match=r"refused.*models\.json says"):
        weights.download(make_entry(server))
    assert files_in(cache) == set()


def test_a_wrong_size_is_refused_and_nothing_is_left(server: WeightsServer, cache: Path) -> None:
    entry = make_entry(server, size_bytes=len(CONTENT))
    leave_a_part(server, entry)
    server.serve(CONTENT + b"more")
    with pytest.raises(DownloadError, match=f"{len(CONTENT) + 4} bytes in place of {len(CONTENT)}"):
        weights.download(entry)
    assert files_in(cache) == set()


def test_cancelling_keeps_what_arrived(server: WeightsServer, cache: Path) -> None:
    entry = make_entry(server)
    here: list[int] = []
    with pytest.raises(weights.DownloadCancelled, match="msam download example"):
        weights.download(
            entry, lambda count, whole: here.append(count), cancelled=lambda: here[-1:] > [300_000]
        )
    assert not weights.is_available(entry)
    assert (cache / "model.pth.partial").read_bytes() == CONTENT[: here[-1]]
    assert weights.downloads(cache) == ()  # the list of models does not have this one
    assert weights.download(entry).read_bytes() == CONTENT
    assert server.requests[-1]["range"] == f"bytes={here[-1]}-"


def test_the_hash_that_the_server_announces_is_checked_and_pinned(server: WeightsServer) -> None:
    entry = make_entry(server, sha256=None)
    server.announces = sha256(CONTENT)
    assert weights.pinned(entry) is None
    path = weights.download(entry)
    pin = weights.pinned(entry)
    assert pin is not None and (pin.sha256, pin.source) == (sha256(CONTENT), "server")
    path.write_bytes(OTHER_CONTENT)
    with pytest.raises(WeightsError, match=r"refused.*remembered on first use"):
        weights.ensure_available(entry)


def test_a_file_unlike_the_announced_hash_is_refused(server: WeightsServer, cache: Path) -> None:
    server.announces = sha256(OTHER_CONTENT)
    with pytest.raises(DownloadError, match=r"refused and deleted.*the server announced"):
        weights.download(make_entry(server, sha256=None))
    assert files_in(cache) == set()


@pytest.mark.parametrize("announces", [False, True])
def test_a_later_download_that_differs_from_the_pin_is_refused(
    server: WeightsServer, cache: Path, announces: bool
) -> None:
    entry = make_entry(server, sha256=None)
    weights.download(entry)
    assert weights.delete_download(entry)
    server.serve(OTHER_CONTENT)
    server.announces = sha256(OTHER_CONTENT) if announces else None
    with pytest.raises(DownloadError, match=r"remembered on first use.*model\.pth\.pin\.json") as caught:
        weights.download(entry)
    # An announced hash is refused before the file is fetched.
    assert ("the server now has another file" in str(caught.value)) is announces
    assert files_in(cache) == {"model.pth.pin.json"}
    weights.delete_download(entry, forget_pin=True)
    assert weights.download(entry).read_bytes() == OTHER_CONTENT


def test_a_file_without_any_hash_is_pinned_as_it_arrived_and_says_so(
    server: WeightsServer, caplog: pytest.LogCaptureFixture
) -> None:
    entry = make_entry(server, sha256=None)
    with caplog.at_level(logging.WARNING):
        weights.download(entry)
    pin = weights.pinned(entry)
    assert pin is not None and (pin.sha256, pin.source) == (sha256(CONTENT), "first use")
    assert "No SHA256 is known for 'example'" in caplog.text and sha256(CONTENT) in caplog.text


def test_a_file_put_there_by_hand_is_pinned_when_first_checked(cache: Path, server: WeightsServer) -> None:
    entry = make_entry(server, sha256=None)
    cache.mkdir()
    (cache / "model.pth").write_bytes(CONTENT)
    weights.ensure_available(entry)
    (cache / "model.pth").write_bytes(OTHER_CONTENT)
    with pytest.raises(WeightsError, match="refused"):
        weights.ensure_available(entry)
    assert server.requests == []


def test_a_damaged_pin_is_not_passed_over(server: WeightsServer, cache: Path) -> None:
    entry = make_entry(server, sha256=None)
    weights.download(entry)
    (cache / "model.pth.pin.json").write_text("{}")
    with pytest.raises(WeightsError, match="Delete it"):
        weights.ensure_available(entry)


def test_an_unchanged_file_is_hashed_once_and_a_changed_one_again(
    server: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_entry(server)
    path = weights.download(entry)
    hashed: list[Path] = []
    real = weights.file_sha256

    def hash_and_note(path: Path) -> str:
        hashed.append(path)
        return real(path)

    monkeypatch.setattr(local_files, "file_sha256", hash_and_note)
    weights.verify(entry, path)
    assert hashed == []
    os.utime(path, ns=(1, 1))
    weights.verify(entry, path)
    weights.verify(entry, path)
    assert hashed == [path]
    weights_of_another_list = entry.model_copy(update={"sha256": sha256(OTHER_CONTENT)})
    with pytest.raises(WeightsError, match="refused"):
        weights.verify(weights_of_another_list, path)


def test_a_damaged_download_is_replaced(server: WeightsServer, cache: Path) -> None:
    entry = make_entry(server)
    weights.download(entry).write_bytes(CONTENT[:-1] + b"x")
    assert weights.download(entry).read_bytes() == CONTENT


def test_a_proxy_that_is_given_is_used(server: WeightsServer) -> None:
    # The name cannot be resolved, so only the proxy can answer.
    entry = make_entry(server, url="http://weights.invalid/model.pth")
    assert weights.download(entry, proxies={"http": server.address}).read_bytes() == CONTENT
    assert [seen["target"] for seen in server.requests] == ["http://weights.invalid/model.pth"]


def test_a_proxy_of_the_environment_is_used(server: WeightsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.address)
    entry = make_entry(server, url="http://weights.invalid/model.pth")
    assert weights.download(entry).read_bytes() == CONTENT


def test_without_a_server_the_message_says_how_to_go_on(server: WeightsServer, cache: Path) -> None:
    with socket.socket() as unused:  # bound and not listening: connections are refused
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/model.pth"
        with pytest.raises(DownloadError, match="no connection") as caught:
            weights.download(make_entry(server, url=url))
    assert url in str(caught.value) and str(cache / "model.pth") in str(caught.value)


@pytest.mark.parametrize("status", [404, 407, 503])
def test_a_refusing_server_keeps_what_arrived(server: WeightsServer, cache: Path, status: int) -> None:
    entry = make_entry(server)
    kept = leave_a_part(server, entry)
    server.status = status
    with pytest.raises(DownloadError, match=f"answered {status}"):
        weights.download(entry)
    assert (cache / "model.pth.partial").stat().st_size == kept
    assert not weights.is_available(entry)


def test_a_folder_that_cannot_be_written_is_reported(
    server: WeightsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MSAM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DownloadError, match="set MSAM_CACHE"):
        weights.download(make_entry(server))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_reported(server: WeightsServer, cache: Path) -> None:
    entry = make_entry(server)
    cache.mkdir()
    (cache / "model.pth.partial").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match="Free some disk space"):
        weights.download(entry)
    assert not weights.is_available(entry)


def test_two_downloads_at_once_fetch_one_file(server: WeightsServer) -> None:
    entry = make_entry(server)
    server.may_answer.clear()
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.append(weights.download(entry).read_bytes()))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    assert len(server.requests) == 1
    with pytest.raises(WeightsError, match="being downloaded"):
        weights.delete_download(entry)
    with pytest.raises(weights.DownloadCancelled):
        weights.download(entry, cancelled=lambda: True)
    server.may_answer.set()
    for thread in threads:
        thread.join()
    assert results == [CONTENT, CONTENT]
    assert len(server.requests) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a lock of the system that only others have")
def test_a_lock_of_a_killed_process_does_not_block(server: WeightsServer, cache: Path) -> None:
    cache.mkdir()
    code = (
        "import fcntl, os, sys; stream = open(sys.argv[1], 'ab'); fcntl.flock(stream, fcntl.LOCK_EX);"
        " os.write(1, b'held'); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(cache / "model.pth.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.read(4) == b"held"
        waiting = iter([False, True])
        with pytest.raises(weights.DownloadCancelled):
            weights.download(make_entry(server), cancelled=lambda: next(waiting))
        other.kill()
    assert weights.download(make_entry(server)).read_bytes() == CONTENT


def test_downloads_are_listed_and_deleted(
    server: WeightsServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_entry(server)
    bundled = make_entry(None, name="bundled", file="bundled.pth", sha256=sha256(b"here"))
    (tmp_path / "models.json").write_text(
        json.dumps({"models": [bundled.model_dump(mode="json"), entry.model_dump(mode="json")]})
    )
    (tmp_path / "bundled.pth").write_bytes(b"here")
    monkeypatch.setenv("MSAM_MODEL_WEIGHTS", str(tmp_path))
    assert weights.downloads() == ()
    kept = leave_a_part(server, entry)
    assert weights.downloads() == ((entry, cache / "model.pth.partial", kept, False),)
    weights.download(entry)
    assert weights.downloads() == ((entry, cache / "model.pth", len(CONTENT), True),)
    assert weights.delete_download(entry)
    assert weights.downloads() == () and not weights.delete_download(entry)
    assert not weights.delete_download(bundled)
    assert weights.download(bundled) == weights.ensure_available(bundled) == tmp_path / "bundled.pth"
    assert not (cache / "bundled.pth.pin.json").exists()
    (tmp_path / "bundled.pth").write_bytes(b"HERE")
    with pytest.raises(WeightsError, match=r"refused.*Install SlicerMSAM again"):
        weights.ensure_available(bundled)


def test_a_file_put_beside_the_list_by_hand_is_used_and_left_alone(
    server: WeightsServer, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSAM_MODEL_WEIGHTS", str(tmp_path))
    entry = make_entry(server, sha256=None)
    (tmp_path / "models.json").write_text(json.dumps({"models": [entry.model_dump(mode="json")]}))
    path = tmp_path / "model.pth"
    path.write_bytes(CONTENT)
    assert weights.download(entry) == weights.ensure_available(entry) == path
    assert server.requests == [] and not weights.delete_download(entry)
    assert files_in(cache) == {"model.pth.pin.json"}  # the folder of the list may be write-protected
    path.write_bytes(OTHER_CONTENT)
    for get in (weights.ensure_available, weights.download):
        with pytest.raises(WeightsError, match=r"refused.*Delete it, then run"):
            get(entry)
    assert path.read_bytes() == OTHER_CONTENT


def test_the_cache_may_be_the_folder_of_the_list(
    server: WeightsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models.json").write_text('{"models": []}')
    monkeypatch.setenv("MSAM_MODEL_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("MSAM_CACHE", str(tmp_path))
    assert weights.download(make_entry(server)).read_bytes() == CONTENT


def test_missing_weights_name_the_command_that_fetches_them(server: WeightsServer, cache: Path) -> None:
    with pytest.raises(WeightsError, match="msam download example") as caught:
        weights.ensure_available(make_entry(server))
    assert str(cache / "model.pth") in str(caught.value)
    assert server.requests == []


def test_pickled_code_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "code was run"

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(marker),))

    for name, content in (("plain.pth", pickle.dumps(Malicious(), protocol=2)), ("zip.pt", None)):
        path = tmp_path / name
        if content is None:
            import torch

            torch.save({"model_state_dict": {"weight": torch.zeros(1)}, "extra": Malicious()}, path)
        else:
            path.write_bytes(content)
        with pytest.raises(WeightsError, match="does not run"):
            weights.load_state(path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Malicious()))  # the file would have done what the test looks for
    assert marker.exists()


def test_a_trainers_checkpoint_gives_its_tensors(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "checkpoint.pth"
    state = {"weight": torch.arange(3.0)}
    torch.save({"epoch": 3, "model_state_dict": state, "args": argparse.Namespace(lr=1.0)}, path)
    loaded = weights.load_state(path)
    assert list(loaded) == ["weight"] and torch.equal(loaded["weight"], state["weight"])
    torch.save({"weight": "text"}, path)
    with pytest.raises(WeightsError, match="map names to tensors"):
        weights.load_state(path)


def test_safetensors_give_their_tensors_and_notes_unless_damaged(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.arange(3.0)}, path, metadata={"architecture": "msam-compact"})
    assert weights.load_state(path)["weight"].tolist() == [0, 1, 2]
    assert weights.load_metadata(path) == {"architecture": "msam-compact"}
    path.write_bytes(path.read_bytes()[:-1])
    for load in (weights.load_state, weights.load_metadata):
        with pytest.raises(WeightsError, match="damaged"):
            load(path)
        with pytest.raises(WeightsError, match="There is no weights file"):
            load(tmp_path / "missing.safetensors")
        with pytest.raises(WeightsError, match=r"choose a \.safetensors"):
            load(tmp_path / "model.exe")


def test_the_list_that_is_shipped_has_the_default_and_the_published_model() -> None:
    names = {entry.name: entry.architecture for entry in weights.models()}
    assert names == {"default": "msam-compact", "sam-med3d-turbo": "sam-med3d-vit-b"}
    assert weights.find_model("default").url is None
    folder = Path(weights.__file__).parents[2] / "model_weights"
    assert weights.weights_path(weights.find_model("default")) == folder / "msam-compact.safetensors"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(WeightsError, match=r"no model 'defualt'.*default, sam-med3d-turbo"):
        weights.find_model("defualt")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"sha256": "abc"}, r"models\.0\.sha256"),
        ({"file": "../model.pth"}, r"models\.0\.file"),
        ({"colour": "blue"}, r"models\.0\.colour"),
        ({"url": "http://example.org/model.pth", "sha256": None}, "without https needs a sha256"),
        (None, "more than one model has the name example"),
        ("{", "Invalid JSON"),
    ],
)
def test_a_bad_list_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any] | str | None, complaint: str
) -> None:
    monkeypatch.setenv("MSAM_MODEL_WEIGHTS", str(tmp_path))
    values = make_entry(None).model_dump(mode="json")
    entries = [values, values] if changes is None else [values | changes] if isinstance(changes, dict) else []
    text = changes if isinstance(changes, str) else json.dumps({"models": entries})
    (tmp_path / "models.json").write_text(text)
    with pytest.raises(WeightsError, match=complaint) as caught:
        weights.models()
    assert str(tmp_path / "models.json") in str(caught.value)


def test_a_missing_list_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSAM_MODEL_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match="set MSAM_MODEL_WEIGHTS"):
        weights.models()


def test_the_cache_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MSAM_CACHE")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    expected = {"linux": ".cache/msam", "darwin": "Library/Caches/msam", "win32": "local/msam"}
    for platform, folder in expected.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert weights.cache_folder() == tmp_path / folder
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "chosen"))
    assert weights.cache_folder() == tmp_path / "chosen" / "msam"


def test_importing_does_not_import_torch() -> None:
    code = "import sys, MSAMLogic.weights as weights; weights.models(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0
