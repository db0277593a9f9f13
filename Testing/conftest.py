"""Shared fixtures: reference data beside the checkout, small networks, predictors without torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session")
def scan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training folder of two small made-up scans, a CT and an MR in another orientation."""
    from images import AXIAL, LEFT_HANDED
    from test_training import HEADER, write_case

    made = tmp_path_factory.mktemp("scans")
    rows = [
        write_case(made, name, "a", modality, direction)
        for name, modality, direction in (("one", "CT", AXIAL), ("three", "MR T1 (N4)", LEFT_HANDED))
    ]
    (made / "cases.tsv").write_text(HEADER + "".join(rows))
    return made


@pytest.fixture(scope="session")
def two_scans(scan_folder: Path) -> Any:
    """Endless samples of the scans of ``scan_folder``."""
    from MSAMLogic.training.cases import read_cases
    from MSAMLogic.training.loaded_case import LoadedCase
    from MSAMLogic.training.samples import PatchSamples

    cases = [LoadedCase(case) for case in read_cases(scan_folder)]
    return PatchSamples(cases, {}, 32, (0.8, 3.0), seed=0, length=100)
