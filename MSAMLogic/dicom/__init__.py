"""DICOM series as volumes: found, checked, ordered by position, and decoded.

pydicom parses, and its decoders (GDCM) unpack; nothing here is imported before a DICOM file is read.
"""

from MSAMLogic.dicom.series import Series, choose_series, find_series
from MSAMLogic.dicom.volume import DicomSource, read_series

__all__ = ["DicomSource", "Series", "choose_series", "find_series", "read_series"]
