"""Weights files: which there are, where they lie, and fetching and checking them.

``model_weights/models.json`` lists them, and the systems that they belong to. A model without ``url``
comes with the software and lies beside that list; one with ``url`` is fetched into the user's cache folder
when the user asks for it. Importing this package does not import torch.
"""

from __future__ import annotations

from MSAMLogic.weights.downloading import (
    DownloadCancelled,
    Downloaded,
    delete_download,
    download,
    downloads,
)
from MSAMLogic.weights.local_files import (
    ensure_available,
    file_sha256,
    is_available,
    pinned,
    verify,
    weights_path,
)
from MSAMLogic.weights.partial_download import Progress
from MSAMLogic.weights.pins import Pin
from MSAMLogic.weights.places import REGISTRY_FILE, cache_folder, registry_folder
from MSAMLogic.weights.reading import SUFFIXES, load_metadata, load_state
from MSAMLogic.weights.registry import ModelEntry, find_model, models, systems

__all__ = [
    "REGISTRY_FILE",
    "SUFFIXES",
    "DownloadCancelled",
    "Downloaded",
    "ModelEntry",
    "Pin",
    "Progress",
    "cache_folder",
    "delete_download",
    "download",
    "downloads",
    "ensure_available",
    "file_sha256",
    "find_model",
    "is_available",
    "load_metadata",
    "load_state",
    "models",
    "pinned",
    "registry_folder",
    "systems",
    "verify",
    "weights_path",
]
