"""Threads that wait sleep; each question is asked in a fresh interpreter, for OpenMP asks only once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from MSAMLogic.waiting_threads import VARIABLE

ROOT = Path(__file__).parents[1]


def loaded(code: str, **variables: str) -> str:
    """Return what OpenMP says of itself while ``code`` runs."""
    kept = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "OMP_DISPLAY_ENV": "VERBOSE", "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr.replace('"', "'")


@pytest.mark.skipif(sys.platform != "linux", reason="other libraries of OpenMP describe themselves otherwise")
def test_threads_of_torch_sleep_while_they_wait() -> None:
    none = "GOMP_SPINCOUNT = '0'"  # of the rounds that a thread would wait awake
    assert none in loaded("import MSAMLogic, torch")
    assert none not in loaded("import torch")


@pytest.mark.skipif(sys.platform != "linux", reason="other libraries of OpenMP describe themselves otherwise")
def test_what_the_user_chose_stays() -> None:
    assert f"{VARIABLE} = 'ACTIVE'" in loaded("import MSAMLogic, torch", **{VARIABLE: "ACTIVE"})


@pytest.mark.parametrize("module", ["predictor", "loading", "session", "cli"])
def test_every_way_into_the_package_sets_it(module: str) -> None:
    code = f"import os, MSAMLogic.{module}; assert os.environ['{VARIABLE}'] == 'PASSIVE'"
    loaded(code)
