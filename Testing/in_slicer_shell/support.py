"""What the module's tests share: volumes, a predictor that can be held up, and a user at the panel."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
import vtk

sys.path.append(str(Path(__file__).parents[1]))
from images import balls
from predictors import ThresholdPredictor

from MSAMLogic.session import InteractiveSession
from Testing.slicer_shell.testing import process_events

Ras = tuple[float, float, float]


def ras_of_lps(point: Sequence[float]) -> Ras:
    x, y, z = point
    return (-x, -y, z)


def volume_node(image: sitk.Image, name: str = "Scan") -> slicer.vtkMRMLScalarVolumeNode:
    """Put an image into the scene, in its own geometry, and show it in the three views."""
    matrix = np.eye(4)
    axes = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, :3] = np.diag([-1, -1, 1]) @ axes
    matrix[:3, 3] = np.diag([-1, -1, 1]) @ np.array(image.GetOrigin())
    node = slicer.util.addVolumeFromArray(sitk.GetArrayFromImage(image), matrix, name)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node


def linear_transform(degrees: float = 20.0, shift: Ras = (7.0, -4.0, 11.0)) -> slicer.vtkMRMLTransformNode:
    transform = vtk.vtkTransform()
    transform.Translate(*shift)
    transform.RotateWXYZ(degrees, 1, 2, 0.5)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    node.SetMatrixTransformToParent(transform.GetMatrix())
    return node


class HeldPredictor(ThresholdPredictor):
    """Answers as :class:`ThresholdPredictor`, but only while :attr:`may_go_on` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_waiting = threading.Event()

    def decode(self, *args: Any) -> Any:
        self.is_waiting.set()
        assert self.may_go_on.wait(20)
        self.is_waiting.clear()
        return super().decode(*args)


class User:
    """Someone at the module's panel."""

    def __init__(self, predictor: Any) -> None:
        self.predictor = predictor
        self.loads = 0
        slicer.modules.slicermsam.widgetRepresentation()  # Slicer makes the panel when it is first needed
        self.panel = slicer.modules.SlicerMSAMWidget.panel
        self.panel.load_predictor = self._load

    def _load(self, name: str, job: Any) -> Any:
        self.loads += 1
        return self.predictor

    def open(self, volume: slicer.vtkMRMLScalarVolumeNode | None = None) -> User:
        """Open the module, and choose a volume."""
        slicer.util.selectModule("SlicerMSAM")
        if volume is not None:
            self.panel.ui.volumeSelector.setCurrentNode(volume)
        process_events(20)
        return self

    @property
    def editor(self) -> Any:
        return self.panel.editor

    @property
    def lesion(self) -> Any:
        return self.panel.editor.lesion

    @property
    def segmentation(self) -> slicer.vtkMRMLSegmentationNode:
        return self.panel.editor.segmentation

    @property
    def status(self) -> str:
        return self.panel.ui.statusLabel.text

    def wait(self, seconds: float = 60.0) -> None:
        """Let the event loop run until nothing is on its way."""
        end = time.monotonic() + seconds
        process_events()
        while self.editor.worker.is_busy:
            assert time.monotonic() < end, "the worker did not finish"
            process_events(5)
        process_events(5)

    def wait_until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not happen"
            process_events(5)

    def mark(self, ras: Sequence[float], positive: bool = True) -> None:
        """Place a point without the mouse, and wait for the mask."""
        self.place(ras, positive)
        self.wait()

    def place(self, ras: Sequence[float], positive: bool = True) -> None:
        self.editor.clicks._node(positive).AddControlPointWorld(vtk.vtkVector3d(*ras))

    def mask(self) -> np.ndarray:
        """The newest mask (k, j, i) on the grid of the volume."""
        return whole(self.lesion.update.mask, self.editor.volume)

    def written(self, segment_id: str | None = None) -> np.ndarray:
        """A segment's voxels (k, j, i) on the grid of the volume."""
        return slicer.util.arrayFromSegmentBinaryLabelmap(
            self.segmentation, segment_id or self.lesion.segment_id, self.editor.volume
        )

    def segment_ids(self) -> list[str]:
        return list(self.segmentation.GetSegmentation().GetSegmentIDs())

    def markers(self) -> list[tuple[Ras, bool]]:
        return self.editor.clicks.points()


def whole(part: sitk.Image, volume: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Return a mask's voxels (k, j, i) on the grid of a volume."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(matrix)
    start = np.rint(matrix.MultiplyPoint((*ras_of_lps(part.GetOrigin()), 1.0))[:3]).astype(int)
    out = np.zeros(tuple(reversed(volume.GetImageData().GetDimensions())), bool)
    voxels = sitk.GetArrayFromImage(part) > 0
    k, j, i = voxels.shape
    x, y, z = start
    out[z : z + k, y : y + j, x : x + i] = voxels
    return out


def directly(
    predictor: Any, image: sitk.Image, clicks: Sequence[tuple[Ras, bool]], start: sitk.Image | None = None
) -> np.ndarray:
    """Return the mask (k, j, i) that a session without the module makes of clicks in RAS."""
    session = InteractiveSession(predictor)
    session.set_image(image)
    if start is not None:
        session.set_mask(start)
    for ras, positive in clicks:
        session.click(ras_of_lps(ras), positive)
    return sitk.GetArrayFromImage(session.mask) > 0


def two_balls(**options: Any) -> tuple[sitk.Image, Ras, Ras]:
    """Return an image with two bright balls that do not touch, and their centres in RAS."""
    size = options.pop("size", (90, 80, 70))
    empty = balls(size=size, **options)

    def centre(shift: int) -> tuple[float, float, float]:
        return empty.TransformIndexToPhysicalPoint([size[0] // 2 + shift, size[1] // 2, size[2] // 2])

    centres = [centre(-size[0] // 5), centre(size[0] // 5)]
    image = balls(size=size, centres=centres, radius=7, **options)
    return image, ras_of_lps(centres[0]), ras_of_lps(centres[1])
