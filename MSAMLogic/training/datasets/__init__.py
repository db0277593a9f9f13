"""Public data sets in their official folder layouts: one table each, as data, and what reads them.

``<name>.yaml`` beside this file describes a data set as :class:`~.schema.DatasetTable` says.
"""

from MSAMLogic.training.datasets.folders import Volume, find_volumes
from MSAMLogic.training.datasets.schema import DatasetTable, dataset_names, dataset_table

__all__ = ["DatasetTable", "Volume", "dataset_names", "dataset_table", "find_volumes"]
