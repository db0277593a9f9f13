"""What the extension's package holds, and what its description says."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE = ROOT / "SlicerMSAM"
TOP_LISTS = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
MODULE_LISTS = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
STUB = Path(__file__).parent / "slicer_cmake"
MODULES_FOLDER = "lib/Slicer-5.12/qt-scripted-modules"

CMAKE = shutil.which("cmake", path=str(Path(sys.executable).parent)) or shutil.which("cmake")
BUILDER = "Ninja" if shutil.which("ninja") else "Unix Makefiles" if shutil.which("make") else None
HAS_COMPILER = bool(
    (shutil.which("cc") or shutil.which("gcc")) and (shutil.which("c++") or shutil.which("g++"))
)


def listed(name: str) -> set[str]:
    """The files of a list in the module's CMakeLists.txt."""
    found = re.search(rf"set\({name}\s+([^)]*)\)", MODULE_LISTS)
    assert found is not None, name
    return set(found.group(1).replace("${MODULE_NAME}", "SlicerMSAM").split())


def in_folder(*patterns: str) -> set[str]:
    """The files of the module's folder, as they are listed."""
    return {
        path.relative_to(MODULE).as_posix()
        for pattern in patterns
        for path in MODULE.glob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def field(name: str) -> str:
    """A field of the extension's description, as the Extensions Index reads it: as text."""
    found = re.search(rf'set\(EXTENSION_{name}\s+"([^"]*)"\s*\)', TOP_LISTS)
    assert found is not None, f"EXTENSION_{name} is not there, or not written out between quotation marks"
    return found.group(1)


def test_every_python_file_is_listed() -> None:
    assert listed("MODULE_PYTHON_SCRIPTS") == in_folder("**/*.py")


def test_an_installed_wheel_has_all_of_the_logic() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    logic = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for path in (ROOT / "MSAMLogic").rglob("*.py")
    }
    assert set(setuptools["packages"]) == logic | {"MSAMLogic.model_weights"}
    carried = setuptools["package-data"]
    for path in (ROOT / "MSAMLogic").rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            package = path.parent.relative_to(ROOT).as_posix().replace("/", ".")
            assert any(path.match(pattern) for pattern in carried.get(package, [])), path


def test_every_resource_is_listed() -> None:
    assert listed("MODULE_PYTHON_RESOURCES") == in_folder("Resources/**/*")


def test_the_extension_has_a_name_that_the_index_takes() -> None:
    found = re.search(r"project\s*\(\s*([^\s)]+)", TOP_LISTS)
    assert found is not None
    assert found.group(1) == "MSAM"


@pytest.mark.parametrize("name", ["CATEGORY", "CONTRIBUTORS", "DESCRIPTION"])
def test_the_description_says_something_in_one_line(name: str) -> None:
    value = field(name)
    assert value
    assert ";" not in value
    assert "\n" not in value


def test_web_addresses_are_absent_or_lead_to_files_of_this_repository() -> None:
    homepage, icon = field("HOMEPAGE"), field("ICONURL")
    screenshots = field("SCREENSHOTURLS").split()
    if not any((homepage, icon, screenshots)):
        return  # not published yet: see docs/release_checklist.md
    assert homepage.startswith("https://")
    assert icon
    assert screenshots
    for address in (icon, *screenshots):
        assert address.startswith("https://")
        tails = ["/".join(address.split("/")[n:]) for n in range(3, address.count("/") + 1)]
        assert any((ROOT / tail).is_file() for tail in tails), f"{address} is no file of this repository"


def test_icons_have_the_size_that_slicer_shows() -> None:
    for name in ("SlicerMSAM", "MSAMBrainTumor", "MSAMChest"):
        assert png_size(MODULE / "Resources" / "Icons" / f"{name}.png") == (128, 128)


def test_sample_scans_have_thumbnails() -> None:
    text = (MODULE / "SlicerMSAMLib" / "sample_data.py").read_text(encoding="utf-8")
    names = re.findall(r'^ +"(MSAM\w+)",$', text, re.MULTILINE)
    assert names
    for name in names:
        assert f"Resources/Icons/{name}.png" in listed("MODULE_PYTHON_RESOURCES")


@pytest.mark.skipif(
    not (CMAKE and BUILDER and HAS_COMPILER), reason="needs cmake, make or ninja, and a compiler for C++"
)
def test_the_installed_extension_is_complete(tmp_path: Path) -> None:
    build, installed = tmp_path / "build", tmp_path / "installed"
    cmake("-S", ROOT, "-B", build, "-G", BUILDER, f"-DSlicer_DIR={STUB}", "-DBUILD_TESTING=ON", "-Wno-dev")
    cmake("--build", build)
    cmake("--install", build, "--prefix", installed)
    assert "PyTorch" in (build / "MSAM.s4ext").read_text(encoding="utf-8")
    for folder in (build / MODULES_FOLDER, installed / MODULES_FOLDER):
        for name in listed("MODULE_PYTHON_SCRIPTS") | listed("MODULE_PYTHON_RESOURCES"):
            assert (folder / name).read_bytes() == (MODULE / name).read_bytes(), name
        assert python(folder, "from MSAMLogic import weights; print(weights.registry_folder())") == str(
            folder / "model_weights"
        )
        weights = "from MSAMLogic import weights as w; print(w.ensure_available(w.find_model('default')))"
        assert python(folder, weights).startswith(str(folder))
    left_out = [path for path in (installed / MODULES_FOLDER).rglob("*") if path.suffix == ".pyc"]
    assert not left_out


def cmake(*arguments: object) -> None:
    done = subprocess.run(
        [str(CMAKE), *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def python(folder: Path, code: str) -> str:
    """What Python prints when it finds packages in a folder first, as Slicer's does."""
    start = f"import sys; sys.dont_write_bytecode = True; sys.path.insert(0, {str(folder)!r}); "
    done = subprocess.run(
        [sys.executable, "-B", "-c", start + code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def png_size(path: Path) -> tuple[int, int]:
    """Width and height from a PNG's header."""
    return struct.unpack(">II", path.read_bytes()[16:24])
