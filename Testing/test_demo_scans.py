"""Fetching the demo scans, with a small archive and a pip that are not the real ones, and the demo."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import MSAMLogic
from MSAMLogic.errors import DownloadError, ModelError
from MSAMLogic.evaluation import demo, scans
from MSAMLogic.evaluation.scans import DemoScan, demo_scans

NAMES = ["brain1_image.nrrd", "brain1_label.nrrd", "lung2_image.nrrd", "lung2_label.nrrd"]
DATA = "pyradiomics-3.0.1/data/"


def entry(name: str, **what: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for key, value in what.items():
        setattr(member, key, value)
    return member


def archive(*further: tarfile.TarInfo, without: str = "") -> bytes:
    """Return a tar.gz with the four scans, each holding its own name, and further members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as opened:
        for name in NAMES:
            if name != without:
                content = name.encode()
                opened.addfile(entry(DATA + name, size=len(content), mode=0o4777), io.BytesIO(content))
        for member in further:
            opened.addfile(member, io.BytesIO(b"x" * member.size))
    return buffer.getvalue()


class FakePip:
    """Stands in for ``subprocess.run``: saves ``content`` where ``pip download -d`` was told to."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content
        self.commands: list[list[str]] = []
        self.requirements: list[str] = []

    def __call__(self, command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        assert options.get("timeout"), "a hanging server must not hang the demo"
        self.commands.append(command)
        self.requirements.append(Path(command[command.index("-r") + 1]).read_text())
        if self.content is None:
            return subprocess.CompletedProcess(command, 1, "", "first line\nno such index\n")
        Path(command[command.index("-d") + 1], scans.ARCHIVE).write_bytes(self.content)
        return subprocess.CompletedProcess(command, 0, "", "")


Install = Callable[..., FakePip]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("MSAM_CACHE", str(folder))
    return folder


@pytest.fixture
def install(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    def put(content: bytes | None, expected: bytes | None = None) -> FakePip:
        pip = FakePip(content)
        digest = hashlib.sha256(expected or content or b"").hexdigest()
        monkeypatch.setattr(scans, "ARCHIVE_SHA256", digest)
        monkeypatch.setattr(subprocess, "run", pip)
        return pip

    return put


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_scans_are_fetched_once_and_only_their_files_are_kept(cache: Path, install: Install) -> None:
    pip = install(archive(entry("pyradiomics-3.0.1/setup.py", size=5), entry(DATA + "brain2_image.nrrd")))
    found = demo_scans()
    assert demo_scans() == found
    assert len(pip.commands) == 1
    assert [(scan.name, scan.modality) for scan in found] == [("brain1", "MR"), ("lung2", "CT")]
    assert [path.read_text() for scan in found for path in (scan.image_path, scan.mask_path)] == NAMES
    assert files_in(cache) == {scans.ARCHIVE, *(f"pyradiomics-3.0.1/{name}" for name in NAMES)}


def test_pip_is_told_the_hash_so_that_it_runs_nothing_of_another_archive(install: Install) -> None:
    pip = install(archive())
    demo_scans()
    assert pip.commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--require-hashes", "--no-deps"} <= set(pip.commands[0])
    assert pip.requirements == [f"pyradiomics==3.0.1 --hash=sha256:{scans.ARCHIVE_SHA256}\n"]


def test_an_archive_with_another_hash_is_refused_and_not_kept(cache: Path, install: Install) -> None:
    install(archive(entry("evil", size=3)), expected=archive())
    with pytest.raises(DownloadError, match="another file"):
        demo_scans()
    assert files_in(cache) == set()


def test_a_damaged_archive_in_the_cache_is_fetched_again(cache: Path, install: Install) -> None:
    pip = install(archive())
    cache.mkdir()
    (cache / scans.ARCHIVE).write_bytes(archive()[:100])
    demo_scans()
    assert len(pip.commands) == 1
    assert (cache / scans.ARCHIVE).read_bytes() == pip.content


def test_an_archive_put_into_the_cache_by_hand_needs_no_pip(cache: Path, install: Install) -> None:
    pip = install(None, expected=(content := archive()))
    cache.mkdir()
    (cache / scans.ARCHIVE).write_bytes(content)
    assert demo_scans()[0].image_path.read_text() == NAMES[0]
    assert pip.commands == []


def test_a_deleted_scan_comes_back_from_the_kept_archive(install: Install) -> None:
    pip = install(archive())
    lost = demo_scans()[1].mask_path
    lost.unlink()
    assert demo_scans()[1].mask_path.read_text() == lost.name
    assert len(pip.commands) == 1


def test_a_failing_pip_is_explained_with_its_last_words_and_what_to_do(cache: Path, install: Install) -> None:
    install(None)
    with pytest.raises(DownloadError) as caught:
        demo_scans()
    message = str(caught.value)
    assert "no such index" in message and "setuptools" in message and str(cache) in message


def test_a_pip_that_hangs_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 600)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(DownloadError, match="10 minutes"):
        demo_scans()


def test_a_cache_that_cannot_be_written_is_explained(cache: Path, install: Install) -> None:
    install(archive())
    cache.write_text("a file, not a folder")
    with pytest.raises(DownloadError, match="MSAM_CACHE"):
        demo_scans()


def test_members_that_point_elsewhere_are_never_written(tmp_path: Path, install: Install) -> None:
    absolute = tmp_path / "absolute"
    install(
        archive(entry("../../outside", size=1), entry(DATA + "../../../up", size=1), entry(str(absolute)))
    )
    demo_scans()
    assert files_in(tmp_path) == {f"cache/{name}" for name in files_in(tmp_path / "cache")}
    assert len(files_in(tmp_path / "cache")) == 5


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
@pytest.mark.parametrize("target", ["/etc/hostname", "../../../secret", NAMES[0], DATA + NAMES[0]])
def test_a_scan_that_is_a_link_or_folder_is_refused(
    kind: bytes, target: str, tmp_path: Path, cache: Path, install: Install
) -> None:
    (tmp_path / "secret").write_text("secret")
    link = entry(DATA + NAMES[2], type=kind, linkname=target)
    install(archive(link, without=NAMES[2]))
    with pytest.raises(DownloadError, match="does not hold"):
        demo_scans()
    assert not (cache / "pyradiomics-3.0.1" / NAMES[2]).exists()


def test_an_archive_without_a_scan_is_refused(install: Install) -> None:
    install(archive(without=NAMES[3]))
    with pytest.raises(DownloadError, match=r"lung2_label\.nrrd"):
        demo_scans()


def test_scans_get_ordinary_permissions(install: Install) -> None:
    install(archive())
    assert all(scan.image_path.stat().st_mode & 0o7111 == 0 for scan in demo_scans())


class Growing:
    """A session whose mask is a ball that grows with every click around the first one."""

    def __init__(self, model: object) -> None:
        assert model == ("model", "default")

    def set_image(self, image: sitk.Image) -> None:
        self.image, self.points = image, []

    def click(self, point: tuple[float, float, float], positive: bool = True) -> None:
        self.points.append(point)

    @property
    def mask(self) -> sitk.Image:
        i, j, k = self.image.TransformPhysicalPointToIndex(self.points[0])
        z, y, x = np.ogrid[tuple(slice(n) for n in self.image.GetSize()[::-1])]
        ball = (z - k) ** 2 + (y - j) ** 2 + (x - i) ** 2 <= (2 + len(self.points)) ** 2
        mask = sitk.GetImageFromArray(ball.astype(np.uint8))
        mask.CopyInformation(self.image)
        return mask


@pytest.fixture
def fake_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small scans, a session without a network, and a writer of segmentations."""
    z, y, x = np.ogrid[:20, :24, :22]
    lesion = ((z - 9) ** 2 + (y - 12) ** 2 + (x - 11) ** 2 <= 25).astype(np.uint8)
    image, mask = sitk.GetImageFromArray(lesion * 100.0), sitk.GetImageFromArray(lesion)
    sitk.WriteImage(image, str(tmp_path / "image.nrrd"))
    sitk.WriteImage(mask, str(tmp_path / "mask.nrrd"))
    paths = (tmp_path / "image.nrrd", tmp_path / "mask.nrrd")
    found = [DemoScan("brain1", "MR", *paths), DemoScan("lung2", "CT", *paths)]
    monkeypatch.setattr(demo, "demo_scans", lambda: found)
    monkeypatch.setattr(MSAMLogic, "InteractiveSession", Growing, raising=False)
    monkeypatch.setattr(MSAMLogic, "load_model", lambda name: ("model", name), raising=False)
    writer = types.ModuleType("MSAMLogic.export.segmentation_nrrd")
    writer.write_segmentation_nrrd = lambda path, mask, segment_name: sitk.WriteImage(mask, str(path))  # type: ignore[attr-defined]
    package = types.ModuleType("MSAMLogic.export")
    monkeypatch.setitem(sys.modules, "MSAMLogic.export", package)
    monkeypatch.setitem(sys.modules, "MSAMLogic.export.segmentation_nrrd", writer)


