"""Makes the pictures of the user guide: `make pictures`.

The genuine module runs in the stand-in for Slicer's window that its tests use (Testing/slicer_shell), with
the default model, on the demo's two scans; mouse and keys do what a reader's hands would do. Where to click
comes from the scans' reference outlines, by the rule of the evaluation's click protocol, so the pictures
can be made again with other weights.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402
from PIL import Image  # noqa: E402

from MSAMLogic.capabilities import Capabilities  # noqa: E402
from MSAMLogic.evaluation.protocol import lesions, next_click  # noqa: E402
from MSAMLogic.evaluation.scans import DemoScan, demo_scans  # noqa: E402
from MSAMLogic.session import Click  # noqa: E402
from Testing import slicer_shell  # noqa: E402

FOLDER = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1280, 800
MOST_BYTES = 150_000
PATIENCE_S = 120
MOST_CORRECTIONS = 3
# Slicer's own colours of the three views, and what they show at first.
VIEWS = {"Red": ("#f34a33", "Axial"), "Green": ("#6eb04b", "Coronal"), "Yellow": ("#edd54c", "Sagittal")}

Ras = tuple[float, float, float]


class Reader:
    """Somebody at the mouse: opens a scan, clicks, presses keys, takes pictures."""

    def __init__(self) -> None:
        app = slicer_shell.start()
        import slicer

        from Testing.slicer_shell import testing, unhandled

        self.slicer, self.hands, self.unhandled = slicer, testing, unhandled
        app.moduleManager().load(ROOT / "SlicerMSAM" / "SlicerMSAM.py")
        app.startupCompleted.emit()
        self.window = app.mainWindow()
        self._captions = self._arrange()
        self.window.resize(WIDTH, HEIGHT)
        testing.process_events(50)

    @property
    def panel(self) -> Any:
        """The module's panel."""
        return self.slicer.modules.SlicerMSAMWidget.panel

    @property
    def ui(self) -> Any:
        """The panel's widgets."""
        return self.panel.ui

    @property
    def mask(self) -> sitk.Image:
        """The newest mask of the selected lesion."""
        return self.panel.editor.lesion.update.mask

    def open(self, scan: DemoScan, name: str, window: float, level: float) -> None:
        """Open a scan in an empty scene, then the module."""
        slicer = self.slicer
        slicer.util.selectModule("")
        slicer.mrmlScene.Clear(0)
        volume = slicer.util.loadVolume(str(scan.image_path))
        volume.SetName(name)
        display = volume.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(window, level)
        display.SetInterpolate(True)
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        slicer.util.selectModule("SlicerMSAM")
        self.wait()

    def look_at(self, ras: Ras, millimetres: float, middle: Ras | None = None) -> None:
        """Let all views show a point, and as much round a middle as asked for."""
        for name in VIEWS:
            node = self.slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()
            _, _, depth = node.GetFieldOfView()
            width, height = (float(n) for n in node.GetDimensions()[:2])
            scale = millimetres / min(width, height)
            node.SetFieldOfView(width * scale, height * scale, depth)
            node.JumpSliceByCentering(*(middle or ras))
            self.hands.show_slice_at(name, ras)
        self._write_captions()
        self.hands.process_events(30)

    def click(self, view: str, ras: Ras) -> None:
        """Click in a view and wait for the mask."""
        self.hands.click_at_ras(view, ras)
        self.wait()

    def press(self, key: str) -> None:
        """Press a key, by Qt's name for it."""
        import qt

        self.hands.press_key(getattr(qt.Qt, f"Key_{key}"))
        self.wait()

    def wait(self) -> None:
        """Wait until every answer is there and shown."""
        end = time.monotonic() + PATIENCE_S
        self.hands.process_events(30)
        while self.panel.editor is not None and self.panel.editor.worker.is_busy:
            if time.monotonic() > end:
                raise TimeoutError("the module did not answer")
            self.hands.process_events(10)
        self.hands.process_events(50)
        if found := self.unhandled.take():
            raise RuntimeError(f"the module failed: {found}")

    def take_panel(self, name: str) -> None:
        """Write a picture of the panel, without the empty space below it."""
        from PySide6 import QtCore

        frame, last = self.window.panel(), self.ui.researchLabel
        bottom = last.mapTo(frame, QtCore.QPoint(0, last.height)).y()
        self._write(frame.grab(QtCore.QRect(0, 0, frame.width, bottom + 10)), name)

    def take(self, name: str) -> None:
        """Write a picture of the window."""
        for view in VIEWS:
            self._leave(view)
            self.hands.slice_view(view).forceRender()
        self.hands.process_events(30)
        self._write(self.window.grab(), name)

    def _write(self, picture: Any, name: str) -> None:
        """Write a picture in as few bytes as will do."""
        rough = FOLDER / f"{name}.partial.png"
        if not picture.save(str(rough)):
            raise OSError(f"could not write {rough}")
        image = Image.open(io.BytesIO(rough.read_bytes())).convert("RGB")
        rough.unlink()
        path = FOLDER / f"{name}.png"
        for greys in (128, 96, 64, 48, 40, 32, 24):
            _with_few_colours(image, greys).save(path, optimize=True)
            if path.stat().st_size <= MOST_BYTES:
                break
        size = path.stat().st_size // 1000
        print(f"{path.relative_to(ROOT)}  {image.width} x {image.height}  {greys} greys  {size} kB")

    def _leave(self, view: str) -> None:
        """Take the mouse out of a view, and with it the point that follows it."""
        from PySide6 import QtCore

        self.slicer.app.sendEvent(self.hands.slice_view(view), QtCore.QEvent(QtCore.QEvent.Type.Leave))
        self.hands.process_events(10)

    def close(self) -> None:
        """Leave the module."""
        self.slicer.util.selectModule("")
        self.slicer.mrmlScene.Clear(0)

    # The views, in place of the stand-in's three narrow columns: one large and two small, each under a bar
    # in Slicer's colour.

    def _arrange(self) -> dict[str, Any]:
        from PySide6 import QtWidgets

        manager = self.slicer.app.layoutManager()
        row = manager.viewport().layout()
        right = QtWidgets.QVBoxLayout()
        captions = {}
        for name, (colour, _) in VIEWS.items():
            view = manager.sliceWidget(name)
            row.removeWidget(view)
            caption = QtWidgets.QLabel()
            caption.setFixedHeight(20)
            caption.setStyleSheet(f"background: {colour}; color: black; padding-left: 6px;")
            captions[name] = caption
            column = QtWidgets.QVBoxLayout()
            column.setSpacing(0)
            column.addWidget(caption)
            column.addWidget(view, 1)
            if name == "Red":
                row.addLayout(column, 3)
            else:
                right.addLayout(column, 1)
        right.setSpacing(2)
        row.addLayout(right, 2)
        return captions

    def _write_captions(self) -> None:
        for name, (_, plane) in VIEWS.items():
            node = self.slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()
            row, letters = {"Axial": (2, "IS"), "Coronal": (1, "PA"), "Sagittal": (0, "LR")}[plane]
            place = node.GetSliceToRAS().GetElement(row, 3)
            self._captions[name].setText(f"{plane}   {letters[place > 0]} {abs(place):.1f} mm")


