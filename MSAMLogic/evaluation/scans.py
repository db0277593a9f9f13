"""Two real scans with outlined lesions, fetched once: a brain tumour (MR) and a lung tumour (CT).

They are the test cases of the Python package pyradiomics 3.0.1 (BSD 3-clause licence, van Griethuysen et
al. 2017), which only its source archive carries, so pip fetches that archive by name. pip has to run
part of the package to learn its metadata, which is why the archive's SHA256 goes to pip: it refuses
another file before it opens it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from MSAMLogic.errors import DownloadError
from MSAMLogic.files import atomic_path
from MSAMLogic.intensity import Modality
from MSAMLogic.weights import cache_folder

PACKAGE = "pyradiomics"
VERSION = "3.0.1"
ARCHIVE = f"{PACKAGE}-{VERSION}.tar.gz"
ARCHIVE_SHA256 = "47c57f441d6cb7973fa3b2ea48d3948df78e3348e1c69e1e2ff19001601fc2f5"

_SCANS: tuple[tuple[str, Modality], ...] = (("brain1", "MR"), ("lung2", "CT"))
_TIME_LIMIT_S = 600


@dataclass(frozen=True)
class DemoScan:
    """A scan and its reference on this machine.

    Attributes:
        name: ``"brain1"`` or ``"lung2"``.
        modality: ``"MR"`` or ``"CT"``.
        image_path: the scan, NRRD.
        mask_path: the lesions outlined by a reader, NRRD on the grid of the scan; what is not zero is
            lesion.
    """

    name: str
    modality: Modality
    image_path: Path
    mask_path: Path


def demo_scans() -> list[DemoScan]:
    """Return both scans, fetching them (33 MiB) the first time.

    The archive and the extracted files stay in :func:`MSAMLogic.weights.cache_folder`, so later calls
    need no network.

    Raises:
        DownloadError: when pip cannot fetch the archive, the archive is not the expected one, or the
            cache cannot be written.
    """
    folder = cache_folder() / f"{PACKAGE}-{VERSION}"
    scans = [
        DemoScan(name, modality, folder / f"{name}_image.nrrd", folder / f"{name}_label.nrrd")
        for name, modality in _SCANS
    ]
    if not all(path.is_file() for scan in scans for path in (scan.image_path, scan.mask_path)):
        try:
            _extract(_archive(), [path for scan in scans for path in (scan.image_path, scan.mask_path)])
        except OSError as error:
            raise DownloadError(
                f"The demo scans cannot be kept in {cache_folder()} ({error}); free some space there, or set "
                "MSAM_CACHE to a folder that can be written."
            ) from error
    return scans


def _archive() -> Path:
    """Return the checked source archive, from the cache or fetched."""
    kept = cache_folder() / ARCHIVE
    if kept.is_file() and _sha256(kept) == ARCHIVE_SHA256:
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".partial-") as name:
        fetched = _fetch(Path(name))
        found = _sha256(fetched)
        if found != ARCHIVE_SHA256:
            raise DownloadError(
                f"What came as {ARCHIVE} is another file: its SHA256 is {found}, not {ARCHIVE_SHA256}. It "
                "was thrown away. Check which package index pip uses (pip config list) and try again."
            )
        fetched.replace(kept)
    return kept


def _fetch(folder: Path) -> Path:
    """Let pip put the source archive into ``folder`` and return its path there."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{ARCHIVE_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-build-isolation"]
    command += ["--disable-pip-version-check", "--no-binary", PACKAGE, "--require-hashes"]
    command += ["-r", str(requirement), "-d", str(folder)]
    advice = (
        "Check the network and that pip, setuptools and numpy are installed (python -m pip install "
        f"setuptools numpy), or get the source archive {ARCHIVE} elsewhere and put it into {cache_folder()}."
    )
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIME_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DownloadError(
            f"pip did not fetch {PACKAGE} {VERSION} within {_TIME_LIMIT_S // 60} minutes. {advice}"
        ) from error
    archive = folder / ARCHIVE
    if done.returncode or not archive.is_file():
        last = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-5:])
        raise DownloadError(f"pip could not fetch {PACKAGE} {VERSION}. {advice} pip said:\n{last}")
    return archive


def _extract(archive: Path, targets: list[Path]) -> None:
    """Write the archive's files of the same names to ``targets``, each whole or not at all."""
    try:
        with tarfile.open(archive, "r:gz") as opened:
            for target in targets:
                # Members are asked for by their full names and only the bytes of plain files are taken:
                # no path, link, owner or mode that the archive holds can reach the disk.
                member = opened.getmember(f"{PACKAGE}-{VERSION}/data/{target.name}")
                source = opened.extractfile(member) if member.isfile() else None
                if source is None:
                    raise tarfile.ExtractError(f"{member.name} is not a plain file")
                with source, atomic_path(target) as partial, partial.open("wb") as file:
                    shutil.copyfileobj(source, file)
    except (KeyError, tarfile.TarError, EOFError) as error:
        raise DownloadError(
            f"The archive {archive} does not hold the demo scans ({error}). Delete it and try again."
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
