"""Environment variables that Qt and VTK read before they are imported."""

from __future__ import annotations

import importlib.util
import os


def available() -> bool:
    """Whether the wheel with Slicer's core and PySide6 are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("slicer_core", "PySide6"))


def prepare() -> None:
    """Let Qt and VTK render without a display, and let Qt's enums be integers as they are in PythonQt."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    os.environ["PYSIDE6_OPTION_PYTHON_ENUM"] = "0x02"
    os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = "vtkEGLRenderWindow"
    # Mesa otherwise starts one rasteriser thread per core for each of the three views.
    os.environ.setdefault("LP_NUM_THREADS", "1")
