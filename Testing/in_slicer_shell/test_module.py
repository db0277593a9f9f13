"""The genuine module file in the shell: loading, self-test."""

from __future__ import annotations

import sys
import unittest

import pytest


def test_the_self_test_passes_both_ways(module: object) -> None:
    import SlicerMSAM

    loaded = unittest.defaultTestLoader.loadTestsFromTestCase(SlicerMSAM.SlicerMSAMTest)
    result = unittest.TestResult()
    loaded.run(result)
    assert result.testsRun >= 2 and result.wasSuccessful(), result.failures + result.errors
    SlicerMSAM.SlicerMSAMTest().runTest()


def test_the_self_test_needs_no_torch(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    import SlicerMSAM

    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it raises now
    SlicerMSAM.SlicerMSAMTest().runTest()


def test_the_module_file_is_thin_and_imports_nothing_heavy() -> None:
    from Testing.in_slicer_shell.conftest import MODULE

    text = MODULE.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 180
    head = text[: text.index("\nclass ")]
    imported = {
        line.split()[1].split(".")[0] for line in head.splitlines() if line.startswith(("import", "from"))
    }
    assert imported == {"pathlib", "slicer"}
