"""Starts the stand-in for Slicer's shell, and gives each test a fresh scene."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from Testing import slicer_shell

MODULE = Path(__file__).parents[2] / "SlicerMSAM" / "SlicerMSAM.py"
EXAMPLE = Path(__file__).parent / "example" / "ShellExample.py"

if slicer_shell.available():
    # Before test files are collected: they import slicer, qt and the module's own files.
    slicer_shell.start()
else:
    collect_ignore_glob = ["test_*.py"]


def pytest_report_header() -> str:
    if slicer_shell.available():
        return "slicer-core is there: the shell's tests run"
    return "slicer-core or PySide6 is not installed: the tests in Slicer's shell are skipped"


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Nothing to run is no failure where the wheel does not exist, for example on Python 3.12.
    if not slicer_shell.available() and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


@pytest.fixture
def scene() -> Iterator[object]:
    """An empty scene; afterwards nothing that the test made may be left."""
    import slicer

    from Testing.slicer_shell import dialogs, leaks, packaging, unhandled
    from Testing.slicer_shell.testing import process_events, stop_placing

    def empty() -> None:
        stop_placing()
        slicer.util.selectModule("")
        slicer.mrmlScene.Clear(0)
        slicer.app.userSettings().clear()
        process_events(20)
        dialogs.clear()
        packaging.asked.clear()

    empty()
    unhandled.take()
    before = leaks.take_stock()
    yield slicer.mrmlScene
    unanswered = dialogs.unused_answers()
    empty()
    leaks.check(before)
    assert not (found := unhandled.take()), f"exceptions in slots or observers: {found}"
    assert unanswered == 0, f"{unanswered} answers were given to dialogs that never came"


@pytest.fixture
def example(scene: object) -> Iterator[object]:
    """The example module, loaded and left again."""
    import slicer

    module = slicer.app.moduleManager().load(EXAMPLE)
    yield module
    slicer.util.selectModule("")
    slicer.app.moduleManager().unload("ShellExample")


@pytest.fixture
def module(scene: object) -> Iterator[object]:
    """The SlicerMSAM module, loaded from its genuine file and left again."""
    import slicer

    loaded = slicer.app.moduleManager().load(MODULE)
    slicer.app.startupCompleted.emit()
    yield loaded
    slicer.util.selectModule("")
    slicer.app.moduleManager().unload("SlicerMSAM")


@pytest.fixture
def user(module: object) -> Any:
    """A user at the module's panel; the predictor segments what is bright."""
    from support import HeldPredictor, User

    return User(HeldPredictor())
