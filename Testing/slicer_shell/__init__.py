"""A stand-in for the Qt shell of 3D Slicer over the real MRML core; see README.md."""

from __future__ import annotations

from typing import Any

from .environment import available

__all__ = ["available", "start", "stop"]

_application: Any = None


def start() -> Any:
    """Start the application once per process; afterwards `slicer`, `qt` and `ctk` can be imported.

    Returns:
        The application, which is also `slicer.app`.
    """
    global _application
    if _application is None:
        from .assembly import assemble

        _application = assemble()
    return _application


def stop() -> None:
    """Take everything down in an order that does not crash; Python does it at exit by itself."""
    global _application
    if _application is not None:
        _application.release()
        _application = None
