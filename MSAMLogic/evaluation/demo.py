"""The demo of ``make demo``: click two real lesions, print the scores, leave masks and pictures.

    python -m MSAMLogic.evaluation.demo --output demo_output --model default

For each scan: ``<scan>.nii.gz`` and ``<scan>.seg.nrrd``, the mask after the last click on the grid of the
scan, and ``<scan>.png``, three views after 1, 3 and 5 clicks.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from MSAMLogic.errors import ImageError, MSAMError
from MSAMLogic.evaluation.pictures import PictureRow, three_views
from MSAMLogic.evaluation.protocol import ClickScore, lesions, run_clicks
from MSAMLogic.evaluation.scans import DemoScan, demo_scans
from MSAMLogic.files import atomic_path

CLICKS = 5
SHOWN = (1, 3, 5)
_TITLES = {"brain1": "Brain tumour, MR", "lung2": "Lung tumour, CT"}


def run_demo(output: Path, model_name: str = "default") -> int:
    """Click the largest lesion of both scans, print the scores and write masks and pictures.

    Args:
        output: folder for the files; made if need be.
        model_name: what :func:`MSAMLogic.load_model` takes.

    Returns:
        The exit code: 0, or 1 after an error of this package or of the file system, which is printed
        to standard error.
    """
    # torch takes seconds to import; --help and a failed download need not wait for it.
    from MSAMLogic import InteractiveSession, load_model

    try:
        scans = demo_scans()
        session = InteractiveSession(load_model(model_name))
        output.mkdir(parents=True, exist_ok=True)
        for scan in scans:
            _click_scan(session, scan, output)
    except (MSAMError, OSError) as error:
        print(f"The demo cannot go on: {error}", file=sys.stderr)
        return 1
    print(f"Masks and pictures are in {output.resolve()}.")
    return 0


def _click_scan(session: Any, scan: DemoScan, output: Path) -> None:
    from MSAMLogic.export.segmentation_nrrd import write_segmentation_nrrd

    image, mask = sitk.ReadImage(str(scan.image_path)), sitk.ReadImage(str(scan.mask_path))
    found = lesions(mask, most=1)
    if not found:
        raise ImageError(f"{scan.mask_path} has no lesion. Delete the file's folder and run the demo again.")
    lesion = found[0]
    title = f"{_TITLES.get(scan.name, scan.name)} ({scan.name})"
    volume = sitk.GetArrayViewFromImage(lesion).sum() * _voxel_volume(lesion) / 1000
    print(f"{title}, lesion of {volume:.1f} mL, {scan.image_path}")
    print("  click   on          Dice   surface Dice   seconds")

    rows: list[PictureRow] = []
    scores: list[ClickScore] = []
    answers: list[sitk.Image] = []

    def note(score: ClickScore, answer: sitk.Image) -> None:
        scores.append(score)
        answers[:] = [answer]
        number = len(scores)
        aim = "lesion" if score.click.positive else "background"
        agreement = f"{score.dice:.3f}   {score.surface_dice:12.3f}"
        print(f"  {number:5d}   {aim:10s}  {agreement}   {score.seconds:7.2f}", flush=True)
        if number in SHOWN:
            rows.append(_row(number, answer, scores))

    run_clicks(session, image, lesion, CLICKS, note)
    if len(scores) not in SHOWN:  # no error was left before the last click
        rows.append(_row(len(scores), answers[0], scores))
    print()
    with atomic_path(output / f"{scan.name}.nii.gz") as partial:
        sitk.WriteImage(answers[0], str(partial), useCompression=True)
    write_segmentation_nrrd(output / f"{scan.name}.seg.nrrd", answers[0], segment_name="Lesion")
    three_views(image, lesion, rows, output / f"{scan.name}.png", modality=scan.modality, title=title)


def _row(number: int, answer: sitk.Image, scores: list[ClickScore]) -> PictureRow:
    title = f"After {number} click{'' if number == 1 else 's'}"
    return PictureRow(title, answer, tuple(score.click for score in scores))


def _voxel_volume(image: sitk.Image) -> float:
    x, y, z = image.GetSpacing()
    return float(x * y * z)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo from the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m MSAMLogic.evaluation.demo", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--output", type=Path, default=Path("demo_output"), help="folder for the files (demo_output)"
    )
    parser.add_argument("--model", default="default", help="name of the weights (default)")
    given = parser.parse_args(arguments)
    return run_demo(given.output, given.model)


if __name__ == "__main__":
    sys.exit(main())
