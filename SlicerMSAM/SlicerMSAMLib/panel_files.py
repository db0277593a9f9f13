"""What the panel writes: segments, measurements, the clipboard; asks where, and says when it fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MSAMLogic.errors import MSAMError
from MSAMLogic.export import Algorithm, write_measurement_table
from MSAMLogic.version import __version__
from SlicerMSAMLib import exporting
from SlicerMSAMLib.lesion_table import named_measurements
from SlicerMSAMLib.measurement_rows import clipboard_text
from SlicerMSAMLib.model_choice import short_name


class PanelFiles:
    """Writes the editor's segmentation and its measurements.

    Args:
        parent: for dialogs.
        editor: whose segmentation is written.
    """

    def __init__(self, parent: qt.QWidget, editor: Any) -> None:
        self._parent = parent
        self._editor = editor

    def export(self, filters: str, ending: str) -> None:
        """Ask for a file and write all segments into it.

        Args:
            filters: for the file dialog.
            ending: of the file's name; decides the format.
        """
        editor = self._editor
        if editor.segmentation is None or editor.volume is None:
            return
        path = self._ask(_("Export lesions"), filters, ending)
        if path is not None:
            algorithm = Algorithm(f"M-SAM {short_name(editor.model)}", __version__)
            database = getattr(slicer, "dicomDatabase", None)
            self._write(
                lambda: exporting.export(path, editor.segmentation, editor.volume, algorithm, database)
            )

    def save_measurements(self) -> None:
        """Ask for a file and write the measurements of all planes as CSV."""
        path = self._ask(_("Save measurements"), "CSV (*.csv)", ".csv")
        if path is not None:
            measured = [row for row in self._rows() if row.values is not None]
            names, values = [row.name for row in measured], [row.values for row in measured]
            self._write(lambda: write_measurement_table(path, names, values))

    def copy_measurements(self, plane: str) -> None:
        """Put the table into the clipboard."""
        slicer.app.clipboard().setText(clipboard_text(self._rows(), plane))

    def _rows(self) -> list[Any]:
        return named_measurements(self._editor.segmentation, self._editor.measurements_of)

    def _ask(self, title: str, filters: str, ending: str) -> Path | None:
        chosen = qt.QFileDialog.getSaveFileName(self._parent, title, "", filters)
        if not chosen:
            return None
        return Path(chosen if chosen.endswith(ending) else chosen + ending)

    @staticmethod
    def _write(write: Callable[[], object]) -> None:
        try:
            write()
        except (MSAMError, OSError) as error:
            slicer.util.errorDisplay(str(error), windowTitle=_("SlicerMSAM"))
        else:
            slicer.util.showStatusMessage(_("Saved."), 3000)
