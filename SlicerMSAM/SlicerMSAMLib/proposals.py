"""Lesions that a model finds by itself, as segments: on the main thread and without a widget.

The model that finds is another one than the model that is clicked. What it finds becomes ordinary
segments, so that a click in one of them refines it with the model for clicks, from the mask that is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import SimpleITK as sitk
import slicer
from slicer.i18n import tr as _

from MSAMLogic.errors import MSAMError
from SlicerMSAMLib import new_segments, segment_access
from SlicerMSAMLib.inference_worker import Job
from SlicerMSAMLib.lesion import VolumeInUse
from SlicerMSAMLib.lesion_editor import LesionEditor
from SlicerMSAMLib.loaded_model import LoadedModel, LoadPredictor
from SlicerMSAMLib.model_choice import Progress, short_name

logger = logging.getLogger(__name__)

Propose = Callable[..., Sequence[Any]]
"""Called as :func:`MSAMLogic.proposals.propose_lesions`."""


def propose_lesions(model: Any, image: sitk.Image, **options: Any) -> Sequence[Any]:
    """Return the lesions that a model finds; see :func:`MSAMLogic.proposals.propose_lesions`."""
    from MSAMLogic.proposals import propose_lesions as propose

    return propose(model, image, **options)


class LesionProposals:
    """Lets a model find lesions in the editor's volume and makes segments of them.

    One search at a time, on the editor's worker. Nothing in the scene changes before it has succeeded, so
    one that was cancelled, by the user or by another volume, leaves nothing behind.

    Args:
        editor: chooses volume and segmentation.
        load_predictor: returns the network of a name; called on the worker's thread.
        propose: finds the lesions; called on the worker's thread.
        on_change: called when there is something new to show.
        on_error: called with a text that says what is wrong and what to do.
    """

    def __init__(
        self,
        editor: LesionEditor,
        load_predictor: LoadPredictor,
        propose: Propose = propose_lesions,
        on_change: Callable[[], object] = lambda: None,
        on_error: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.model = ""
        self.summary = ""
        self._editor = editor
        self._loaded = LoadedModel(load_predictor)
        self._propose = propose
        self._on_change = on_change
        self._on_error = on_error
        self._job: Job | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a search is on its way."""
        return self._job is not None

    def propose(self) -> None:
        """Search the volume with :attr:`model`; what is found is added to the segmentation."""
        if self.is_busy:
            return
        self.summary = ""
        try:
            volume = self._editor.volume_in_use()
        except MSAMError as error:
            self._on_error(str(error))
            return
        model, segmentation = self.model, self._editor.segmentation

        def work(job: Job) -> Sequence[Any]:
            predictor = self._loaded.load(model, job)
            if predictor.capabilities.takes_clicks:
                raise MSAMError(
                    _(
                        "'{name}' segments what is clicked and finds nothing by itself. Choose a model that "
                        "names what it finds, such as MaskSAM."
                    ).format(name=short_name(model))
                )

            def tell(share: float) -> None:
                job.check()
                job.report(Progress(_("Looking for lesions"), share))

            tell(0.0)
            return self._propose(predictor, volume.ready_image(), on_progress=tell)

        def succeed(found: Sequence[Any]) -> None:
            self._job = None
            try:
                self._add(found, volume, segmentation)
            except MSAMError as error:
                self._on_error(str(error))
            self._on_change()

        def fail(error: Exception) -> None:
            self._job = None
            if not isinstance(error, MSAMError):
                logger.error("No lesions could be proposed.", exc_info=error)
            self._on_error(str(error))
            self._on_change()

        def cancelled() -> None:
            self._job = None
            self._on_change()

        self._job = Job(work, succeed, fail, cancelled)
        self._editor.worker.submit(self._job)
        self._on_change()

    def forget(self) -> None:
        """Let go of the network."""
        self._loaded.forget()

    def _add(
        self,
        found: Sequence[Any],
        volume: VolumeInUse,
        segmentation: slicer.vtkMRMLSegmentationNode | None,
    ) -> None:
        """Make segments of what was found, in one step of the Segment Editor's undo.

        Raises:
            MSAMError: when volume or segmentation are no longer what they were.
        """
        if volume.is_stale:
            raise MSAMError(
                _("'{name}' was changed meanwhile. Propose lesions again.").format(name=volume.node.GetName())
            )
        if segmentation is not None and not slicer.mrmlScene.IsNodePresent(segmentation):
            raise MSAMError(_("The segmentation was removed meanwhile. Propose lesions again."))
        if not found:
            self.summary = _("No lesion was found. Click those that you see.")
            return
        target = segmentation or self._editor.ready_segmentation()
        segment_access.save_in_segment_editor(target)
        masks = [(proposal.name, proposal.mask) for proposal in found]
        added = new_segments.add_found(target, volume.node, masks, short_name(self.model))
        self.summary = _("Proposed: {count}. Choose one in the table; clicks correct it.").format(
            count=len(added)
        )
        if self._editor.segmentation is target:
            self._editor.measure_segments()
            if self._editor.lesion is None:
                self._editor.select_segment(added[0])
