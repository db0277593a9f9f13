"""What the module needs of Python, and installing it with the user's consent."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable

from slicer.i18n import tr as _

# Import name and requirement of what Slicer does not bring itself.
PACKAGES = {
    "nrrd": "pynrrd>=1.0",
    "pydantic": "pydantic>=2.7",
    "safetensors": "safetensors>=0.4.3",
    "scipy": "scipy>=1.11",
    "yaml": "pyyaml>=6",
    "SimpleITK": "SimpleITK>=2.3",
    "requests": "requests>=2.31",
}
TORCH_REQUIREMENT = ">=2.3"


class InstallationError(Exception):
    """Something could not be installed; the text says what to do."""


class Installer:
    """Finds out what is missing and installs it.

    Args:
        is_here: whether a package can be imported; by default Python is asked.
        run: lets a function run while the user sees that Slicer is busy; given the text and the function.
    """

    def __init__(
        self,
        is_here: Callable[[str], bool] | None = None,
        run: Callable[[str, Callable[[], object]], object] | None = None,
    ) -> None:
        self._is_here = is_here or (lambda name: importlib.util.find_spec(name) is not None)
        self._run = run or (lambda text, work: work())

    def missing_packages(self) -> list[str]:
        """Return the requirements, without PyTorch, that are not installed."""
        return [requirement for name, requirement in PACKAGES.items() if not self._is_here(name)]

    def is_torch_missing(self) -> bool:
        """Whether PyTorch is not installed."""
        return not self._is_here("torch")

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing_packages() and not self.is_torch_missing()

    def install(self) -> bool:
        """Install what is missing, after the user agreed.

        Returns:
            Whether everything is there now; False when the user declined.

        Raises:
            InstallationError: when it failed; the text says what to do.
        """
        packages = self.missing_packages()
        if packages and not self._install_packages(packages):
            return False
        if self.is_torch_missing() and not self._install_torch():
            return False
        importlib.invalidate_caches()
        return self.is_complete

    def _install_packages(self, requirements: list[str]) -> bool:
        try:
            import slicer.packaging
            from packaging.requirements import Requirement

            wanted = [Requirement(text) for text in requirements]
            # It asks for consent and shows its progress itself.
            self._run(
                _("Installing Python packages…"),
                lambda: slicer.packaging.pip_ensure(wanted, requester="SlicerMSAM"),
            )
        except Exception as error:
            raise InstallationError(
                _(
                    "The Python packages {names} could not be installed: {reason}\n\nCheck the network "
                    "connection and try again. Behind a proxy, set HTTPS_PROXY before Slicer starts."
                ).format(names=", ".join(requirements), reason=error)
            ) from error
        return not self.missing_packages()

    def _install_torch(self) -> bool:
        try:
            from PyTorchUtils import PyTorchUtilsLogic
        except ModuleNotFoundError as error:
            raise InstallationError(
                _(
                    "PyTorch is installed through the extension 'PyTorch', which is not here yet.\n\nOpen "
                    "View → Extensions Manager, install 'PyTorch', restart Slicer and come back."
                )
            ) from error
        try:
            installed = self._run(
                _("Installing PyTorch; this can take several minutes…"),
                lambda: PyTorchUtilsLogic().installTorch(
                    askConfirmation=True, torchVersionRequirement=TORCH_REQUIREMENT
                ),
            )
        except Exception as error:
            raise InstallationError(
                _(
                    "PyTorch could not be installed: {reason}\n\nFree some gigabytes of disk space, check "
                    "the network, then try again; or install it in the module 'PyTorch Utils', where "
                    "a version for the processor alone can be chosen."
                ).format(reason=error)
            ) from error
        return installed is not None and not self.is_torch_missing()
