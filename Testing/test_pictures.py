"""Pictures of segmentations: what is where, read back from the PNG."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import SimpleITK as sitk

from MSAMLogic.errors import ImageError
from MSAMLogic.evaluation import pictures
from MSAMLogic.evaluation.pictures import PictureRow, three_views
from MSAMLogic.session import Click

LEFT, POSTERIOR, SUPERIOR = np.eye(3)
CENTRE = (10.0, -20.0, 30.0)
Point = tuple[float, float, float]


def reordered(image: sitk.Image, order: str) -> sitk.Image:
    """Return the same voxels in the same places, stored in another order."""
    return sitk.DICOMOrient(image, order)


def ball(centre: np.ndarray | Point, radius: float, spacing: Point = (1.0, 1.0, 3.0)) -> np.ndarray:
    """Return a ball (k, j, i) on the grid of :func:`scan`."""
    size = [round(120 / mm) for mm in spacing]
    axes = [(np.arange(n) - (n - 1) / 2) * mm + c for n, mm, c in zip(size, spacing, CENTRE, strict=True)]
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 <= radius**2


def scan(array: np.ndarray, spacing: Point = (1.0, 1.0, 3.0)) -> sitk.Image:
    """Return 120 mm a side around ``CENTRE`` in LPS order."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    size = image.GetSize()
    image.SetOrigin([c - (n - 1) / 2 * mm for c, n, mm in zip(CENTRE, size, spacing, strict=True)])
    return image


def views(path: Path) -> list[np.ndarray]:
    """Return the pixels of each view of the last row, found by its black ground."""
    pixels = matplotlib.image.imread(path)[..., :3]
    black = (pixels == 0).all(axis=2)
    columns = np.flatnonzero(black.mean(axis=0) > 0.3)
    rows = np.flatnonzero(black.mean(axis=1) > 0.3)
    parts = np.split(columns, np.flatnonzero(np.diff(columns) > 2) + 1)
    top, bottom = rows[0], rows[-1] + 1
    return [pixels[top:bottom, part[0] : part[-1] + 1] for part in parts]


def middle_of(mask: np.ndarray) -> tuple[float, float]:
    """Return the centre of the marked pixels as fractions from the left and from the top."""
    assert mask.any()
    rows, columns = np.nonzero(mask)
    return float(columns.mean() / mask.shape[1]), float(rows.mean() / mask.shape[0])


def whitish(view: np.ndarray) -> np.ndarray:
    mask: np.ndarray = (view > 0.9).all(axis=2)
    return mask


def coloured(view: np.ndarray, colour: str) -> np.ndarray:
    wanted = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
    mask: np.ndarray = np.abs(view - wanted).max(axis=2) < 0.12
    return mask


# Where the sides of the patient lie in each view: (axial, coronal, sagittal) of (across, down) steps.
SIDES = {
    "left": (LEFT, ((1, 0), (1, 0), None)),
    "posterior": (POSTERIOR, ((0, 1), None, (1, 0))),
    "superior": (SUPERIOR, (None, (0, -1), (0, -1))),
}


@pytest.mark.parametrize("order", ["LPS", "RAS", "ASL", "PIR"])
@pytest.mark.parametrize("side", SIDES)
def test_the_sides_of_the_patient_are_where_radiologists_expect_them(
    side: str, order: str, tmp_path: Path
) -> None:
    direction, steps = SIDES[side]
    beacon = np.array(CENTRE) + 32 * direction
    image = scan(ball(beacon, 7) * 1000.0)
    lesion = scan(ball(CENTRE, 12).astype(np.uint8))
    image, lesion = reordered(image, order), reordered(lesion, order)
    path = tmp_path / "views.png"
    three_views(image, lesion, [PictureRow("x", lesion * 0)], path, point=CENTRE, modality="MR")
    shown = views(path)
    assert len(shown) == 3
    for view, step in zip(shown, steps, strict=True):
        if step is None:  # at right angles to the slice: out of it
            assert whitish(view).mean() < 0.003
            continue
        across, down = middle_of(whitish(view))
        # 32 mm of the 90 mm that a view of a small lesion shows
        assert across - 0.5 == pytest.approx(step[0] * 32 / 90, abs=0.04)
        assert down - 0.5 == pytest.approx(step[1] * 32 / 90, abs=0.04)


def test_millimetres_are_as_long_in_all_directions(tmp_path: Path) -> None:
    lesion = scan(ball(CENTRE, 20).astype(np.uint8))
    path = tmp_path / "views.png"
    image = scan(ball(CENTRE, 20) * 1000.0)
    three_views(image, lesion, [PictureRow("x", lesion * 0)], path, modality="MR")
    for view in views(path):
        assert view.shape[0] == pytest.approx(view.shape[1], abs=3)
        rows, columns = np.nonzero(whitish(view) | coloured(view, pictures._TRUTH))
        # 3 mm slices round a ball of 40 mm to 39 or 42
        assert np.ptp(columns) / np.ptp(rows) == pytest.approx(1, abs=0.1)
        assert np.ptp(columns) / view.shape[1] == pytest.approx(40 / 90, abs=0.04)


