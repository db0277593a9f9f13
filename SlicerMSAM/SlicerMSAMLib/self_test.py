"""The self-test's steps, with a predictor that needs no network: bright is lesion."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import slicer

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.predictor import Answer

_RADIUS = 8  # voxels of 1 mm
_CENTRES = ((30, 30, 30), (30, 30, 70))


class BrightnessPredictor:
    """Answers with the bright voxels; a background click takes away a ball."""

    capabilities = Capabilities(32, 16, (1.5,), 1.5, all_clicks=True)

    def encode(self, patch: np.ndarray) -> np.ndarray:
        """Return the patch itself."""
        return patch

    def decode(
        self, features: np.ndarray, coords: np.ndarray, labels: np.ndarray, prompt: np.ndarray
    ) -> Answer:
        """Return the bright part without a ball round each background click."""
        n = self.capabilities.patch_size
        mask = features > 0.5 * float(features.max())
        grid = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1)
        for point, label in zip(coords, labels, strict=True):
            if label == 0:
                mask &= np.linalg.norm(grid - point, axis=-1) > 3
        logits = np.where(mask, 5.0, -5.0).astype(np.float32)
        return Answer(logits, logits.reshape(16, 2, 16, 2, 16, 2).mean(axis=(1, 3, 5)), 0.9)


def make_volume() -> slicer.vtkMRMLScalarVolumeNode:
    """Return a volume with two bright balls."""
    voxels = np.zeros((100, 60, 60), np.int16)
    k, j, i = np.indices(voxels.shape)
    for x, y, z in _CENTRES:
        voxels[(i - x) ** 2 + (j - y) ** 2 + (k - z) ** 2 < _RADIUS**2] = 100
    voxels += (np.random.default_rng(0).normal(0, 2, voxels.shape)).astype(np.int16)
    return slicer.util.addVolumeFromArray(voxels, name="Balls")


def wait(editor: Any, seconds: float = 20.0) -> None:
    """Let the worker finish what it has."""
    end = time.monotonic() + seconds
    while editor.worker.is_busy:
        editor.poll()
        slicer.app.processEvents()
        if time.monotonic() > end:
            raise TimeoutError("the worker did not finish")
        time.sleep(0.002)


def voxel_count(editor: Any) -> int:
    """Return how many voxels the selected lesion's newest mask has."""
    import SimpleITK as sitk

    return int(sitk.GetArrayFromImage(editor.lesion.update.mask).sum())


def click_refine_undo_accept(test: Any, logic: Any) -> None:
    """A click makes a mask, a background click shrinks it, undo restores it, accepting writes it."""
    volume = make_volume()
    editor = logic.createEditor(lambda name, job: BrightnessPredictor())
    try:
        editor.select_volume(volume)
        centre = tuple(float(v) for v in _CENTRES[0])
        editor.click(centre, True)
        wait(editor)
        first = voxel_count(editor)
        expected = 4 / 3 * np.pi * _RADIUS**3
        test.assertLess(abs(first - expected), 0.3 * expected)
        editor.click((centre[0] + 4, centre[1], centre[2]), False)
        wait(editor)
        test.assertLess(voxel_count(editor), first)
        editor.undo()
        wait(editor)
        test.assertEqual(voxel_count(editor), first)
        editor.accept()
        wait(editor)
        segment_id = editor.lesion.segment_id
        written = slicer.util.arrayFromSegmentBinaryLabelmap(editor.segmentation, segment_id, volume)
        test.assertEqual(int((written > 0).sum()), first)
        test.assertTrue(written[_CENTRES[0][2], _CENTRES[0][1], _CENTRES[0][0]])
    finally:
        editor.close()


def next_lesion_leaves_the_first_alone(test: Any, logic: Any) -> None:
    """A second lesion gets a segment of its own, and the first stays as it was."""
    volume = make_volume()
    editor = logic.createEditor(lambda name, job: BrightnessPredictor())
    try:
        editor.select_volume(volume)
        written = []
        for centre in _CENTRES:
            editor.next_lesion()
            editor.click(tuple(float(v) for v in centre), True)
            wait(editor)
            editor.accept()
            wait(editor)
            first_id = editor.segmentation.GetSegmentation().GetNthSegmentID(0)
            written.append(slicer.util.arrayFromSegmentBinaryLabelmap(editor.segmentation, first_id, volume))
        test.assertEqual(editor.segmentation.GetSegmentation().GetNumberOfSegments(), 2)
        test.assertTrue(written[0].any())
        test.assertTrue(np.array_equal(written[0], written[1]))
    finally:
        editor.close()


def propose_bright_balls(model: Any, image: Any, modality: Any = None, on_progress: Any = None) -> list[Any]:
    """Find the bright parts, as :func:`MSAMLogic.proposals.propose_lesions` finds lesions."""
    import SimpleITK as sitk

    parts = sitk.ConnectedComponent(image > 50)
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(parts)
    found = []
    for label in shape.GetLabels():
        box = shape.GetBoundingBox(label)
        mask = sitk.RegionOfInterest(parts == label, box[3:], box[:3])
        found.append(SimpleNamespace(mask=mask, name="Ball", score=0.9))
        on_progress(label / shape.GetNumberOfLabels())
    return found


def proposals_become_segments_that_clicks_refine(test: Any, logic: Any) -> None:
    """What a model finds becomes segments; a click in one starts from its mask, the other stays."""
    volume = make_volume()
    editor = logic.createEditor(lambda name, job: BrightnessPredictor())
    finder = SimpleNamespace(capabilities=Capabilities(32, 16, takes_clicks=False, classes=("Ball",)))
    proposals = logic.createProposals(editor, lambda name, job: finder, propose_bright_balls)
    try:
        editor.select_volume(volume)
        proposals.model = "finder"
        proposals.propose()
        wait(editor)
        inside = editor.segmentation.GetSegmentation()
        test.assertEqual(
            [inside.GetNthSegment(n).GetName() for n in range(inside.GetNumberOfSegments())],
            ["Ball 1", "Ball 2"],
        )
        written = [
            slicer.util.arrayFromSegmentBinaryLabelmap(editor.segmentation, segment_id, volume)
            for segment_id in inside.GetSegmentIDs()
        ]
        editor.select_segment(inside.GetNthSegmentID(0))
        x, y, z = (float(v) for v in _CENTRES[0])
        editor.click((x + 4, y, z), False)
        wait(editor)
        test.assertTrue(0 < voxel_count(editor) < int((written[0] > 0).sum()))
        editor.accept()
        wait(editor)
        again = slicer.util.arrayFromSegmentBinaryLabelmap(
            editor.segmentation, inside.GetNthSegmentID(1), volume
        )
        test.assertTrue(np.array_equal(again, written[1]))
    finally:
        editor.close()
        proposals.forget()
