"""`SampleData`: registers data sets and checks that Slicer would take them."""

from __future__ import annotations

import inspect
import types
from typing import Any

_ARGUMENTS = (
    "category",
    "sampleName",
    "uris",
    "fileNames",
    "nodeNames",
    "customDownloader",
    "thumbnailFileName",
    "loadFileTypes",
    "loadFiles",
    "loadFileProperties",
    "checksums",
    "loadFileType",
)
registered: list[dict[str, Any]] = []


class SampleDataLogic:
    """Only the registration; nothing is downloaded."""

    @staticmethod
    def registerCustomSampleDataSource(*positional: Any, **named: Any) -> None:
        unknown = set(named) - set(_ARGUMENTS)
        if unknown:
            raise TypeError(f"SampleData has no arguments {sorted(unknown)}")
        source = {**dict(zip(_ARGUMENTS, positional, strict=False)), **named}
        _check(source)
        registered.append(source)


def _check(source: dict[str, Any]) -> None:
    lengths = {
        name: len(source[name])
        for name in ("uris", "fileNames", "nodeNames", "checksums")
        if isinstance(source.get(name), (list, tuple))
    }
    if len(set(lengths.values())) > 1:
        raise ValueError(f"All fields of sample data source must have the same length: {lengths}")
    checksums = source.get("checksums") or []
    for checksum in [checksums] if isinstance(checksums, str) else checksums:
        if checksum and not checksum.startswith("SHA256:"):
            raise ValueError(f"a checksum starts with SHA256: {checksum}")


def make() -> types.ModuleType:
    """Build the `SampleData` module."""
    module = types.ModuleType("SampleData", inspect.getdoc(SampleDataLogic))
    module.SampleDataLogic = SampleDataLogic
    return module
