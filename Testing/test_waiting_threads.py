"""Threads that wait fall asleep; each question is asked in a fresh interpreter, for OpenMP asks only once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from MSAMLogic.waiting_threads import SPIN_COUNT, WAIT_POLICY

ROOT = Path(__file__).parents[1]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="torch has another library of OpenMP there")


def said(code: str, **variables: str) -> str:
    """Return what OpenMP says of itself while ``code`` runs."""
    kept = {name: value for name, value in os.environ.items() if name not in (SPIN_COUNT, WAIT_POLICY)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "OMP_DISPLAY_ENV": "VERBOSE", "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr


@LINUX
def test_threads_of_torch_that_wait_for_long_fall_asleep() -> None:
    assert f"{SPIN_COUNT} = '1000'" in said("import MSAMLogic, torch")
    assert f"{SPIN_COUNT} = '1000'" not in said("import torch")


@LINUX
@pytest.mark.parametrize(("chosen", "counts"), [({SPIN_COUNT: "77"}, "77"), ({WAIT_POLICY: "PASSIVE"}, "0")])
def test_what_the_user_chose_stays(chosen: dict[str, str], counts: str) -> None:
    assert f"{SPIN_COUNT} = '{counts}'" in said("import MSAMLogic, torch", **chosen)


@pytest.mark.parametrize("module", ["predictor", "loading", "session", "cli"])
def test_every_way_into_the_package_sets_it(module: str) -> None:
    said(f"import os, MSAMLogic.{module}; assert os.environ['{SPIN_COUNT}'] == '1000'")
