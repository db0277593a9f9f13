"""Optional packages: said to be missing in one sentence, before any work is done."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

from MSAMLogic.errors import PackageError


def require(package: str, extra: str, what: str) -> None:
    """Check that an optional package is installed, without importing it.

    Args:
        package: its name on the package index.
        extra: the extra of this distribution that brings it.
        what: who needs it, as the beginning of a sentence.

    Raises:
        PackageError: when it is not there; the message says how to install it.
    """
    try:
        distribution(package)
    except PackageNotFoundError:
        raise PackageError(
            f"{what} needs the Python package {package}, which is not installed; install it with: "
            f"pip install 'slicer-msam[{extra}]'"
        ) from None
