"""What a segment remembers of its clicks, as a tag that is saved with it.

The tag goes wherever the segment goes: into ``.mrb``, ``.seg.nrrd``, a copy in another segmentation.
Slicer separates tags by ``|`` and ``:``, so the text is base64.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from MSAMLogic.session import Click

TAG = "MSAM.Clicks"
_VERSION = 1


@dataclass(frozen=True)
class ClickMemory:
    """Clicks of a lesion, what they started from, and what they made.

    Attributes:
        clicks: oldest first, LPS in the volume's own coordinates.
        starting_mask: the mask that they corrected, in its bounding box; None when there was none.
        geometry: of the volume that was clicked, as :func:`geometry_text` has it.
        content: fingerprint of the segment when the module last wrote it; another one means that
            somebody else has edited the segment since.
    """

    clicks: tuple[Click, ...]
    starting_mask: sitk.Image | None
    geometry: str
    content: str

    def to_text(self) -> str:
        """Return the memory as a tag's value."""
        values = {
            "version": _VERSION,
            "clicks": [[*click.point, int(click.positive)] for click in self.clicks],
            "geometry": self.geometry,
            "content": self.content,
        }
        if self.starting_mask is not None:
            mask = self.starting_mask
            bits = np.packbits(sitk.GetArrayViewFromImage(mask) != 0).tobytes()
            values["start"] = {
                "origin": mask.GetOrigin(),
                "spacing": mask.GetSpacing(),
                "direction": mask.GetDirection(),
                "size": mask.GetSize(),
                "bits": base64.b64encode(zlib.compress(bits)).decode("ascii"),
            }
        return base64.urlsafe_b64encode(zlib.compress(json.dumps(values).encode())).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> ClickMemory | None:
        """Return what a tag's value holds, or None when it is damaged or from a later version."""
        try:
            values = json.loads(zlib.decompress(base64.urlsafe_b64decode(text.encode("ascii"))))
            if values["version"] != _VERSION:
                return None
            clicks = tuple(
                Click((float(x), float(y), float(z)), bool(positive))
                for x, y, z, positive in values["clicks"]
            )
            mask = None
            if "start" in values:
                mask = _unpacked(values["start"])
            return cls(clicks, mask, str(values["geometry"]), str(values["content"]))
        except (ValueError, KeyError, TypeError, RuntimeError, zlib.error, binascii.Error):
            return None


def _unpacked(start: dict) -> sitk.Image:
    i, j, k = (int(n) for n in start["size"])
    bits = np.frombuffer(zlib.decompress(base64.b64decode(start["bits"])), np.uint8)
    voxels = np.unpackbits(bits, count=i * j * k).reshape(k, j, i)
    mask = sitk.GetImageFromArray(voxels)
    mask.SetOrigin(start["origin"])
    mask.SetSpacing(start["spacing"])
    mask.SetDirection(start["direction"])
    return mask


def geometry_text(to_ras: np.ndarray, size: tuple[int, ...]) -> str:
    """Return a short text that is the same for volumes whose voxels lie in the same places."""
    values = [*(round(float(v), 4) + 0.0 for v in np.asarray(to_ras).ravel()), *size]
    return f"{zlib.crc32(json.dumps(values).encode()):08x}"


def fingerprint(mask: sitk.Image) -> str:
    """Return a short text that is the same for masks with the same voxels, however large their box."""
    array = sitk.GetArrayViewFromImage(mask) != 0
    if not array.any():
        return "empty"
    low, tight = [], array
    for axis in range(3):
        hit = np.flatnonzero(tight.any(axis=tuple(a for a in range(3) if a != axis)))
        low.append(int(hit[0]))
        tight = np.take(tight, range(int(hit[0]), int(hit[-1]) + 1), axis)
    corner = mask.TransformIndexToPhysicalPoint(tuple(reversed(low)))
    place = json.dumps([[round(v, 2) + 0.0 for v in corner], tight.shape])
    return f"{zlib.crc32(np.packbits(tight).tobytes(), zlib.crc32(place.encode())):08x}"
