"""The genuine module file in the shell: loading, self-test."""

from __future__ import annotations

import unittest


def test_the_self_test_passes_both_ways(module: object) -> None:
    import SlicerMSAM

    loaded = unittest.defaultTestLoader.loadTestsFromTestCase(SlicerMSAM.SlicerMSAMTest)
    result = unittest.TestResult()
    loaded.run(result)
    assert result.testsRun >= 2 and result.wasSuccessful(), result.failures + result.errors
    SlicerMSAM.SlicerMSAMTest().runTest()
