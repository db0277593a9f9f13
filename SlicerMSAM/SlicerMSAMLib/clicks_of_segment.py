"""The clicks that a segment carries as a tag, written and read; see :mod:`SlicerMSAMLib.click_memory`."""

from __future__ import annotations

import vtk

from SlicerMSAMLib import click_memory
from SlicerMSAMLib.click_memory import ClickMemory
from SlicerMSAMLib.lesion import Lesion


def write(lesion: Lesion, geometry: str) -> None:
    """Let the segment of a lesion carry its clicks, so that they are saved with it.

    Args:
        lesion: without segment or result, nothing is written.
        geometry: of the volume that was clicked.
    """
    if lesion.segment is None or lesion.update is None:
        return
    start = lesion.update.starting_mask
    memory = ClickMemory(
        lesion.update.clicks,
        start if click_memory.fingerprint(start) != "empty" else None,
        geometry,
        lesion.content or "empty",
    )
    lesion.segment.SetTag(click_memory.TAG, memory.to_text())


def is_there(lesion: Lesion) -> bool:
    """Whether the segment of a lesion carries clicks."""
    return lesion.segment is not None and lesion.segment.GetTag(click_memory.TAG, vtk.reference(""))


def read(lesion: Lesion, geometry: str, content: str) -> ClickMemory | None:
    """Return the clicks that made what a segment holds, or None when it carries none that did.

    Args:
        lesion: the lesion.
        geometry: of the volume that is clicked.
        content: fingerprint of what the segment holds.
    """
    text = vtk.reference("")
    if lesion.segment is None or not lesion.segment.GetTag(click_memory.TAG, text):
        return None
    memory = ClickMemory.from_text(str(text))
    if memory is None or memory.geometry != geometry or memory.content != content:
        return None
    return memory
