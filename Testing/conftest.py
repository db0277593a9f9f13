"""Shared fixtures: reference data beside the checkout, small networks, predictors without torch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A check of a submission must not depend on luck; elsewhere every run tries other examples.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("MSAM_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def parity_folder() -> Path:
    """The published networks' reference outputs; they are not part of the repository."""
    folder = SHARED / "parity"
    if not folder.is_dir():
        pytest.skip(f"reference outputs are not there: {folder}")
    return folder


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real cases with lesion masks; they are not part of the repository."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"real cases are not there: {folder}")
    return folder
