"""The module's own speed: from the release of the mouse button to the mask in the views, in the shell.

A process of its own, because the shell patches Qt's classes; ``make bench`` runs it.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

SIZE = (512, 512, 600)  # voxels (i, j, k)
LESION_RADIUS = 12  # voxels of 0.8 mm
LESIONS = 7


def timed(predictor: Any) -> Any:
    """Return a predictor that adds up in ``seconds`` how long the network itself takes."""
    from MSAMLogic.predictor import Relay

    class Timed(Relay):
        seconds = 0.0

        def _timed(self, question: Any, *args: Any) -> Any:
            began = time.perf_counter()
            answer = question(*args)
            self.seconds += time.perf_counter() - began
            return answer

        def encode(self, *args: Any) -> Any:
            return self._timed(super().encode, *args)

        def decode(self, *args: Any) -> Any:
            return self._timed(super().decode, *args)

        def correct(self, *args: Any) -> Any:
            return self._timed(super().correct, *args)

        def fuse(self, *args: Any) -> Any:
            return self._timed(super().fuse, *args)

    return Timed(predictor)


def scan() -> tuple[np.ndarray, list[np.ndarray]]:
    """Return a CT-sized volume (k, j, i) with balls in noisy tissue, and their centres (i, j, k)."""
    rng = np.random.default_rng(0)
    slab = rng.normal(40, 20, (8, SIZE[1], SIZE[0])).astype(np.int16)
    voxels = np.tile(slab, (SIZE[2] // 8, 1, 1))
    ball = np.stack(np.meshgrid(*[np.arange(-LESION_RADIUS, LESION_RADIUS + 1)] * 3, indexing="ij"))
    inside = (ball**2).sum(axis=0) <= LESION_RADIUS**2
    centres = [np.array([256 + 60 * (n % 3 - 1), 256 + 70 * (n // 3 - 1), 300]) for n in range(LESIONS)]
    r = LESION_RADIUS
    for i, j, k in centres:
        voxels[k - r : k + r + 1, j - r : j + r + 1, i - r : i + r + 1][inside] += 150
    return voxels, centres


def measure() -> dict[str, float]:
    """Click lesions with the mouse and time every click."""
    from Testing import slicer_shell

    slicer_shell.start()
    import qt
    import slicer

    from MSAMLogic import load_model
    from Testing.slicer_shell.testing import (
        _enter,
        _move,
        pixel_of_ras,
        process_events,
        show_slice_at,
        slice_view,
    )

    slicer.app.moduleManager().load(ROOT / "SlicerMSAM" / "SlicerMSAM.py")
    slicer.app.mainWindow().resize(1280, 800)
    voxels, centres = scan()
    to_ras = np.diag([-0.8, -0.8, 0.8, 1.0])
    volume = slicer.util.addVolumeFromArray(voxels, to_ras, "CT")
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    slicer.modules.slicermsam.widgetRepresentation()
    panel = slicer.modules.SlicerMSAMWidget.panel
    predictor = timed(load_model("default", device="cpu"))
    panel.load_predictor = lambda name, job: predictor
    slicer.util.selectModule("SlicerMSAM")
    panel.ui.volumeSelector.setCurrentNode(volume)
    editor = panel.editor

    def settle() -> None:
        while editor.worker.is_busy:
            process_events(5)
        process_events(30)

    settle()
    rendered = dict.fromkeys(("Red", "Yellow", "Green"), 0)

    def count(name: str) -> Any:
        def add(caller: object, event: str) -> None:
            rendered[name] += 1

        return add

    for name in rendered:
        slice_view(name).renderWindow().AddObserver("EndEvent", count(name))

    def timed_click(view: str, ras: np.ndarray, positive: bool) -> dict[str, float]:
        """Click, and wait until all three views have drawn the new mask."""
        panel.clicking.start_placing(positive)
        for name in rendered:
            show_slice_at(name, ras)
        process_events(30)
        widget, pixel = slice_view(view), pixel_of_ras(view, ras)
        _enter(widget, pixel)
        _move(widget, pixel)
        process_events(20)
        before = editor.lesion.update if editor.lesion is not None else None
        predictor.seconds = 0.0
        left, none = qt.Qt.LeftButton, qt.Qt.NoModifier
        from PySide6 import QtTest

        QtTest.QTest.mousePress(widget, left, none, pixel)
        longest, drawn = 0.0, None
        began = time.perf_counter()
        QtTest.QTest.mouseRelease(widget, left, none, pixel)
        longest = time.perf_counter() - began
        while True:
            turn = time.perf_counter()
            slicer.app.processEvents()
            longest = max(longest, time.perf_counter() - turn)
            if drawn is None:
                if editor.lesion.update is not before:
                    drawn = dict(rendered)
            elif all(rendered[name] > drawn[name] for name in rendered):
                break
            if time.perf_counter() - began > 60:
                raise TimeoutError("the mask was never drawn")
            time.sleep(0.001)
        took = time.perf_counter() - began
        network = predictor.seconds
        turn = time.perf_counter()
        while editor.worker.is_busy:  # measuring goes on behind; it must not block either
            turn = time.perf_counter()
            slicer.app.processEvents()
            longest = max(longest, time.perf_counter() - turn)
            time.sleep(0.001)
        return {"seconds": took, "network": network, "longest": longest}

    first, further = [], []
    for number, centre in enumerate(centres):
        ras = (to_ras @ np.array([*centre, 1.0]))[:3]
        panel.next_lesion()
        settle()
        results = [
            timed_click(view, ras + np.array(shift) * 0.8, positive)
            for view, shift, positive in (
                # Each further click contradicts the mask of a ball of 12 voxels, so that it is corrected.
                ("Red", (0, 0, 0), True),
                ("Yellow", (0, 6, 6), False),
                ("Green", (-15, 0, 0), True),
                ("Red", (0, -8, 0), False),
            )
        ]
        if number:  # the first lesion warms up
            first.append(results[0])
            further.extend(results[1:])
    mask_is_there = bool(editor.lesion.update.clicks) and editor.preview.is_shown
    assert mask_is_there
    everything = first + further
    figures = {
        "first": statistics.median(r["seconds"] for r in first),
        "further": statistics.median(r["seconds"] for r in further),
        "blocked": max(r["longest"] for r in everything),
        "blocked_median": statistics.median(r["longest"] for r in everything),
        "not_network_first": statistics.median(1 - r["network"] / r["seconds"] for r in first),
        "not_network_further": statistics.median(1 - r["network"] / r["seconds"] for r in further),
    }
    panel.close()
    return figures


if __name__ == "__main__":
    print(json.dumps(measure()), flush=True)
