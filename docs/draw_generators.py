"""Draws docs/generators.png: what training samples are made of, a row for each generator.

    python docs/draw_generators.py

The scans are the demo's two, which no training ever saw; `msam samples CONFIG.yaml SHEET.png` draws the same
sheet from the data of a training run.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from MSAMLogic.evaluation.scans import demo_scans
from MSAMLogic.training.cases import Case
from MSAMLogic.training.gallery import write_gallery

TARGET = Path(__file__).parent / "generators.png"
PATCH_SIZE, SPACINGS, SEED, COLUMNS = 64, (0.5, 3.0), 4, 6
WIDTH, COLOURS = 800, 200


def main() -> None:
    """Draw the sheet, then make the file small."""
    cases = [
        Case(scan.name, scan.name, scan.name, scan.modality, scan.image_path, scan.mask_path)
        for scan in demo_scans()
    ]
    write_gallery(cases, TARGET, PATCH_SIZE, SPACINGS, SEED, COLUMNS)
    with Image.open(TARGET) as sheet:
        height = round(sheet.height * WIDTH / sheet.width)
        small = sheet.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
        # Outlines and clicks are few pixels in bright colours, which a median cut would turn grey.
        small = small.quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
    small.save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
