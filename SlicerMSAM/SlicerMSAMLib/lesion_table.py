"""The panel's table: one row a segment, with its measurements; selecting a row selects the lesion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer

from MSAMLogic.measurements import LesionMeasurements, Plane
from SlicerMSAMLib.measurement_rows import EXPLANATIONS, HEADINGS, NamedMeasurements, shown_row


class LesionTable:
    """Fills a table widget and tells which row the user chose.

    Args:
        table: the widget.
        on_chosen: called with the segment ID of the row that the user chose.
    """

    def __init__(self, table: qt.QTableWidget, on_chosen: Callable[[str], object]) -> None:
        self._table = table
        self._on_chosen = on_chosen
        self._shown: list[tuple[str, Any, tuple[str, ...]]] = []
        self._is_filling = False
        table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.verticalHeader().hide()
        table.setColumnCount(len(HEADINGS))
        table.setHorizontalHeaderLabels(list(HEADINGS))
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setStretchLastSection(True)
        for column, explanation in enumerate(EXPLANATIONS):
            table.horizontalHeaderItem(column).setToolTip(explanation)
        table.connect("itemSelectionChanged()", self._selection_changed)

    @property
    def is_empty(self) -> bool:
        """Whether there is no row."""
        return not self._shown

    def show(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode | None,
        measurements_of: Callable[[str], LesionMeasurements | None],
        plane: Plane,
        selected: str,
    ) -> None:
        """Show the segments; nothing is redrawn when nothing has changed.

        Args:
            segmentation: the segments; None empties the table.
            measurements_of: returns what is measured of a segment ID.
            plane: whose diameters are shown.
            selected: ID of the segment whose row is to be selected; empty for none.
        """
        inside = segmentation.GetSegmentation() if segmentation is not None else None
        ids = list(inside.GetSegmentIDs()) if inside is not None else []
        segments = [inside.GetSegment(segment_id) for segment_id in ids]
        named = named_measurements(segmentation, measurements_of)
        rows = [
            (segment_id, segment.GetColor(), shown_row(row, plane))
            for segment_id, segment, row in zip(ids, segments, named, strict=True)
        ]
        self._is_filling = True
        try:
            if rows != self._shown:
                self._fill(rows)
            if selected not in ids:
                self._table.clearSelection()
            elif self._table.currentRow() != ids.index(selected):
                self._table.selectRow(ids.index(selected))
        finally:
            self._is_filling = False

    def _fill(self, rows: list[tuple[str, Any, tuple[str, ...]]]) -> None:
        """Fill the rows that differ; with many lesions, filling all for each measurement would be seen."""
        self._table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            if index < len(self._shown) and self._shown[index] == row:
                continue
            _segment_id, colour, texts = row
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                if column == 0:
                    item.setIcon(_swatch(colour))
                else:
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                self._table.setItem(index, column, item)
        self._shown = rows

    def _selection_changed(self) -> None:
        row = self._table.currentRow()
        if not self._is_filling and 0 <= row < len(self._shown):
            self._on_chosen(self._shown[row][0])


def named_measurements(
    segmentation: slicer.vtkMRMLSegmentationNode | None,
    measurements_of: Callable[[str], LesionMeasurements | None],
) -> list[NamedMeasurements]:
    """Return name and measurements of every segment, in their order."""
    if segmentation is None:
        return []
    inside = segmentation.GetSegmentation()
    return [
        NamedMeasurements(inside.GetSegment(segment_id).GetName(), measurements_of(segment_id))
        for segment_id in inside.GetSegmentIDs()
    ]


def _swatch(colour: tuple[float, float, float]) -> qt.QIcon:
    picture = qt.QPixmap(14, 14)
    paint = qt.QColor()
    paint.setRgbF(*colour)
    picture.fill(paint)
    return qt.QIcon(picture)