class Case:
    """A scan with its outlined lesions, which say where a reader would click."""

    def __init__(self, scan: DemoScan) -> None:
        self.scan = scan
        self.image = sitk.ReadImage(str(scan.image_path))
        self.lesions = lesions(sitk.ReadImage(str(scan.mask_path)))

    def first_click(self, number: int) -> Ras:
        """The deepest point of a lesion, the largest being 0."""
        lesion = self.lesions[number]
        return _ras(next_click(lesion, lesion * 0))

    def correction(self, number: int, mask: sitk.Image, positive: bool | None = None) -> Click | None:
        """The click at the largest error of a mask, of both kinds or of one."""
        lesion, present = self.lesions[number], self._placed(number, mask)
        if positive is None:
            return next_click(lesion, present)
        if positive:
            return next_click(lesion, present * lesion)
        return next_click(lesion, sitk.Cast((present + lesion) > 0, sitk.sitkUInt8))

    def excess_ml(self, number: int, mask: sitk.Image) -> float:
        """Millilitres of a mask beyond the lesion."""
        outside = self._placed(number, mask) * (1 - self.lesions[number])
        voxels = int(sitk.GetArrayViewFromImage(outside).sum())
        return voxels * float(np.prod(self.image.GetSpacing())) / 1000

    def _placed(self, number: int, mask: sitk.Image) -> sitk.Image:
        grid = self.lesions[number]
        return sitk.Resample(mask, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)


