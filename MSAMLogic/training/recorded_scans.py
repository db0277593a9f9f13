"""Scans to record clicks on, each with its lesion: outlined by a reader, implanted in a scan, or made up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MSAMLogic.intensity import Modality
from MSAMLogic.largest_error import largest_part
from MSAMLogic.training.implanting import implanted_scan
from MSAMLogic.training.samples import PatchSamples
from MSAMLogic.training.scan_variation import means_of_slices, varied_scan

Mask = NDArray[np.bool_]

_MADE_SPACING = (0.5, 4.0)  # millimetres between voxels of a made-up scan
_MADE_STEPS = (1, 1, 2, 3, 4, 6)  # how many times as thick its slices are
_CONTRAST = 200.0  # scanner values of a made-up scan a unit of its normalised brightness


@dataclass(frozen=True)
class ScanShares:
    """How often each kind of scan is drawn; what is missing to 1 are made-up ones.

    Attributes:
        drawn: whole scans with a lesion that a reader drew.
        implanted: whole scans with a lesion blended in.
        varied: share of both that are seen otherwise, see :func:`varied_scan`.
    """

    drawn: float
    implanted: float = 0.0
    varied: float = 0.0


def any_scan(
    samples: PatchSamples, number: int, shares: ScanShares, rng: np.random.Generator
) -> tuple[sitk.Image, Modality, Mask]:
    """Return scan ``number`` and (k, j, i) its lesion, of a kind drawn by chance.

    Args:
        samples: whose cases are the scans.
        number: of the recording.
        shares: of the kinds.
        rng: source of chance.
    """
    kind = rng.random()
    if kind < shares.drawn:
        return drawn_scan(samples, rng, shares.varied)
    if kind < shares.drawn + shares.implanted and (found := implanted_scan(samples, rng)) is not None:
        return _maybe_varied(*found, rng, shares.varied)
    return made_up_scan(samples, number, rng)


def drawn_scan(
    samples: PatchSamples, rng: np.random.Generator, varied: float = 0.0
) -> tuple[sitk.Image, Modality, Mask]:
    """Return a whole scan and (k, j, i) one lesion that a reader drew on it.

    Args:
        samples: whose cases are the scans.
        rng: source of chance.
        varied: share of the scans that are seen otherwise, see :func:`varied_scan`.
    """
    case, lesion = samples.draw_lesion(rng)
    image, modality = case.image, case.case.modality
    truth = sitk.GetArrayFromImage(case.components) == lesion.label
    return _maybe_varied(image, modality, truth, rng, varied)


def made_up_scan(
    samples: PatchSamples, number: int, rng: np.random.Generator
) -> tuple[sitk.Image, Modality, Mask]:
    """Return a small scan that sample ``number`` of a patch makes, some with thick slices, and its lesion."""
    sample = samples[number]
    spacing = float(np.exp(rng.uniform(*np.log(_MADE_SPACING))))
    step = int(rng.choice(_MADE_STEPS))
    patch, target = sample["patch"][0].numpy(), sample["target"][0].numpy().astype(np.float32)
    patch, target = means_of_slices(patch, step), means_of_slices(target, step)
    image = sitk.GetImageFromArray((_CONTRAST * patch).astype(np.float32))
    image.SetSpacing((spacing, spacing, spacing * step))
    truth = target >= 0.5
    # Its brightness is normalised already; there are no Hounsfield units to clamp.
    return image, "MR", largest_part(truth if truth.any() else target == target.max())


def _maybe_varied(
    image: sitk.Image, modality: Modality, truth: Mask, rng: np.random.Generator, varied: float
) -> tuple[sitk.Image, Modality, Mask]:
    if varied and rng.random() < varied:
        image, truth = varied_scan(image, modality, truth, rng)
    return image, modality, truth
