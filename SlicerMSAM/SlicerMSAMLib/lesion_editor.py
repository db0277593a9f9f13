"""From clicks to segments: what the module does, on the main thread and without a widget.

Clicks arrive as markups, inference happens on the worker, its updates come back through
:meth:`LesionEditor.poll`, the preview shows them, and acceptance writes a segment. Everything that is
known of a lesion hangs on one object, so that undo, cancel and selection have one place to look at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.errors import ClickError, MSAMError
from MSAMLogic.measurements import LesionMeasurements
from MSAMLogic.session import Click, InteractiveSession
from SlicerMSAMLib import click_memory, clicks_of_segment, new_segments, segment_access
from SlicerMSAMLib.inference_worker import InferenceWorker, Job
from SlicerMSAMLib.lesion import Lesion, VolumeInUse
from SlicerMSAMLib.lesion_preview import LesionPreview
from SlicerMSAMLib.lesion_sessions import LesionSessions, Update
from SlicerMSAMLib.loaded_model import LoadedModel, LoadPredictor
from SlicerMSAMLib.markup_clicks import MarkupClicks, Ras
from SlicerMSAMLib.segment_measurements import SegmentMeasurements
from SlicerMSAMLib.volume_geometry import (
    labelmap_of,
    own_lps_of_world,
    require_linear_transform,
    world_of_own_lps,
)

logger = logging.getLogger(__name__)


class LesionEditor(VTKObservationMixin):
    """Segments lesions of one volume by clicks.

    Args:
        load_predictor: returns the network of a name; called on the worker's thread, may report progress.
        on_change: called when there is something new to show.
        on_error: called with a text that says what is wrong and what to do.
        on_message: called with what jobs report.
        is_here: whether a network can be loaded without a download; then that is done when a volume is
            chosen, so that the first click need not wait for it.
    """

    def __init__(
        self,
        load_predictor: LoadPredictor,
        on_change: Callable[[], object] = lambda: None,
        on_error: Callable[[str], object] = lambda text: None,
        on_message: Callable[[object], object] = lambda message: None,
        is_here: Callable[[str], bool] = lambda name: True,
    ) -> None:
        VTKObservationMixin.__init__(self)
        self.worker = InferenceWorker(on_message)
        self.clicks = MarkupClicks(self.click, self._clicks_were_changed)
        self.preview = LesionPreview()
        self.writer = segment_access.SegmentWriter()
        self.model = "default"
        self._loaded = LoadedModel(load_predictor)
        self._on_change = on_change
        self._on_error = on_error
        self._is_here = is_here
        self._volume: VolumeInUse | None = None
        self._volume_node: slicer.vtkMRMLScalarVolumeNode | None = None
        self._segmentation: slicer.vtkMRMLSegmentationNode | None = None
        self._lesions: dict[tuple[str, str], Lesion] = {}
        self._current: Lesion | None = None
        self._is_away = False
        self._measurements = SegmentMeasurements(self.worker, on_change)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._scene_closes)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._node_goes)

    # What is selected

    @property
    def volume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume to click in."""
        return self._volume_node

    @property
    def segmentation(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The segmentation that lesions are written to."""
        return self._segmentation

    @property
    def lesion(self) -> Lesion | None:
        """The selected lesion."""
        return self._current

    @property
    def predictor(self) -> Any:
        """The network in use, or None while none is loaded."""
        return self._loaded.of(self.model)

    @property
    def capabilities(self) -> Capabilities | None:
        """What the network in use takes, or None while none is loaded."""
        return self.predictor.capabilities if self.predictor is not None else None

    @property
    def is_busy(self) -> bool:
        """Whether something that the user asked for is on its way; measuring is not counted."""
        return any(lesion.jobs for lesion in self._lesions.values())

    def select_volume(self, node: slicer.vtkMRMLScalarVolumeNode | None) -> None:
        """Choose the volume to click in."""
        if node is self._volume_node:
            return
        self._leave_volume()
        self._volume_node = node
        self._select_current_anew()

    def select_model(self, name: str) -> None:
        """Choose the network; clicks of the selected lesion are made again with it."""
        if name == self.model:
            return
        self.model = name
        self._leave_volume()
        self._select_current_anew()

    def select_segmentation(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Choose the segmentation to write to."""
        if node is self._segmentation:
            return
        self._current = None
        self._segmentation = node
        self._measurements.clear()
        self.measure_segments()
        self._on_change()

    def select_segment(self, segment_id: str | None) -> None:
        """Choose the lesion to click; its clicks, mask and history come back."""
        if self._current is not None and segment_id == self._current.segment_id:
            return
        self._current = None
        if segment_id and self._segmentation is not None:
            self._current = self._lesion_of(segment_id)
            self._recall(self._current)
        self._show()

    def next_lesion(self) -> str | None:
        """Accept the present mask and go on with a new, empty segment; its ID, or None without a volume."""
        if self._volume_node is None:
            self._on_error(_("Choose a volume first."))
            return None
        self.accept()
        if self._current is not None and self._is_untouched(self._current):
            return self._current.segment_id
        segment_id = new_segments.add_lesion(self.ready_segmentation())
        self.select_segment(segment_id)
        return segment_id

    # What other tools of the module work with

    def volume_in_use(self) -> VolumeInUse:
        """Return the chosen volume as jobs see it.

        Raises:
            MSAMError: when none is chosen, or it cannot be used.
        """
        if self._volume_node is None:
            raise MSAMError(_("Choose a volume first."))
        require_linear_transform(self._volume_node)  # it may have got one since
        if self._volume is not None and self._volume.is_stale:
            self._leave_volume()
        return self._present_volume()

    def ready_segmentation(self) -> slicer.vtkMRMLSegmentationNode:
        """Return the segmentation, made for the chosen volume when there is none."""
        if self._segmentation is None:
            self._segmentation = new_segments.add_segmentation(self._volume_node)
        return self._segmentation

    # What the user does to a lesion

    def click(self, world: Ras, positive: bool) -> None:
        """Add a click.

        Args:
            world: RAS millimetres.
            positive: for the lesion, or against it.
        """
        try:
            self.volume_in_use()
            point = own_lps_of_world(self._volume_node, world)
            lesion = self._lesion_to_click()
        except MSAMError as error:
            self._refuse(error)
            return
        self._change(lesion, lambda session: session.click(point, positive))

    def undo(self) -> None:
        """Take the last change of the selected lesion back: clicks, markers, mask and model state."""
        self._change_current(lambda session: session.undo())

    def redo(self) -> None:
        """Make the last undone change again."""
        self._change_current(lambda session: session.redo())

    def reset(self) -> None:
        """Drop clicks and mask of the selected lesion; undo brings them back."""
        lesion = self._current
        if lesion is not None and (lesion.update is not None or lesion.jobs):
            self._change_current(lambda session: session.reset())

    def accept(self) -> None:
        """Write the mask into its segment, as soon as the clicks on their way are done."""
        lesion = self._current
        if lesion is None:
            return
        if lesion.jobs:
            lesion.accept_when_done = True
        else:
            self._accept(lesion)

    def cancel(self) -> None:
        """Drop all clicks that have no mask yet, at once."""
        self.worker.cancel()
        self._show()

    def poll(self) -> None:
        """Take over what the worker has finished; call it from a timer."""
        self.worker.poll()

    # What the volume's segments measure

    def measurements_of(self, segment_id: str) -> LesionMeasurements | None:
        """Return the newest measurements of a segment, or None while there are none."""
        return self._measurements.of(segment_id)

    def measure_segments(self) -> None:
        """Measure all segments of the segmentation that are not measured yet."""
        if self._segmentation is None or self._volume_node is None:
            return
        try:
            image = self._present_volume().ready_image
        except MSAMError as error:
            logger.info("Nothing is measured: %s", error)
            return
        self._measurements.measure_all(self._segmentation, self._volume_node, image)

    def world_of(self, point: tuple[float, float, float]) -> Ras:
        """Return world RAS of a point in the volume's own LPS."""
        return world_of_own_lps(self._volume_node, point)

    # The end

    def leave(self) -> None:
        """Take markers and preview out of the views; what is not accepted comes back on return.

        Clicks on their way are still answered, and their masks shown on return.
        """
        self._is_away = True
        self.clicks.remove()
        self.preview.remove()

    def come_back(self) -> None:
        """Show the selected lesion again."""
        self._is_away = False
        if self._current is not None:
            self._recall(self._current)
        self._show()

    def close(self) -> None:
        """Stop the worker and remove everything of the module's own from the scene."""
        self._leave_volume()
        self.worker.stop()
        self.leave()
        self.writer.close()
        self._loaded.forget()
        self.removeObservers()

    # Inside: lesions

    def _lesion_of(self, segment_id: str) -> Lesion:
        key = (self._segmentation.GetID(), segment_id)
        if key not in self._lesions:
            self._lesions[key] = Lesion(self._segmentation, segment_id)
        return self._lesions[key]

    def _is_known(self, lesion: Lesion) -> bool:
        return any(lesion is known for known in self._lesions.values())

    def _is_untouched(self, lesion: Lesion) -> bool:
        has_clicks = lesion.update is not None and bool(lesion.update.clicks)
        return not has_clicks and not lesion.jobs and self._content(lesion) == "empty"

    def _content(self, lesion: Lesion) -> str:
        mask = segment_access.read_segment(lesion.segmentation, lesion.segment_id, self._volume_node)
        return click_memory.fingerprint(mask)

    def _lesion_to_click(self) -> Lesion:
        """Return the selected lesion, made when there is none, in step with its segment."""
        segmentation = self.ready_segmentation()
        if self._current is None or self._current.segment is None:
            self._current = None
            self._current = self._lesion_of(new_segments.add_lesion(segmentation))
        lesion = self._current
        if lesion.content is None:
            self._recall(lesion)
        if not lesion.jobs:
            self._adopt(lesion)
        return lesion

    def _recall(self, lesion: Lesion) -> None:
        """Make the clicks again that a segment remembers, when the segment is still what they made."""
        if lesion.content is not None or lesion.is_beyond_recall or self._volume_node is None:
            return
        if not clicks_of_segment.is_there(lesion):
            return
        try:
            volume, content = self._present_volume(), self._content(lesion)
        except MSAMError as error:
            self._refuse(error)
            return
        memory = clicks_of_segment.read(lesion, volume.geometry, content)
        if memory is None:
            return
        lesion.content = content

        def make_again(session: InteractiveSession) -> None:
            if memory.starting_mask is not None:
                session.set_mask(memory.starting_mask)
                session.forget_history()
            for click in memory.clicks:
                session.click(click.point, click.positive)

        self._change(lesion, make_again, anew=True)

    def _adopt(self, lesion: Lesion) -> None:
        """Start from what the segment holds, when somebody else has put it there."""
        mask = segment_access.read_segment(lesion.segmentation, lesion.segment_id, self._volume_node)
        content = click_memory.fingerprint(mask)
        if content == lesion.content:
            return
        is_first = lesion.content is None
        lesion.content = content
        if is_first and content == "empty":
            return

        def start(session: InteractiveSession) -> None:
            session.set_mask(mask)
            if is_first:
                session.forget_history()

        self._change(lesion, start, anew=is_first)

    # Inside: changes

    def _present_volume(self) -> VolumeInUse:
        if self._volume is None:
            require_linear_transform(self._volume_node)
            self._volume = VolumeInUse(self._volume_node, self.model)
        return self._volume

    def _change_current(self, change: Callable[[InteractiveSession], object]) -> None:
        if self._current is not None and self._volume_node is not None:
            self._change(self._current, change)

    def _change(
        self,
        lesion: Lesion,
        change: Callable[[InteractiveSession], object],
        anew: bool = False,
    ) -> None:
        """Let the worker change a lesion.

        Args:
            lesion: which one.
            change: what to do to its session, on the worker's thread.
            anew: start from a session without history.
        """
        try:
            volume = self._present_volume()
        except MSAMError as error:
            self._refuse(error)
            return
        self._measurements.give_way()

        def work(job: Job) -> tuple[Update, Callable[[], None]]:
            return self._sessions(volume, job).try_change(lesion, change, job, anew)

        def settle() -> None:
            if job in lesion.jobs:
                lesion.jobs.remove(job)

        def succeed(result: tuple[Update, Callable[[], None]]) -> None:
            settle()
            if self._is_known(lesion):
                lesion.update = result[0]
                self._lesion_has_changed(lesion)

        def fail(error: Exception) -> None:
            settle()
            if anew and self._is_known(lesion):
                lesion.content, lesion.is_beyond_recall = None, isinstance(error, ClickError)
            self._refuse(error)

        def cancelled() -> None:
            settle()
            lesion.accept_when_done = False
            if lesion.update is None:
                lesion.content = None

        job = Job(work, succeed, fail, cancelled, commit=lambda result: result[1]())
        lesion.jobs.append(job)
        self.worker.submit(job)
        self._on_change()

    def _prepare(self) -> None:
        """Load network and volume before they are needed; what goes wrong is said at the first click."""
        if self._volume_node is None or not self._is_here(self.model):
            return
        try:
            volume = self._present_volume()
        except MSAMError:
            return

        def failed(error: Exception) -> None:
            logger.info("Nothing could be prepared: %s", error)

        self.worker.submit(Job(lambda job: self._sessions(volume, job), on_failure=failed))

    def _sessions(self, volume: VolumeInUse, job: Job) -> LesionSessions:
        """Return the sessions of a volume, made when there are none; on the worker's thread."""
        if volume.sessions is None:
            predictor = self._loaded.load(volume.model, job)
            job.check()
            volume.sessions = LesionSessions(predictor, volume.ready_image())
        return volume.sessions

    def _lesion_has_changed(self, lesion: Lesion) -> None:
        self._let_remember(lesion)
        if lesion.accept_when_done and not lesion.jobs:
            lesion.accept_when_done = False
            self._accept(lesion)
        elif not lesion.jobs:
            self._measurements.measure(
                lesion.segment_id, lesion.update.mask, self._present_volume().ready_image
            )
            self.measure_segments()  # of the others, what has given way to this change
        if lesion is self._current:
            self._show()
        else:
            self._on_change()

    def _accept(self, lesion: Lesion) -> None:
        if lesion.update is None or lesion.segment is None or lesion.is_accepted:
            return
        try:
            self.writer.write(lesion.update.mask, lesion.segmentation, lesion.segment_id, self._volume_node)
            mask = segment_access.read_segment(lesion.segmentation, lesion.segment_id, self._volume_node)
        except MSAMError as error:
            self._refuse(error)
            return
        lesion.content, lesion.accepted = click_memory.fingerprint(mask), lesion.update.content
        self._let_remember(lesion)
        self._measurements.measure(lesion.segment_id, mask, self._present_volume().ready_image)
        self._show()

    def _let_remember(self, lesion: Lesion) -> None:
        if self._volume is not None:
            clicks_of_segment.write(lesion, self._volume.geometry)

    # Inside: views

    def _show(self) -> None:
        """Bring markers and preview in step with the selected lesion."""
        if self._is_away:
            self._on_change()
            return
        lesion = self._current
        if lesion is None or self._volume_node is None:
            self.clicks.show([])
            self.preview.hide()
            self._on_change()
            return
        if not lesion.jobs:
            known = lesion.update.clicks if lesion.update is not None else ()
            self.clicks.show(
                [(world_of_own_lps(self._volume_node, click.point), click.positive) for click in known]
            )
        if lesion.update is None or lesion.segment is None or lesion.is_accepted:
            self.preview.hide()
        else:
            labelmap = labelmap_of(lesion.update.mask, self._volume_node)
            segment = lesion.segment
            self.preview.show(labelmap, self._volume_node, segment.GetColor(), segment.GetName())
        self._on_change()

    def _refuse(self, error: Exception) -> None:
        if not isinstance(error, MSAMError):
            logger.error("The click could not be answered.", exc_info=error)
        self._show()
        self._on_error(str(error))

    # Inside: leaving

    def _leave_volume(self) -> None:
        """Forget the volume's sessions; segments remember their clicks."""
        self.worker.cancel()
        self._measurements.clear()
        self._volume = None
        self._lesions.clear()
        if self._current is not None:
            current, self._current = self._current, None
            if current.segment is not None and self._segmentation is current.segmentation:
                self._current = self._lesion_of(current.segment_id)

    def _select_current_anew(self) -> None:
        self._prepare()
        if self._current is not None:
            self._recall(self._current)
        self._show()
        self.measure_segments()

    def _scene_closes(self, caller: object, event: object) -> None:
        self.worker.cancel()
        self.clicks.forget()
        self.preview.forget()
        self._measurements.clear()
        self._lesions.clear()
        self._volume = self._volume_node = self._segmentation = self._current = None
        self._on_change()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_goes(self, caller: object, event: object, node: slicer.vtkMRMLNode) -> None:
        if node is self._volume_node:
            self.select_volume(None)
        elif node is self._segmentation:
            self.worker.cancel()
            self._current = None
            self._lesions.clear()
            self._measurements.clear()
            self._segmentation = None
            self._show()

    # Inside: what markers tell

    def _clicks_were_changed(self) -> None:
        """Make all clicks again with the markers where they are now."""
        lesion = self._current
        if lesion is None or self._volume_node is None:
            return
        try:
            wanted = [
                Click(own_lps_of_world(self._volume_node, world), positive)
                for world, positive in self.clicks.points()
            ]
        except MSAMError as error:
            self._refuse(error)
            return
        self._change(lesion, lambda session: session.set_clicks(wanted))