def _with_few_colours(image: Image.Image, greys: int) -> Image.Image:
    """Return a picture with a palette: so many greys for the scan, the rest for what has a colour."""
    pixels = np.asarray(image).astype(int)
    coloured = (pixels.max(axis=2) - pixels.min(axis=2)) > 12
    levels = np.linspace(0, 255, greys).round().astype(np.uint8)
    palette = np.repeat(levels[:, None], 3, axis=1)
    if coloured.any():
        row = Image.fromarray(pixels[coloured][None].astype(np.uint8))
        fewer = row.quantize(256 - greys, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        found = np.array(fewer.getpalette(), np.uint8).reshape(-1, 3)
        palette = np.concatenate([palette, found])
    frame = Image.new("P", (1, 1))
    frame.putpalette(palette.ravel().tolist())
    return image.quantize(palette=frame, dither=Image.Dither.NONE)


def _ras(click: Click | None) -> Ras:
    assert click is not None
    x, y, z = click.point
    return (-x, -y, z)


def _correct(reader: Reader, case: Case, number: int, most: int) -> None:
    """Correct the selected lesion until it is right, with a few clicks at most."""
    for _ in range(most):
        click = case.correction(number, reader.mask)
        if click is None:
            return
        if click.positive is not reader.panel.clicking.positive:
            reader.press("T")
        reader.click("Red", _ras(click))
    if not reader.panel.clicking.positive:
        reader.press("T")


def chest(reader: Reader, case: Case) -> None:
    """One lesion in CT: before the first click, after it, a correction, the measurements, the export."""
    side = 150
    reader.open(case.scan, "Chest CT", 1400, -300)
    first = case.first_click(0)
    middle = (first[0], first[1] + 20, first[2])  # what lies behind the back is black
    reader.look_at(first, side, middle)
    reader.press("P")
    reader.take("before_first_click")
    reader.click("Red", first)
    reader.take("first_click")
    for _ in range(MOST_CORRECTIONS):
        missed = case.correction(0, reader.mask, positive=True)
        if missed is None or case.excess_ml(0, reader.mask) > 2:
            break
        reader.look_at(_ras(missed), side, middle)
        reader.click("Red", _ras(missed))
    wrong = case.correction(0, reader.mask, positive=False)
    if wrong is not None:
        reader.look_at(_ras(wrong), side, middle)
        reader.take("too_much")
        reader.press("T")
        reader.click("Red", _ras(wrong))
        reader.take("background_click")
        reader.press("T")
    _correct(reader, case, 0, 2)
    reader.press("Return")
    reader.press("Escape")
    reader.ui.rulersCheckBox.click()
    reader.wait()
    values = reader.panel.editor.measurements_of(reader.panel.editor.lesion.segment_id)
    x, y, z = np.array(values.diameters["axial"].long_ends).mean(axis=0).tolist()
    reader.look_at((-x, -y, z), side, middle)
    reader.take("measurements")
    reader.take_panel("panel")


def brain(reader: Reader, case: Case) -> None:
    """Two lesions in MR."""
    reader.open(case.scan, "Brain MR", 900, 600)
    points = [case.first_click(number) for number in (0, 1)]
    for number, point in enumerate(points):
        if number:
            reader.press("E")
        else:
            reader.press("P")
        reader.look_at(point, 150)
        reader.click("Red", point)
        _correct(reader, case, number, 5)
    reader.press("Return")
    reader.press("Escape")
    reader.ui.lesionTable.selectRow(0)
    reader.wait()
    x, y, z = np.mean(points, axis=0).tolist()
    reader.look_at(points[0], 150, (x, y, z))
    reader.take("two_lesions")


def proposals(reader: Reader, case: Case) -> None:
    """Lesions that were found without clicks; the reference outlines stand for what a model would find."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "masksam.safetensors"
        weights.touch()
        reader.open(case.scan, "Brain MR", 900, 600)
        finder = SimpleNamespace(capabilities=Capabilities(128, 32, takes_clicks=False))

        def find(model: Any, image: sitk.Image, on_progress: Any) -> list[Any]:
            # On the grid of Slicer's volume, whose slices may run the other way than the file's.
            masks = [
                sitk.Resample(x, image, sitk.Transform(), sitk.sitkNearestNeighbor) for x in case.lesions
            ]
            return [SimpleNamespace(mask=mask, name="Tumor", score=1.0) for mask in masks[:2]]

        tool = reader.panel.proposals
        tool._loaded = SimpleNamespace(load=lambda name, job: finder, forget=lambda: None)
        tool._propose = find
        reader.panel.logic.getParameterNode().proposalModelName = str(weights)
        reader.ui.proposalsButtonBox.setCollapsed(False)
        reader.wait()
        reader.ui.proposeButton.click()
        reader.wait()
        points = [case.first_click(number) for number in (0, 1)]
        x, y, z = np.mean(points, axis=0).tolist()
        reader.look_at(points[0], 150, (x, y, z))
        reader.take("proposals")


def main(arguments: Sequence[str]) -> int:
    """Make all pictures, or those of the named scans or functions."""
    if not slicer_shell.available():
        print("The pictures need slicer-core and PySide6, which Python 3.11 alone has: see the Makefile.")
        return 1
    FOLDER.mkdir(exist_ok=True)
    cases = {scan.name: Case(scan) for scan in demo_scans()}
    reader = Reader()
    for name, make in (("lung2", chest), ("brain1", brain), ("brain1", proposals)):
        if not arguments or name in arguments or make.__name__ in arguments:
            make(reader, cases[name])
    reader.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
