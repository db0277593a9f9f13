"""The part of the panel that lets a model propose lesions."""

from __future__ import annotations

from collections.abc import Callable

import qt
from slicer.i18n import tr as _

from SlicerMSAMLib.model_list import ModelList
from SlicerMSAMLib.proposals import LesionProposals


class ProposalPanel:
    """The button, and the list of models that find lesions by themselves.

    Args:
        button: starts the search.
        models: the models.
        proposals: searches.
        on_start: called before a search.
    """

    def __init__(
        self,
        button: qt.QPushButton,
        models: ModelList,
        proposals: LesionProposals,
        on_start: Callable[[], object],
    ) -> None:
        self.models = models
        self._button = button
        self._tool_tip = button.toolTip
        self._proposals = proposals
        self._on_start = on_start
        button.connect("clicked()", self._start)

    def update(self, has_volume: bool) -> None:
        """Bring the button in step; where it cannot be pressed, it says why."""
        self.models.show(self._proposals.model)
        obstacle = self._obstacle(has_volume)
        self._button.setEnabled(not obstacle and not self._proposals.is_busy)
        self._button.setToolTip(obstacle or self._tool_tip)

    def _obstacle(self, has_volume: bool) -> str:
        if not self._proposals.model:
            return _(
                "This needs a model that names what it finds, such as MaskSAM. None is published: train one "
                "with 'msam train', then choose its file here."
            )
        return "" if has_volume else _("Choose a volume first.")

    def _start(self) -> None:
        self._on_start()
        self._proposals.propose()
