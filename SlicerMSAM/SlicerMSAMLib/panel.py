"""The panel: widgets on one side, the lesion editor on the other, and nothing else.

It opens whatever is or is not installed; the editor is made once everything is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SlicerMSAMLib.click_buttons import ClickButtons
from SlicerMSAMLib.installer import InstallationError, Installer
from SlicerMSAMLib.shortcuts import Shortcuts

logger = logging.getLogger(__name__)

_POLL_MILLISECONDS = 10
_BUSY_AFTER_MILLISECONDS = 200
_ERROR_STYLE = "color: #c0392b;"


class Panel(VTKObservationMixin):
    """The module's panel.

    Args:
        ui_file: the Qt Designer file.
        logic: the module's logic; gives the parameter node and the editor.
        installer: finds out what is missing; by default the real one.
    """

    def __init__(self, ui_file: str, logic: Any, installer: Installer | None = None) -> None:
        VTKObservationMixin.__init__(self)
        self.logic = logic
        self.installer = installer or Installer(run=self._run_visibly)
        self.editor: Any = None
        self.load_predictor: Callable[..., Any] | None = None
        self.propose: Callable[..., Any] | None = None
        self.proposals: Any = None
        self.rulers: Any = None
        self.table: Any = None
        self.files: Any = None
        self.widget = slicer.util.loadUI(ui_file)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self._parameters: Any = None
        self._connection: Any = None
        self._is_entered = False
        self._is_updating = False
        self._error = ""
        self._models: Any = None
        self._proposal_panel: Any = None
        self._device_of: Any = None
        self._device = ""
        self._poll_timer = qt.QTimer()
        self._poll_timer.setInterval(_POLL_MILLISECONDS)
        self._poll_timer.connect("timeout()", self._poll)
        self._busy_timer = qt.QTimer()
        self._busy_timer.setSingleShot(True)
        self._busy_timer.setInterval(_BUSY_AFTER_MILLISECONDS)
        self._busy_timer.connect("timeout()", self._show_busy)
        self.clicking = ClickButtons(
            self.ui.lesionButton, self.ui.backgroundButton, self._update, self._show_error
        )
        self._prepare_widgets()
        self.shortcuts = Shortcuts(
            slicer.util.mainWindow(),
            {
                "place": self.clicking.toggle_placing,
                "toggle_sign": self.clicking.toggle_sign,
                "next_lesion": self.next_lesion,
                "reset": self.reset,
                "undo": self.undo,
                "redo": self.redo,
                "accept": self.accept,
                "stop_placing": self.clicking.stop_placing,
            },
        )

    # Entering and leaving

    def enter(self) -> None:
        """Bring the module to life."""
        self._is_entered = True
        self._start_editor()
        self._connect_parameters()
        self.shortcuts.install()
        if self.editor is not None:
            interaction = slicer.app.applicationLogic().GetInteractionNode()
            self.addObserver(
                interaction, slicer.vtkMRMLInteractionNode.InteractionModeChangedEvent, self._mode_changed
            )
            self.editor.come_back()
        self._update()

    def exit(self) -> None:
        """Leave the views, keys and events to others."""
        self._is_entered = False
        self.shortcuts.remove()
        self._disconnect_parameters()
        self.removeObservers()
        if self.editor is not None:
            self.editor.leave()
            self.rulers.remove()

    def close(self) -> None:
        """End for good."""
        self.exit()
        self._poll_timer.stop()
        self._busy_timer.stop()
        if self.editor is not None:
            self.editor.close()
            self.proposals.forget()
            self.editor = self.clicking.editor = None

    def scene_closes(self) -> None:
        """Let go of what the scene takes with it."""
        self._disconnect_parameters()
        if self.rulers is not None:
            self.rulers.forget()

    def scene_changed(self) -> None:
        """Take over what a new or opened scene holds."""
        if self._is_entered:
            self._connect_parameters()
            self._update()

    # What the user does

    def undo(self) -> None:
        """Take the last click back."""
        self._tell_editor("undo")

    def redo(self) -> None:
        """Make the click again that was taken back."""
        self._tell_editor("redo")

    def reset(self) -> None:
        """Drop the lesion's clicks."""
        self._tell_editor("reset")

    def accept(self) -> None:
        """Write the mask into its segment."""
        self._tell_editor("accept")

    def next_lesion(self) -> None:
        """Accept, and go on with another lesion."""
        self._tell_editor("next_lesion")

    def cancel(self) -> None:
        """Drop the clicks that have no mask yet, and end a search for lesions."""
        self._tell_editor("cancel")

    def _tell_editor(self, verb: str) -> None:
        if self.editor is not None:
            self._error = ""
            getattr(self.editor, verb)()
            self._update()

    # Setting up

    def _prepare_widgets(self) -> None:
        ui = self.ui
        ui.undoButton.connect("clicked()", self.undo)
        ui.redoButton.connect("clicked()", self.redo)
        ui.resetButton.connect("clicked()", self.reset)
        ui.acceptButton.connect("clicked()", self.accept)
        ui.nextButton.connect("clicked()", self.next_lesion)
        ui.cancelButton.connect("clicked()", self.cancel)
        ui.installButton.connect("clicked()", self._install)
        ui.copyButton.connect("clicked()", lambda: self.files.copy_measurements(self._parameters.plane))
        ui.csvButton.connect("clicked()", lambda: self.files.save_measurements())
        ui.nrrdButton.connect("clicked()", lambda: self.files.export("NRRD (*.seg.nrrd)", ".seg.nrrd"))
        ui.niftiButton.connect("clicked()", lambda: self.files.export("NIfTI (*.nii.gz)", ".nii.gz"))
        ui.dicomButton.connect("clicked()", lambda: self.files.export("DICOM (*.dcm)", ".dcm"))
        for button in (ui.copyButton, ui.csvButton, ui.nrrdButton, ui.niftiButton, ui.dicomButton):
            button.setEnabled(False)
        for plane, title in (
            ("axial", _("Axial diameters")),
            ("coronal", _("Coronal diameters")),
            ("sagittal", _("Sagittal diameters")),
        ):
            ui.planeSelector.addItem(title, plane)
        ui.planeSelector.connect("currentIndexChanged(int)", self._plane_chosen)

    def _start_editor(self) -> None:
        """Make the editor, when everything that it needs is installed."""
        if self.editor is not None or self.installer.missing_packages():
            return
        if self.load_predictor is None and self.installer.is_torch_missing():
            return
        from SlicerMSAMLib.diameter_rulers import DiameterRulers
        from SlicerMSAMLib.lesion_table import LesionTable
        from SlicerMSAMLib.model_choice import is_here
        from SlicerMSAMLib.model_list import ModelList
        from SlicerMSAMLib.panel_files import PanelFiles
        from SlicerMSAMLib.proposal_panel import ProposalPanel

        ui = self.ui
        self.rulers = DiameterRulers()
        self.editor = self.logic.createEditor(
            self.load_predictor,
            on_change=self._editor_changed,
            on_error=self._show_error,
            on_message=self._show_progress,
            is_here=is_here if self.load_predictor is None else lambda name: True,
        )
        self.clicking.editor = self.editor
        self.proposals = self.logic.createProposals(
            self.editor,
            self.load_predictor,
            self.propose,
            on_change=self._editor_changed,
            on_error=self._show_error,
        )
        self._models = ModelList(
            ui.modelSelector, ui.modelFileButton, "SlicerMSAM/ClickModelFiles", self._model_chosen
        )
        finders = ModelList(
            ui.proposalModelSelector,
            ui.proposalFileButton,
            "SlicerMSAM/ProposalModelFiles",
            self._proposal_model_chosen,
        )
        self._proposal_panel = ProposalPanel(ui.proposeButton, finders, self.proposals, self._forget_error)
        self.table = LesionTable(ui.lesionTable, self._lesion_chosen)
        self.files = PanelFiles(self.widget, self.editor)
        self._list_models()

    def _list_models(self) -> None:
        from MSAMLogic.errors import MSAMError
        from SlicerMSAMLib.model_choice import model_choices

        try:
            self._models.fill(model_choices())
            self._proposal_panel.models.fill(model_choices(takes_clicks=False))
        except MSAMError as error:
            self._show_error(str(error))

    # Parameters

    def _connect_parameters(self) -> None:
        self._disconnect_parameters()
        if self.editor is None:
            return
        self._parameters = self.logic.getParameterNode()
        if self._parameters.inputVolume is None:
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            shown = slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID()
            active = slicer.mrmlScene.GetNodeByID(shown) if shown else None
            is_scan = active is not None and active.GetClassName() == "vtkMRMLScalarVolumeNode"
            self._parameters.inputVolume = active if is_scan else first
        if not self._parameters.proposalModelName:
            self._parameters.proposalModelName = self._proposal_panel.models.first
        self._connection = self._parameters.connectGui(self.ui)
        node = self._parameters.parameterNode
        self.addObserver(node, self._modified_event(), self._parameters_changed)
        self._parameters_changed()

    def _disconnect_parameters(self) -> None:
        if self._parameters is not None:
            self.removeObserver(
                self._parameters.parameterNode, self._modified_event(), self._parameters_changed
            )
            self._parameters.disconnectGui(self._connection)
            self._parameters = self._connection = None

    @staticmethod
    def _modified_event() -> int:
        import vtk

        return vtk.vtkCommand.ModifiedEvent

    def _parameters_changed(self, caller: object = None, event: object = None) -> None:
        """Take the user's choices over into the editor."""
        if self._is_updating or self._parameters is None or self.editor is None:
            return
        if slicer.mrmlScene.IsBatchProcessing():
            return  # half a scene: references to nodes that are still to come read as none
        parameters, editor = self._parameters, self.editor
        self._is_updating = True
        try:
            self._error = "" if parameters.inputVolume is not editor.volume else self._error
            self.proposals.model = parameters.proposalModelName
            editor.select_model(parameters.modelName)
            editor.select_volume(parameters.inputVolume)
            segmentation = parameters.segmentation
            if segmentation is not editor.segmentation:
                editor.select_segmentation(segmentation)
            wanted = parameters.segmentID
            inside = segmentation.GetSegmentation() if segmentation is not None else None
            if inside is not None and inside.GetSegment(wanted) is None:
                wanted = inside.GetNthSegmentID(0) if inside.GetNumberOfSegments() else ""
            editor.select_segment(wanted if inside is not None else None)
        finally:
            self._is_updating = False
        self._editor_changed()

    def _editor_changed(self) -> None:
        """Show what the editor has done, and keep it in the parameters."""
        editor = self.editor
        if editor is None:
            return
        if editor.worker.is_busy and not self._poll_timer.isActive():
            self._poll_timer.start()
        if self._is_updating or slicer.mrmlScene.IsBatchProcessing():
            return
        if self._parameters is not None and slicer.mrmlScene.IsNodePresent(self._parameters.parameterNode):
            self._is_updating = True
            try:
                with slicer.util.NodeModify(self._parameters.parameterNode):
                    if self._parameters.segmentation is not editor.segmentation:
                        self._parameters.segmentation = editor.segmentation
                    segment_id = editor.lesion.segment_id if editor.lesion is not None else ""
                    if self._parameters.segmentID != segment_id:
                        self._parameters.segmentID = segment_id
            finally:
                self._is_updating = False
        self._update()

    def _poll(self) -> None:
        editor = self.editor
        if editor is None:
            self._poll_timer.stop()
            return
        editor.poll()
        if not editor.worker.is_busy:
            self._poll_timer.stop()
            self._update()

    # Showing

    def _update(self) -> None:
        """Bring all widgets in step with the editor."""
        ui, editor = self.ui, self.editor
        self._update_model()  # first: it may have something to say
        ui.installFrame.setVisible(editor is None)  # there is an editor once nothing is missing
        lesion = editor.lesion if editor is not None else None
        update = lesion.update if lesion is not None else None
        is_ready = editor is not None and editor.volume is not None
        is_busy = editor is not None and editor.is_busy
        self.clicking.update(is_ready)
        ui.undoButton.setEnabled(bool(is_busy or (update is not None and update.can_undo)))
        ui.redoButton.setEnabled(bool(update is not None and update.can_redo and not is_busy))
        ui.resetButton.setEnabled(bool(is_busy or (update is not None and update.clicks)))
        ui.acceptButton.setEnabled(bool(lesion is not None and (is_busy or not lesion.is_accepted)))
        ui.nextButton.setEnabled(is_ready)
        if editor is not None:
            self._proposal_panel.update(is_ready)
        if self._is_working and not self._busy_timer.isActive() and not ui.cancelButton.isVisible():
            self._busy_timer.start()
        if not self._is_working:
            self._busy_timer.stop()
            ui.cancelButton.setVisible(False)
            ui.progressBar.setVisible(False)
            self._show_status(self._hint(is_ready, lesion, update))
        self._update_table()
        self._update_overlays(lesion)

    @property
    def _is_working(self) -> bool:
        """Whether something that the user asked for is on its way."""
        return self.editor is not None and (self.editor.is_busy or self.proposals.is_busy)

    def _hint(self, is_ready: bool, lesion: Any, update: Any) -> str:
        if self.editor is None:
            return ""
        if not is_ready:
            return _("Choose a volume to begin.")
        if update is not None and update.is_cut_off:
            return _("The lesion goes on beyond what was looked at; click it there too.")
        if lesion is not None and update is not None and not lesion.is_accepted:
            return _("Correct with further clicks, or accept the mask (Return).")
        if lesion is not None and lesion.accepted is not None and lesion.is_accepted:
            return _("Accepted. Press E or Next lesion to go on, or click to correct it further.")
        if self.proposals.summary and update is None:
            return self.proposals.summary
        if refusal := self.clicking.refusal(True):
            return refusal
        if self.clicking.is_placing:
            is_for = self.clicking.positive
            return _("Click the lesion in any view.") if is_for else _("Click what is too much.")
        return _("Press P or + Lesion, then click the lesion in any view.")

    def _show_status(self, text: str) -> None:
        self.ui.statusLabel.setStyleSheet(_ERROR_STYLE if self._error else "")
        self.ui.statusLabel.setText(self._error or text)

    def _show_error(self, text: str) -> None:
        self._error = text
        slicer.util.showStatusMessage(text, 5000)
        self._update()

    def _forget_error(self) -> None:
        self._error = ""

    def _show_busy(self) -> None:
        if self._is_working:
            self._error = ""
            self._show_status(_("Working…"))
            self.ui.progressBar.setRange(0, 0)
            self.ui.progressBar.setVisible(True)
            self.ui.cancelButton.setVisible(True)

    def _show_progress(self, message: Any) -> None:
        share = getattr(message, "share", None)
        self._error = ""
        self._busy_timer.stop()  # this says more
        self._show_status(f"{message.text}…")
        self.ui.progressBar.setRange(0, 0 if share is None else 100)
        self.ui.progressBar.setValue(0 if share is None else round(100 * share))
        self.ui.progressBar.setVisible(True)
        self.ui.cancelButton.setVisible(True)

    def _update_model(self) -> None:
        if self.editor is None or self._parameters is None:
            return
        self._models.show(self._parameters.modelName)
        from SlicerMSAMLib.model_choice import device_text

        choice = self._models.choice(self._parameters.modelName)
        predictor = self.editor.predictor
        device = device_text(predictor) if predictor is not None else ""
        if predictor is not None and self._device_of is predictor and device != self._device:
            self._error = _("The GPU ran out of memory; the processor goes on, slower. Nothing is lost.")
        self._device_of, self._device = predictor, device
        details = choice.details if choice is not None else ""
        self.ui.modelDetails.setText(" · ".join(filter(None, (details, device))))
        self.ui.modelDetails.setToolTip(choice.credits if choice is not None else "")

    def _update_table(self) -> None:
        if self.editor is None:
            return
        editor, ui = self.editor, self.ui
        plane = self._parameters.plane if self._parameters is not None else "axial"
        selected = editor.lesion.segment_id if editor.lesion is not None else ""
        self.table.show(editor.segmentation, editor.measurements_of, plane, selected)
        for button in (ui.copyButton, ui.csvButton, ui.nrrdButton, ui.niftiButton, ui.dicomButton):
            button.setEnabled(not self.table.is_empty)

    def _update_overlays(self, lesion: Any) -> None:
        if self.editor is None or self._parameters is None:
            return
        self.editor.clicks.set_visible(self._parameters.clicksVisible)
        values = self.editor.measurements_of(lesion.segment_id) if lesion is not None else None
        if self._parameters.rulersVisible and values is not None:
            self.rulers.show(values.diameters[self._parameters.plane], self.editor.world_of)
        else:
            self.rulers.remove()

    # What widgets tell

    def _mode_changed(self, caller: object, event: object) -> None:
        self._update()

    def _model_chosen(self, name: str) -> None:
        if self._parameters is not None:
            self._parameters.modelName = name

    def _proposal_model_chosen(self, name: str) -> None:
        if self._parameters is not None:
            self._parameters.proposalModelName = name

    def _plane_chosen(self, index: int) -> None:
        if self._parameters is not None and index >= 0:
            self._parameters.plane = self.ui.planeSelector.itemData(index)
            self._update()

    def _lesion_chosen(self, segment_id: str) -> None:
        if not self._is_updating and self.editor is not None:
            self._error = ""
            self.editor.select_segment(segment_id)

    def _install(self) -> None:
        try:
            self.installer.install()
        except InstallationError as error:
            slicer.util.errorDisplay(str(error), windowTitle=_("SlicerMSAM"))
        if self._is_entered:
            self.exit()
            self.enter()

    def _run_visibly(self, text: str, work: Callable[[], object]) -> object:
        """Run an installation while a progress dialog shows that Slicer is alive."""
        dialog = qt.QProgressDialog(text, "", 0, 0, slicer.util.mainWindow())
        dialog.setWindowTitle(_("SlicerMSAM"))
        dialog.setCancelButton(None)
        dialog.setMinimumDuration(0)
        dialog.show()
        slicer.app.processEvents()
        try:
            return work()
        finally:
            dialog.close()
            dialog.deleteLater()
