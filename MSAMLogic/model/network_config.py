"""What the configurations of all networks have in common."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from MSAMLogic.errors import ModelError


@dataclass(frozen=True)
class NetworkConfig:
    """Every size of a network, as plain values: a frozen dataclass derives from it for each system.

    Attributes:
        patch_size: voxels a side of the cubic input patch.
    """

    patch_size: int = 128

    def to_dict(self) -> dict[str, Any]:
        """Return the sizes as plain types, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the configuration that :meth:`to_dict` described.

        Raises:
            ModelError: when a key is unknown or the sizes do not fit each other.
        """
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ModelError(
                f"This network configuration has unknown fields ({', '.join(unknown)}); it was "
                "probably written by a newer version. Update SlicerMSAM."
            )
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)
