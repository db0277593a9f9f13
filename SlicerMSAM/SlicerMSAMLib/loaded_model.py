"""The network that is in memory: loaded when it is first needed, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from SlicerMSAMLib.inference_worker import Job

LoadPredictor = Callable[[str, Job], Any]


class LoadedModel:
    """Keeps the last network that was loaded, and no other: each can take hundreds of megabytes.

    Args:
        load: returns the network of a name; called on the worker's thread, may report progress.
    """

    def __init__(self, load: LoadPredictor) -> None:
        self._load = load
        self._present: tuple[str, Any] | None = None  # replaced as a whole: two threads look at it

    def of(self, name: str) -> Any:
        """Return the network of a name, or None while it is not loaded."""
        present = self._present
        return present[1] if present is not None and present[0] == name else None

    def load(self, name: str, job: Job) -> Any:
        """Return the network of a name, loaded when it is not here; on the worker's thread.

        Raises:
            MSAMError: what loading raises.
        """
        present = self._present
        if present is None or present[0] != name:
            present = self._present = (name, self._load(name, job))
        return present[1]

    def forget(self) -> None:
        """Let go of the network."""
        self._present = None
