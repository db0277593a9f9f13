"""The SlicerMSAM module: click a lesion in a slice view, see its 3D mask, correct it, keep it.

This file only declares the module; the work is in SlicerMSAMLib.
"""

from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class SlicerMSAM(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("SlicerMSAM")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Markups", "Segmentations", "Volumes"]
        parent.contributors = ["The SlicerMSAM maintainers"]
        parent.helpText = _(
            "Click a lesion in an axial, coronal or sagittal view and its 3D mask appears; further clicks, "
            "for the lesion or against it, refine it at once. It runs on the processor; a GPU is used when "
            "there is one. <p>Keys: <b>P</b> click mode, <b>T</b> lesion or background, <b>E</b> next "
            "lesion, <b>R</b> start over, <b>Ctrl+Z</b> undo, <b>Ctrl+Y</b> redo, <b>Return</b> accept, "
            "<b>Esc</b> leave click mode.</p> <p><b>For research use. Not a medical device.</b></p>"
        )
        parent.acknowledgementText = _(
            "The network is M-SAM (mask-enhanced SAM) on the encoder and decoder of SAM-Med3D. The default "
            "weights were trained on public data under CC BY; their credits are in the model list and in "
            "model_weights/README.md."
        )
        slicer.app.connect("startupCompleted()", _register_sample_data)


def _register_sample_data():
    from SlicerMSAMLib import sample_data

    sample_data.register(Path(__file__).parent / "Resources" / "Icons")


class SlicerMSAMWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel; see :mod:`SlicerMSAMLib.panel`."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None

    def setup(self):
        """Build the panel, whatever is or is not installed."""
        ScriptedLoadableModuleWidget.setup(self)
        from SlicerMSAMLib import packages

        packages.make_importable()
        from SlicerMSAMLib.panel import Panel

        self.logic = SlicerMSAMLogic()
        self.panel = Panel(self.resourcePath("UI/SlicerMSAM.ui"), self.logic)
        self.layout.addWidget(self.panel.widget)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, lambda caller, event: self.panel.scene_closes())
        self.addObserver(scene, scene.EndCloseEvent, lambda caller, event: self.panel.scene_changed())
        self.addObserver(scene, scene.EndImportEvent, lambda caller, event: self.panel.scene_changed())

    def enter(self):
        """Called each time the user opens the module."""
        if self.panel is not None:
            self.panel.enter()

    def exit(self):
        """Called each time the user opens another module."""
        if self.panel is not None:
            self.panel.exit()

    def cleanup(self):
        """Called when the module is reloaded and when Slicer ends."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()
            self.panel = None


class SlicerMSAMLogic(ScriptedLoadableModuleLogic):
    """Gives scripts what the panel works with."""

    def getParameterNode(self):
        """Return the panel's choices as a typed parameter node."""
        from SlicerMSAMLib.parameter_node import SlicerMSAMParameterNode

        return SlicerMSAMParameterNode(super().getParameterNode())

    def createEditor(self, load_predictor=None, **callbacks):
        """Return a :class:`SlicerMSAMLib.lesion_editor.LesionEditor` on the present scene.

        Args:
            load_predictor: returns the network of a name; by default from the model registry.
            **callbacks: see the editor.
        """
        from SlicerMSAMLib import packages

        packages.make_importable()
        from SlicerMSAMLib import model_choice
        from SlicerMSAMLib.lesion_editor import LesionEditor

        return LesionEditor(load_predictor or model_choice.load_predictor, **callbacks)

    def createProposals(self, editor, load_predictor=None, propose=None, **callbacks):
        """Return a :class:`SlicerMSAMLib.proposals.LesionProposals`: lesions that a model finds by itself.

        Args:
            editor: what :meth:`createEditor` returned.
            load_predictor: returns the network of a name; by default from the model registry.
            propose: finds the lesions; by default :func:`MSAMLogic.proposals.propose_lesions`.
            **callbacks: see the class.
        """
        from SlicerMSAMLib import model_choice, proposals

        return proposals.LesionProposals(
            editor,
            load_predictor or model_choice.load_predictor,
            propose or proposals.propose_lesions,
            **callbacks,
        )


class SlicerMSAMTest(ScriptedLoadableModuleTest):
    """Runs the self-test both ways that Slicer runs tests; needs no GPU, network or PyTorch."""

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run every test; what the Self Tests module calls."""
        for name in sorted(dir(self)):
            if name.startswith("test_"):
                self.setUp()
                getattr(self, name)()
        self.delayDisplay(_("Test passed"))

    def test_click_refine_undo_accept(self):
        """A click makes a mask, a background click shrinks it, undo restores it, accepting writes it."""
        from SlicerMSAMLib import self_test

        self_test.click_refine_undo_accept(self, SlicerMSAMLogic())

    def test_next_lesion_leaves_the_first_alone(self):
        """A second lesion gets a segment of its own."""
        from SlicerMSAMLib import self_test

        self_test.next_lesion_leaves_the_first_alone(self, SlicerMSAMLogic())

    def test_proposals_become_segments_that_clicks_refine(self):
        """What a model finds becomes segments; a click in one starts from its mask."""
        from SlicerMSAMLib import self_test

        self_test.proposals_become_segments_that_clicks_refine(self, SlicerMSAMLogic())
