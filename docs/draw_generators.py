"""Draws docs/generators.png: what training samples are made of, a row for each generator.

    python docs/draw_generators.py

The scans are the demo's two, which no training ever saw; `msam samples CONFIG.yaml SHEET.png` draws the same
sheet from the data of a training run.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageColor

from MSAMLogic.evaluation.scans import demo_scans
from MSAMLogic.training.cases import Case
from MSAMLogic.training.gallery import write_gallery

TARGET = Path(__file__).parent / "generators.png"
PATCH_SIZE, SPACINGS, SEED, COLUMNS = 64, (0.5, 3.0), 4, 6
WIDTH = 800
# Outlines and clicks: lesion, answer, clicks for it and against it.
COLOURS = ("#5ec8ff", "#ffb000", "#35e05a", "#ff3b3b")
GREYS, SHADES = 40, (0.25, 0.4, 0.55, 0.7, 0.85, 1.0)


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
        small = small.quantize(palette=palette(), dither=Image.Dither.NONE)
    small.save(TARGET, optimize=True)


def palette() -> Image.Image:
    """Return a palette of greys, and of the bright colours on dark and on light greys.

    A palette made from the sheet gives its few bright pixels to the greys, or tints these.
    """
    colours = [(value,) * 3 for value in (round(255 * n / (GREYS - 1)) for n in range(GREYS))]
    for colour in (ImageColor.getrgb(name) for name in COLOURS):
        for ground in (20, 100, 200):
            for shade in SHADES:
                colours.append(tuple(round(shade * part + (1 - shade) * ground) for part in colour))
    image = Image.new("P", (1, 1))
    image.putpalette([part for colour in colours for part in colour])
    return image


if __name__ == "__main__":
    main()
