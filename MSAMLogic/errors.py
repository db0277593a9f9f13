"""The exceptions that this package raises; every message says what is wrong and what to do.

All derive from :class:`MSAMError`, so a caller (the command line, the Slicer module) can show any of
them to a user with one ``except`` clause and treat everything else as a defect.
"""


class MSAMError(Exception):
    """Base class of every error that this package raises on purpose."""


class ImageError(MSAMError):
    """An image or mask cannot be used: wrong dimension, pixel type, geometry or values."""


class ClickError(MSAMError):
    """A click cannot be used: outside the image, not finite, or without meaning for the current mask."""


class HistoryError(MSAMError):
    """There is nothing to undo or redo."""


class ModelError(MSAMError):
    """A model name, configuration or input tensor does not fit the network."""


class WeightsError(MSAMError):
    """A weights file is unknown, missing, damaged or made for another network."""


class DownloadError(WeightsError):
    """Weights could not be fetched: no network, a refusing server, or a file that fails its check."""


class TrainingError(MSAMError):
    """A training configuration, data set or checkpoint cannot be used."""


class PackageError(MSAMError):
    """An optional Python package that a command needs is not installed."""
