"""How likely a voxel must be lesion for a correction to make it lesion.

A corrector says how likely each voxel is lesion. Were as many voxels as possible to be right, those would do
that are more likely lesion than not. Readers are served by overlap, and the Dice of a mask is largest when it
holds what is lesion with a probability of more than half that Dice: a mask that half agrees gains by voxels
that are lesion once in three times, a perfect one only by those that are more often than not (Lipton, Elkan,
Narayanaswamy 2014, Optimal thresholding of classifiers to maximize F1 measure, theorem 1).
"""

from __future__ import annotations

import math

# The Dice after one click lacks so much of 1, and with every further one less by this power of their number.
# Fitted to the training patients in the CSV of `msam evaluate DATA --all-patients --most 70`.
_MISSING_AFTER_ONE, _POWER = 0.29, 0.37


def expected_dice(clicks: int) -> float:
    """Return the Dice that a mask usually has after so many clicks, at least one."""
    missing: float = _MISSING_AFTER_ONE * clicks**-_POWER
    return 1 - missing


def lesion_level(clicks: int) -> float:
    """Return the logit from which on a voxel is lesion, where the last of so many clicks is corrected."""
    probability = expected_dice(clicks) / 2
    return math.log(probability / (1 - probability))
