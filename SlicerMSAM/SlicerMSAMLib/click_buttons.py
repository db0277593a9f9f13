"""The two large buttons: whether clicks in the views mark the lesion, the background, or nothing.

What they offer is what the loaded model takes; while none is loaded, everything is offered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

_LESION_STYLE = "QPushButton:checked { background-color: #2e9e4f; color: white; font-weight: bold; }"
_BACKGROUND_STYLE = "QPushButton:checked { background-color: #c0392b; color: white; font-weight: bold; }"


def no_clicks_text() -> str:
    """Return why a model that takes no clicks cannot be clicked, and what to do."""
    return _(
        "This model takes no clicks: it names what it finds. Choose it under Propose lesions, and another "
        "one here."
    )


def no_background_text() -> str:
    """Return why a model for lesion clicks only cannot be told what is too much, and what to do."""
    return _(
        "This model takes clicks for the lesion only. Undo what went too far, or choose another model to "
        "correct it."
    )


class ClickButtons:
    """Switches clicking in the views on and off.

    Args:
        lesion_button: starts clicks for the lesion.
        background_button: starts clicks against it.
        on_change: called when what clicks mean has changed.
        on_refusal: called with a text when the model does not take what the user asked for.
    """

    def __init__(
        self,
        lesion_button: qt.QPushButton,
        background_button: qt.QPushButton,
        on_change: Callable[[], object],
        on_refusal: Callable[[str], object],
    ) -> None:
        self.editor: Any = None
        self.positive = True
        self._buttons = {True: lesion_button, False: background_button}
        self._tool_tips = {positive: button.toolTip for positive, button in self._buttons.items()}
        self._on_change = on_change
        self._on_refusal = on_refusal
        lesion_button.setStyleSheet(_LESION_STYLE)
        background_button.setStyleSheet(_BACKGROUND_STYLE)
        lesion_button.connect("clicked(bool)", lambda on: self._clicked(True, on))
        background_button.connect("clicked(bool)", lambda on: self._clicked(False, on))

    @property
    def is_placing(self) -> bool:
        """Whether clicks in the views are ours."""
        return self.editor is not None and self.editor.clicks.is_placing

    def refusal(self, positive: bool) -> str:
        """Return why the model takes no clicks of a sign, empty when it takes them."""
        capabilities = self.editor.capabilities if self.editor is not None else None
        if capabilities is None or (
            capabilities.takes_clicks and (positive or capabilities.background_clicks)
        ):
            return ""
        return no_background_text() if capabilities.takes_clicks else no_clicks_text()

    def start_placing(self, positive: bool) -> None:
        """Let clicks in the views mark the lesion, or the background."""
        if refusal := self.refusal(positive):
            self._on_refusal(refusal)
            return
        self.positive = positive
        if self.editor is not None:
            self.editor.clicks.start_placing(positive)
        self._on_change()

    def stop_placing(self) -> None:
        """Let clicks in the views do what they do elsewhere."""
        if self.editor is not None:
            self.editor.clicks.stop_placing()
        self._on_change()

    def toggle_placing(self) -> None:
        """Switch clicking on or off."""
        if self.is_placing:
            self.stop_placing()
        else:
            self.start_placing(self.positive)

    def toggle_sign(self) -> None:
        """Switch between lesion and background."""
        if refusal := self.refusal(not self.positive):
            self._on_refusal(refusal)
            return
        self.positive = not self.positive
        if self.is_placing:
            self.editor.clicks.start_placing(self.positive)
        self._on_change()

    def update(self, is_ready: bool) -> None:
        """Offer what the model takes, and end what it does not take.

        Args:
            is_ready: whether there is a volume to click in.
        """
        if not self.positive and self.refusal(False):
            self.positive = True
            if self.is_placing and not self.refusal(True):
                self.editor.clicks.start_placing(True)
        if self.is_placing and self.refusal(True):
            self.editor.clicks.stop_placing()
        is_placing = self.is_placing
        for positive, button in self._buttons.items():
            refusal = self.refusal(positive)
            button.setEnabled(is_ready and not refusal)
            button.setChecked(is_placing and self.positive is positive)
            button.setToolTip(refusal or self._tool_tips[positive])

    def _clicked(self, positive: bool, on: bool) -> None:
        if on:
            self.start_placing(positive)
        else:
            self.stop_placing()