@pytest.mark.usefixtures("fake_demo")
def test_the_demo_prints_every_click_and_leaves_masks_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "folder"
    assert demo.main(["--output", str(output)]) == 0
    names = {f"{scan}{suffix}" for scan in ("brain1", "lung2") for suffix in (".nii.gz", ".seg.nrrd", ".png")}
    assert files_in(output) == names
    last = sitk.ReadImage(str(output / "brain1.nii.gz"))
    lines = capsys.readouterr().out.splitlines()
    # The balls of radius 3, 4 and 5 around the middle: the third is the lesion, and the series ends.
    table = [line.split() for line in lines if line.split()[:1] in (["1"], ["2"], ["3"], ["4"])]
    assert [row[:2] for row in table] == 2 * [["1", "lesion"], ["2", "lesion"], ["3", "lesion"]]
    assert table[2][2:4] == ["1.000", "1.000"]
    assert (
        sitk.GetArrayFromImage(last).sum()
        == sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "mask.nrrd"))).sum()
    )


@pytest.mark.usefixtures("fake_demo")
@pytest.mark.parametrize(
    "error", [ModelError("there is no such model"), PermissionError("no permission here")]
)
def test_the_demo_explains_errors_without_a_traceback(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: str) -> None:
        raise error

    monkeypatch.setattr(MSAMLogic, "load_model", fail, raising=False)
    assert demo.run_demo(tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert str(error) in printed.err and "Traceback" not in printed.err and not printed.out
