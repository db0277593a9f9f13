"""Where MSAMLogic lies: beside the module in an installed extension, one folder up in a clone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def make_importable() -> None:
    """Let ``import MSAMLogic`` work when the module's folder was added to Slicer's module paths by hand."""
    if importlib.util.find_spec("MSAMLogic") is not None:
        return
    clone = Path(__file__).resolve().parents[2]
    if (clone / "MSAMLogic" / "__init__.py").is_file():
        sys.path.append(str(clone))
