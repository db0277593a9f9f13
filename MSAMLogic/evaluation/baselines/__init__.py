"""What a radiologist has today: classical interactive methods, measured with the same kind of clicks."""

from MSAMLogic.evaluation.baselines.grow_cut import GrowCut
from MSAMLogic.evaluation.baselines.region_growing import RegionGrowing
from MSAMLogic.evaluation.baselines.session import ClassicalSession

__all__ = ["ClassicalSession", "GrowCut", "RegionGrowing", "classical_sessions"]


def classical_sessions() -> dict[str, ClassicalSession]:
    """Return the classical methods by name, as the report shows them.

    Raises:
        PackageError: when a package of theirs is not installed.
    """
    return {
        "region growing": ClassicalSession(RegionGrowing()),
        "grow from seeds": ClassicalSession(GrowCut()),
    }
