"""A real archive for tests: an Orthanc server of one's own, with an empty database, for this machine only."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from readers import program

_PACKAGE = "Debian package orthanc"
_TOOLS = "Debian package dcmtk"
_CALLER, _ARCHIVE = "TESTSCU", "TESTARCHIVE"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Archive:
    """Sends to, queries and retrieves from a running server, over DICOM's network protocol alone."""

    def __init__(self, port: int) -> None:
        self._address = ["-aet", _CALLER, "-aec", _ARCHIVE, "127.0.0.1", str(port)]

    def send(self, paths: Sequence[Path]) -> None:
        """Send files (C-STORE)."""
        command = [program("storescu", _TOOLS), "--required", *self._address, *map(str, paths)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr

    def answers(self) -> bool:
        """Whether the server takes part in an association (C-ECHO)."""
        command = [program("echoscu", _TOOLS), *self._address]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def find(self, folder: Path, level: str, **keys: str) -> list[Path]:
        """Query (C-FIND) and return a file for each match; a key without a value is asked for."""
        folder.mkdir()
        command = [program("findscu", _TOOLS), "-S", "-X", "-od", str(folder), *self._address]
        for key, value in {"QueryRetrieveLevel": level, **keys}.items():
            command += ["-k", f"{key}={value}"]
        subprocess.run(command, capture_output=True, check=True)
        return sorted(folder.iterdir())

    def retrieve(self, folder: Path, **keys: str) -> list[Path]:
        """Retrieve (C-GET) a series and return its files."""
        folder.mkdir()
        command = [program("getscu", _TOOLS), "-S", "-od", str(folder), *self._address]
        for key, value in {"QueryRetrieveLevel": "SERIES", **keys}.items():
            command += ["-k", f"{key}={value}"]
        subprocess.run(command, capture_output=True, check=True)
        return sorted(folder.iterdir())


@contextmanager
def running_archive(folder: Path) -> Iterator[Archive]:
    """Start a server and stop it at the end; the test is skipped where the packages are not installed."""
    server = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if server is None:
        pytest.skip(f"the archive is not installed: {_PACKAGE}")
    for tool in ("echoscu", "storescu", "findscu", "getscu"):
        program(tool, _TOOLS)
    port = _free_port()
    settings = {
        "Name": "Test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [],
        "HttpServerEnabled": False,
        "DicomAet": _ARCHIVE,
        "DicomCheckCalledAet": True,
        "DicomPort": port,
        # Nobody but this test, from this machine.
        "DicomModalities": {
            "test": {"AET": _CALLER, "Host": "127.0.0.1", "Port": _free_port(), "AllowGet": True}
        },
        "DicomCheckModalityHost": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    log = (folder / "orthanc.log").open("wb")
    process = subprocess.Popen([server, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        archive = Archive(port)
        until = time.monotonic() + 60
        while not archive.answers():
            assert process.poll() is None and time.monotonic() < until, (folder / "orthanc.log").read_text()
            time.sleep(0.1)
        yield archive
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.wait()
        log.close()
