"""Draws the module's icon and the thumbnails of its sample scans: `make icons`.

They are symbols, not pictures of patients. Everything is drawn eight times too large and made smaller, so
edges are smooth.
"""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw

FOLDER = Path(__file__).resolve().parents[1] / "SlicerMSAM" / "Resources" / "Icons"
SIDE = 128
FINER = 8

NIGHT, TISSUE, BONE = (30, 36, 46), (120, 128, 140), (214, 218, 224)
LESION, OUTLINE, CLICK, WHITE = (240, 178, 66), (230, 130, 0), (46, 158, 79), (255, 255, 255)

Point = tuple[float, float]


class Drawing:
    """A square whose coordinates run from 0 to 128, whatever its real size."""

    def __init__(self) -> None:
        self.image = Image.new("RGBA", (SIDE * FINER, SIDE * FINER), (0, 0, 0, 0))
        self._pen = ImageDraw.Draw(self.image)

    def tile(self, colour: tuple[int, int, int]) -> None:
        """Fill the square but for its rounded corners."""
        self._pen.rounded_rectangle(self._scaled((4, 4, 124, 124)), 22 * FINER, fill=colour)

    def ellipse(
        self, centre: Point, radii: Point, fill: tuple[int, int, int], edge: float = 0, line: object = None
    ) -> None:
        """Draw an ellipse with an edge that lies inside it."""
        (x, y), (a, b) = centre, radii
        box = self._scaled((x - a, y - b, x + a, y + b))
        self._pen.ellipse(box, fill=fill, outline=line, width=round(edge * FINER))

    def blob(
        self,
        centre: Point,
        radius: float,
        fill: tuple[int, int, int],
        line: tuple[int, int, int],
        edge: float,
    ) -> None:
        """Draw an outlined lesion: round, but not a circle."""
        for colour, reach in ((line, radius), (fill, radius - edge)):
            points = []
            for n in range(360):
                angle = math.radians(n)
                bumps = 1 + 0.07 * math.sin(3 * angle + 0.6) + 0.05 * math.sin(5 * angle + 2.0)
                r = reach * bumps if colour == line else radius * bumps - edge
                points.append((centre[0] + r * math.cos(angle), centre[1] + r * math.sin(angle)))
            self._pen.polygon([(x * FINER, y * FINER) for x, y in points], fill=colour)

    def plus(self, centre: Point, radius: float) -> None:
        """Draw a click for the lesion: a green disc with a white plus."""
        self.ellipse(centre, (radius, radius), CLICK, radius * 0.16, WHITE)
        x, y = centre
        arm, half = radius * 0.52, radius * 0.13
        self._pen.rectangle(self._scaled((x - arm, y - half, x + arm, y + half)), fill=WHITE)
        self._pen.rectangle(self._scaled((x - half, y - arm, x + half, y + arm)), fill=WHITE)

    def save(self, name: str) -> None:
        """Write the drawing as PNG, 128 pixels wide."""
        path = FOLDER / f"{name}.png"
        self.image.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(path, optimize=True)
        print(f"{path.name}  {path.stat().st_size / 1000:.1f} kB")

    @staticmethod
    def _scaled(box: tuple[float, float, float, float]) -> tuple[float, ...]:
        return tuple(v * FINER for v in box)


def module_icon() -> Drawing:
    """A lesion with its outline and the click that made it."""
    drawing = Drawing()
    drawing.tile(NIGHT)
    drawing.blob((59, 59), 43, LESION, OUTLINE, 7)
    drawing.plus((84, 84), 30)
    return drawing


def brain() -> Drawing:
    """A head from above with a lesion."""
    drawing = Drawing()
    drawing.tile(NIGHT)
    drawing.ellipse((64, 64), (44, 54), BONE)
    drawing.ellipse((64, 64), (38, 48), TISSUE)
    drawing.ellipse((64, 64), (1.5, 46), NIGHT)
    drawing.ellipse((56, 62), (4, 13), NIGHT)
    drawing.ellipse((72, 62), (4, 13), NIGHT)
    drawing.blob((84, 82), 13, LESION, OUTLINE, 3.5)
    return drawing


def chest() -> Drawing:
    """A chest in cross-section, with both lungs and a lesion in one."""
    drawing = Drawing()
    drawing.tile(NIGHT)
    drawing.ellipse((64, 64), (56, 42), TISSUE)
    drawing.ellipse((40, 62), (19, 29), NIGHT)
    drawing.ellipse((88, 62), (19, 29), NIGHT)
    drawing.ellipse((66, 54), (15, 17), TISSUE)
    drawing.ellipse((64, 88), (10, 9), BONE)
    drawing.blob((90, 70), 11, LESION, OUTLINE, 3.5)
    return drawing


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for title, draw in (("SlicerMSAM", module_icon), ("MSAMBrainTumor", brain), ("MSAMChest", chest)):
        draw().save(title)
