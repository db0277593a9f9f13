"""The folders in which weights lie: beside the software, and the user's cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from MSAMLogic.errors import WeightsError

REGISTRY_FILE = "models.json"


def cache_folder() -> Path:
    """Return the user's folder for downloads, by ``MSAM_CACHE`` or the platform's convention.

    The folder need not exist yet.
    """
    chosen = os.environ.get("MSAM_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "msam"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "msam"
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The convention says to ignore a relative path.
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "msam"


def registry_folder() -> Path:
    """Return the folder of ``models.json`` and the weights that come with the software.

    It is ``MSAM_MODEL_WEIGHTS`` where that is set, else ``model_weights`` beside the package (a clone, a
    Slicer extension), else ``model_weights`` inside the package (an installed wheel).

    Raises:
        WeightsError: when there is no ``models.json``.
    """
    candidates = _registry_folders()
    for folder in candidates:
        if (folder / REGISTRY_FILE).is_file():
            return folder
    places = " or ".join(str(folder / REGISTRY_FILE) for folder in candidates)
    raise WeightsError(
        f"The list of models is missing: there is no {places}. Install SlicerMSAM again, or set "
        f"MSAM_MODEL_WEIGHTS to the folder that has {REGISTRY_FILE}."
    )


def is_bundled(path: Path) -> bool:
    """Return whether a file lies beside ``models.json``, where what comes with the software is."""
    return path.parent.resolve() in [folder.resolve() for folder in _registry_folders()]


def _registry_folders() -> list[Path]:
    chosen = os.environ.get("MSAM_MODEL_WEIGHTS")
    if chosen:  # a wrong setting must not be passed over in silence
        return [Path(chosen).expanduser()]
    package = Path(__file__).resolve().parents[1]
    return [package.parent / "model_weights", package / "model_weights"]