def test_prediction_reference_and_clicks_are_drawn_where_they_are(tmp_path: Path) -> None:
    left = tuple(CENTRE + 14 * LEFT)
    lesion = scan(ball(CENTRE, 12).astype(np.uint8))
    prediction = scan(ball(left, 12).astype(np.uint8))
    clicks = (
        Click(tuple(CENTRE - 25 * LEFT), True),
        Click(tuple(CENTRE + 28 * LEFT - 10 * POSTERIOR), False),
    )
    path = tmp_path / "views.png"
    image = scan(np.zeros((40, 120, 120)))
    three_views(image, lesion, [PictureRow("x", prediction, clicks)], path, point=CENTRE)
    axial, coronal, sagittal = views(path)
    across, _ = middle_of(coloured(axial, pictures._PREDICTION))
    assert across == pytest.approx(0.5 + 14 / 90, abs=0.02)
    across, down = middle_of(coloured(axial, pictures._TRUTH))
    assert (across, down) == pytest.approx((0.5, 0.5), abs=0.04)
    across, down = middle_of(coloured(axial, pictures._LESION_CLICK))
    assert (across, down) == pytest.approx((0.5 - 25 / 90, 0.5), abs=0.02)
    across, down = middle_of(coloured(axial, pictures._BACKGROUND_CLICK))
    assert (across, down) == pytest.approx((0.5 + 28 / 90, 0.5 - 10 / 90), abs=0.02)
    # The background click lies 10 mm before the coronal slice, both clicks far from the sagittal one.
    assert coloured(coronal, pictures._LESION_CLICK).any()
    assert not coloured(coronal, pictures._BACKGROUND_CLICK).any()
    assert not coloured(sagittal, pictures._LESION_CLICK).any()


def test_an_oblique_image_is_drawn_in_its_own_planes(tmp_path: Path) -> None:
    c, s = math.cos(0.35), math.sin(0.35)
    image, lesion = scan(ball(CENTRE, 8) * 1000.0), scan(ball(CENTRE, 12).astype(np.uint8))
    for each in (image, lesion):
        each.SetDirection((c, -s, 0, s, c, 0, 0, 0, 1))
    centre = lesion.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in lesion.GetSize()])
    path = tmp_path / "views.png"
    three_views(image, lesion, [PictureRow("x", lesion * 0)], path, point=centre, modality="MR")
    for view in views(path):
        assert middle_of(whitish(view)) == pytest.approx((0.5, 0.5), abs=0.03)


def test_every_row_adds_its_slices_and_its_dice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    titles = []
    real = Axes.set_title
    monkeypatch.setattr(
        Axes, "set_title", lambda self, label, **k: (titles.append(label), real(self, label, **k))[1]
    )
    lesion = scan(ball(CENTRE, 12).astype(np.uint8))
    rows = [PictureRow("After 1 click", lesion * 0), PictureRow("After 3 clicks", lesion)]
    image = scan(np.zeros((40, 120, 120)))
    three_views(image, lesion, rows[:1], tmp_path / "one.png")
    three_views(image, lesion, rows, tmp_path / "two.png", title="A case")
    assert {"After 1 click: Dice 0.00", "After 3 clicks: Dice 1.00"} <= set(titles)
    one, two = (matplotlib.image.imread(tmp_path / f"{name}.png").shape for name in ("one", "two"))
    assert one[1] == two[1] and two[0] > one[0] + 300


def test_a_lesion_in_lung_gets_a_lung_window_and_one_in_tissue_does_not() -> None:
    inside = ball(CENTRE, 12)
    lesion = scan(inside.astype(np.uint8))
    in_lung, in_liver = scan(np.where(inside, 40.0, -850.0)), scan(np.where(inside, 40.0, 100.0))
    assert pictures._window(in_lung, lesion, "CT") == pictures._LUNG
    assert pictures._window(in_liver, lesion, "CT") == pictures._SOFT_TISSUE


def test_the_window_of_an_mr_shows_the_lesion_below_white_beside_bright_fat() -> None:
    inside = ball(CENTRE, 12)
    array = np.where(inside, 900.0, 300.0)
    array[:, :, :8] = 4000.0
    low, high = pictures._window(scan(array), scan(inside.astype(np.uint8)), "MR")
    assert low <= 300 and 900 < high < 2000


def test_a_lesion_at_the_corner_of_the_image_can_be_shown(tmp_path: Path) -> None:
    mask = np.zeros((40, 120, 120), np.uint8)
    mask[:2, :3, -3:] = 1
    three_views(scan(mask * 100.0), scan(mask), [PictureRow("x", scan(mask))], tmp_path / "views.png")
    assert (tmp_path / "views.png").read_bytes()[:4] == b"\x89PNG"


def test_what_cannot_be_drawn_is_refused_and_no_file_is_left(tmp_path: Path) -> None:
    image, lesion = scan(np.zeros((40, 120, 120))), scan(ball(CENTRE, 12).astype(np.uint8))
    moved = scan(ball(CENTRE, 12).astype(np.uint8))
    moved.SetOrigin((0.0, 0.0, 0.0))
    path = tmp_path / "views.png"
    refused: list[tuple[sitk.Image, list[PictureRow], Point | None, str]] = [
        (lesion, [PictureRow("x", moved)], None, "grid"),
        (moved, [PictureRow("x", lesion)], None, "grid"),
        (lesion * 0, [PictureRow("x", lesion)], None, "empty"),
        (lesion, [], None, "row"),
        (lesion, [PictureRow("x", lesion)], (500.0, 0.0, 0.0), "outside"),
    ]
    for truth, rows, point, match in refused:
        with pytest.raises(ImageError, match=match):
            three_views(image, truth, rows, path, point=point)
    assert list(tmp_path.iterdir()) == []
