"""Documents: links lead somewhere, pictures are there and small, keys and messages are those of the code."""

from __future__ import annotations

import ast
import re
import struct
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "user_guide.md"
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "SlicerMSAM" / "README.md",
    ROOT / "model_weights" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
MOST_BYTES = 150_000


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def links_of(document: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", text_of(document))


def anchors_of(document: Path) -> set[str]:
    """The anchors that a web view gives to headings."""
    headings = re.findall(r"^#+ +(.+)$", text_of(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@cache
def strings_of_the_code() -> tuple[str, ...]:
    files = [*(ROOT / "SlicerMSAM").rglob("*.py"), *(ROOT / "MSAMLogic").rglob("*.py")]
    return tuple(
        node.value
        for file in files
        for node in ast.walk(ast.parse(text_of(file)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    for link in links_of(document):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{document.name}: {link}"
        assert not anchor or anchor in anchors_of(target), f"{document.name}: {link}"


def test_the_guide_has_all_pictures_and_each_is_small() -> None:
    pictures = sorted((ROOT / "docs" / "pictures").glob("*.png"))
    shown = {(GUIDE.parent / link).name for link in links_of(GUIDE) if link.endswith(".png")}
    assert shown == {picture.name for picture in pictures}
    for picture in pictures:
        content = picture.read_bytes()
        assert len(content) <= MOST_BYTES, picture.name
        width, height = struct.unpack(">II", content[16:24])
        assert (width, height) == (1280, 800) or picture.name == "panel.png", picture.name


def test_the_guide_has_the_keys_of_the_module() -> None:
    tree = ast.parse(text_of(ROOT / "SlicerMSAM" / "SlicerMSAMLib" / "shortcuts.py"))
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    keys = next(ast.literal_eval(node.value) for node in assigned if node.targets[0].id == "KEYS")  # type: ignore[attr-defined]
    table = text_of(GUIDE).split("## Keys")[1].split("## ")[0]
    assert set(re.findall(r"^\| \*\*([^*]+)\*\* \|", table, re.MULTILINE)) == set(keys.values())


def test_the_guide_quotes_messages_that_the_code_says() -> None:
    table = text_of(GUIDE).split("## When something does not work")[1].split("## ")[0]
    quoted = [
        part.strip() for line in re.findall(r'^\| "([^"]+)"', table, re.MULTILINE) for part in line.split("…")
    ]
    assert len(quoted) > 8
    for part in filter(None, quoted):
        assert any(part in text for text in strings_of_the_code()), part


def test_the_guide_names_buttons_and_boxes_of_the_panel() -> None:
    panel = text_of(ROOT / "SlicerMSAM" / "Resources" / "UI" / "SlicerMSAM.ui")
    names = (
        *("+ Lesion", "– Background", "Accept mask", "Next lesion", "Undo", "Redo", "Start over", "Cancel"),
        *(
            "Show clicks",
            "Show diameters",
            "Copy",
            "Save CSV…",
            "NRRD…",
            "NIfTI…",
            "DICOM SEG…",
            "Install PyTorch…",
            "Propose lesions",
            "File…",
        ),
    )
    for name in names:
        assert f"<string>{name}</string>" in panel, name
        assert name.lower() in text_of(GUIDE).lower(), name
