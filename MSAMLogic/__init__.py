"""SlicerMSAM's logic: click a lesion in a 3D scan, get its mask, refine it with further clicks.

    from MSAMLogic import InteractiveSession, load_model

    session = InteractiveSession(load_model("default"))
    session.set_image(image)                    # a SimpleITK image
    changed = session.click((12.0, -30.5, 88))  # LPS millimetres; returns the changed sub-region

Plain Python: no Slicer, Qt or VTK. Importing the package does not import torch, which Slicer may have to
install first; it decides how torch's threads wait, see :mod:`MSAMLogic.waiting_threads`.
"""

from typing import TYPE_CHECKING, Any

from MSAMLogic.errors import MSAMError
from MSAMLogic.version import __version__
from MSAMLogic.waiting_threads import let_waiting_threads_sleep

if TYPE_CHECKING:
    from MSAMLogic.predictor import load_model
    from MSAMLogic.session import Click, InteractiveSession

__all__ = ["Click", "InteractiveSession", "MSAMError", "__version__", "load_model"]

let_waiting_threads_sleep()  # before anything of the package imports torch

_LAZY = {"InteractiveSession": "session", "Click": "session", "load_model": "predictor"}


def __getattr__(name: str) -> Any:
    """Import the public names on first use: the package itself must import in an instant."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"MSAMLogic.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'MSAMLogic' has no attribute {name!r}")
