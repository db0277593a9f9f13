"""A list of models to choose from, with a button beside it for weights files of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
from slicer.i18n import tr as _

from SlicerMSAMLib.model_choice import ModelChoice, is_own_file, keep_files, kept_files, own_file


class ModelList:
    """Fills a combo box with models and tells which one the user chose.

    Args:
        selector: the combo box.
        file_button: asks for a file.
        setting: where in Slicer's settings the user's own files are kept.
        on_chosen: called with the name or path of the model that the user chose.
    """

    def __init__(
        self,
        selector: qt.QComboBox,
        file_button: qt.QPushButton,
        setting: str,
        on_chosen: Callable[[str], object],
    ) -> None:
        self._selector = selector
        self._setting = setting
        self._on_chosen = on_chosen
        self._choices: dict[str, ModelChoice] = {}
        self._is_filling = False
        selector.connect("currentIndexChanged(int)", self._index_changed)
        file_button.connect("clicked()", self._ask_for_file)

    @property
    def first(self) -> str:
        """The first model's name, empty when there is none."""
        return next(iter(self._choices), "")

    def choice(self, name: str) -> ModelChoice | None:
        """Return what is known of a model of the list."""
        return self._choices.get(name)

    def fill(self, choices: Sequence[ModelChoice]) -> None:
        """List models of the registry, and the user's own files after them."""
        files = [own_file(path) for path in kept_files(self._setting)]
        self._choices = {choice.name: choice for choice in (*choices, *files)}
        self._show_choices()

    def show(self, name: str) -> None:
        """Show which model is in use; a file that the list has not, from another scene, is added."""
        if is_own_file(name) and name not in self._choices:
            self._choices[name] = own_file(name)
            self._show_choices()
        index = self._selector.findData(name)
        if self._selector.currentIndex != index:
            self._is_filling = True
            self._selector.setCurrentIndex(index)
            self._is_filling = False

    def _show_choices(self) -> None:
        self._is_filling = True
        self._selector.clear()
        for choice in self._choices.values():
            self._selector.addItem(choice.title, choice.name)
        if not self._choices:
            self._selector.addItem(_("None yet"), "")
        self._selector.setEnabled(bool(self._choices))
        self._is_filling = False

    def _index_changed(self, index: int) -> None:
        if not self._is_filling and index >= 0:
            self._on_chosen(self._selector.itemData(index))

    def _ask_for_file(self) -> None:
        from MSAMLogic import weights

        endings = " ".join(f"*{suffix}" for suffix in weights.SUFFIXES)
        title, filters = _("Choose a weights file"), _("Weights ({endings})").format(endings=endings)
        path = qt.QFileDialog.getOpenFileName(self._selector.window(), title, "", filters)
        if not path:
            return
        kept = kept_files(self._setting)
        keep_files(self._setting, [path, *(other for other in kept if other != path)])
        self._choices[path] = own_file(path)
        self._show_choices()
        self.show(path)
        self._on_chosen(path)
