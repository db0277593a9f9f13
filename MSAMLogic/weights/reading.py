"""Read a weights file: its tensors and its notes, and nothing that could run.

Importing this module does not import torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MSAMLogic.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".safetensors", ".pth", ".pth.tar", ".pt")  # what the name of a weights file ends in


def load_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file, on the CPU.

    A ``.pth`` or ``.pt`` file is a pickle, which could bring code along: only tensors and plain values
    are accepted, and nothing in the file is run. Of a trainer's checkpoint the ``model_state_dict``
    is returned, of 3DSAM-adapter's trainer the parts of the network under names joined by dots.

    Args:
        path: a ``.safetensors``, ``.pth``, ``.pth.tar`` or ``.pt`` file.

    Returns:
        Tensor name to tensor.

    Raises:
        WeightsError: when the file is missing, damaged, of another kind, or holds more than tensors.
    """
    _check_kind(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except Exception as error:  # whatever the reader of a damaged file stumbles over
            raise _unreadable(path, error) from error

    import torch

    try:
        # Trainers store their command line and their best loss; a Namespace and a NumPy number only hold
        # values. Everything else that is not a tensor or a plain value stays forbidden.
        with torch.serialization.safe_globals([argparse.Namespace, *_numpy_numbers()]):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _unreadable(path, error) from error
    if isinstance(state, Mapping):
        state = state.get("model_state_dict", state)
    if isinstance(state, Mapping):
        from MSAMLogic.model.sam_adapter.checkpoints import flattened

        state = flattened(state)
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise WeightsError(f"{path} is no weights file: it has to map names to tensors. Choose another file.")
    return dict(state)


def load_metadata(path: Path) -> dict[str, str]:
    """Return the notes in the header of a ``.safetensors`` file; other kinds have none.

    Raises:
        WeightsError: when the file is missing, damaged or of another kind.
    """
    _check_kind(path)
    if path.suffix != ".safetensors":
        return {}
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy") as stream:
            return dict(stream.metadata() or {})
    except Exception as error:  # whatever the reader of a damaged file stumbles over
        raise _unreadable(path, error) from error


def _numpy_numbers() -> list[Any]:
    """Return what the pickle of a NumPy number names: its maker under both its homes, and the types."""
    maker = np.float64(0).__reduce__()[0]
    homes = [(maker, f"numpy.{home}.multiarray.scalar") for home in ("core", "_core")]
    return [*homes, np.dtype, *(type(np.dtype(kind)) for kind in ("float32", "float64"))]


def _check_kind(path: Path) -> None:
    if not path.name.endswith(SUFFIXES):
        raise WeightsError(
            f"{path} is no weights file; choose a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file."
        )
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}. Check the path, or run `msam download`.")


def _unreadable(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path} cannot be read ({type(error).__name__}): the file is damaged, or holds more than tensors "
        "and plain values, which this software does not run. Fetch it again, or convert it to .safetensors."
    )
