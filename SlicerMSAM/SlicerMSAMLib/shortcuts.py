"""Keys, alive from entering the module to leaving it."""

from __future__ import annotations

from collections.abc import Callable

import qt

# As users of SlicerNNInteractive know them.
KEYS = {
    "place": "P",
    "toggle_sign": "T",
    "next_lesion": "E",
    "reset": "R",
    "undo": "Ctrl+Z",
    "redo": "Ctrl+Y",
    "accept": "Return",
    "stop_placing": "Esc",
}


class Shortcuts:
    """One shortcut for each action.

    Args:
        parent: the window in which the keys work.
        actions: what to do, by the names in :data:`KEYS`.
    """

    def __init__(self, parent: qt.QWidget, actions: dict[str, Callable[[], object]]) -> None:
        self._parent = parent
        self._actions = actions
        self._shortcuts: list[qt.QShortcut] = []

    def install(self) -> None:
        """Let the keys work."""
        self.remove()
        for name, action in self._actions.items():
            shortcut = qt.QShortcut(qt.QKeySequence(KEYS[name]), self._parent)
            shortcut.connect("activated()", action)
            self._shortcuts.append(shortcut)

    def remove(self) -> None:
        """Let the keys do what they did before."""
        for shortcut in self._shortcuts:
            shortcut.enabled = False
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []
