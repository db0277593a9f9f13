"""`slicer.packaging`: records what would be installed, and installs nothing."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

asked: list[tuple[str, tuple[str, ...]]] = []


def pip_check(requirements: Any) -> bool:
    """Whether all are installed."""
    return not _missing(requirements)


def pip_ensure(
    requirements: Any,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Ask the user, who answers through `dialogs`, and record what is missing.

    Raises:
        RuntimeError: the user declined.
    """
    import slicer

    missing = _missing(requirements)
    if not missing or (skip_in_testing and slicer.app.testingEnabled()):
        return None
    if prompt_install:
        title = f"{requester} - Install Python Packages" if requester else "Install Python Packages"
        text = f"{len(missing)} Python package(s) to be installed. Continue?"
        if not slicer.util.confirmOkCancelDisplay(text, title, detailedText="\n".join(missing)):
            raise RuntimeError("User declined package installation")
    asked.append(("ensure", tuple(missing)))
    return []


def pip_install(requirements: Any, **options: Any) -> None:
    """Record what was to be installed."""
    asked.append(("install", tuple(str(each) for each in _as_list(requirements))))


def pip_uninstall(requirements: Any, **options: Any) -> None:
    """Record what was to be removed."""
    asked.append(("uninstall", tuple(str(each) for each in _as_list(requirements))))


def load_requirements(path: str | Path) -> list[Requirement]:
    """The requirements of a requirements.txt."""
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def load_pyproject_dependencies(path: str | Path) -> list[Requirement]:
    """The dependencies of a pyproject.toml."""
    import tomllib

    project = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("project", {})
    return [Requirement(each) for each in project.get("dependencies", [])]


def isPipInstallInProgress() -> bool:
    """Nothing is ever being installed here."""
    return False


def _as_list(requirements: Any) -> list[Any]:
    return list(requirements) if isinstance(requirements, (list, tuple)) else [requirements]


def _missing(requirements: Any) -> list[str]:
    return [str(each) for each in _as_list(requirements) if not _is_installed(Requirement(str(each)))]


def _is_installed(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)
