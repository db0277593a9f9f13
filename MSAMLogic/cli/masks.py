"""Commands about one scan: segment it by clicks, propose lesions, write a mask in another format."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from MSAMLogic.errors import ClickError, ModelError
from MSAMLogic.geometry import Point, lps_from_ras

if TYPE_CHECKING:
    from MSAMLogic.reading import Scan

SeriesOption = Annotated[
    str | None,
    typer.Option("--series", help="Series of a DICOM folder: a number of 'msam series', or a UID."),
]
NameOption = Annotated[str | None, typer.Option(help="Name of the segment.")]
TypeOption = Annotated[
    str, typer.Option("--type", help="What it is: lesion, mass, nodule, ..., or SCT^code^meaning.")
]
RegionOption = Annotated[
    str | None, typer.Option(help="Where it is: lung, liver, brain, ..., or SCT^code^meaning.")
]
ReportOption = Annotated[
    Path | None, typer.Option(help="Measurements as a DICOM report; with a mask in .dcm only.")
]
TableOption = Annotated[Path | None, typer.Option("--measurements", help="Measurements as a .csv table.")]
DescriptionOption = Annotated[str, typer.Option(help="Series description of a mask in .dcm.")]
NumberOption = Annotated[
    int | None, typer.Option(help="Series number of a mask in .dcm; 1000 more than the scan's.", min=0)
]


def parse_click(text: str, is_lps: bool) -> tuple[Point, bool]:
    """Return point (LPS millimetres) and sign of a click given as ``x,y,z``, ``x,y,z,+`` or ``x,y,z,-``.

    Raises:
        ClickError: when the text is something else.
    """
    parts = [part.strip() for part in text.split(",")]
    sign = parts.pop() if len(parts) == 4 else "+"
    try:
        x, y, z = (float(part) for part in parts)
    except ValueError:
        x = y = z = float("nan")
    if sign not in ("+", "-") or not abs(x) + abs(y) + abs(z) < float("inf"):
        raise ClickError(f"'{text}' is no click; write R,A,S in millimetres, and R,A,S,- for background.")
    point = (x, y, z)
    return (point if is_lps else lps_from_ras(point)), sign == "+"


def _read(image: Path, series: str | None) -> Scan:
    """Read a scan, and say on stderr what the user should know about it."""
    from MSAMLogic.reading import read_scan

    scan = read_scan(image, series)
    for note in scan.notes:
        typer.echo(f"msam: {note}", err=True)
    return scan


def segment(
    image: Annotated[Path, typer.Argument(help="Scan: NRRD, NIfTI, MHA, or a folder with a DICOM series.")],
    click: Annotated[
        list[str],
        typer.Option(
            "--click",
            help="A click R,A,S in millimetres, as 3D Slicer shows them; R,A,S,- for background. Repeat it; "
            "the order counts.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Mask: .seg.nrrd, .nrrd, .nii.gz, .mha or .dcm.")
    ],
    lps: Annotated[bool, typer.Option("--lps", help="Clicks are L,P,S, as ITK and DICOM have them.")] = False,
    start: Annotated[
        Path | None, typer.Option("--start", help="A mask to start from; clicks correct it.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="A name that 'msam models' lists, or a weights file.")
    ] = "default",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    name: NameOption = None,
    kind: TypeOption = "lesion",
    region: RegionOption = None,
    series: SeriesOption = None,
    report: ReportOption = None,
    measurements: TableOption = None,
    series_description: DescriptionOption = "Lesion segmentation",
    series_number: NumberOption = None,
) -> None:
    """Segment the lesion under the clicks."""
    from MSAMLogic.export.dicom_context import Algorithm
    from MSAMLogic.export.masks import check_mask_format
    from MSAMLogic.export.results import Output, describe_model
    from MSAMLogic.export.segments import Segment
    from MSAMLogic.export.terminology import REGIONS, TYPES, find_code
    from MSAMLogic.reading import read_image

    clicks = [parse_click(text, lps) for text in click]
    result = Output(
        output, report, measurements, series_description=series_description, series_number=series_number
    )
    codes = find_code(kind, TYPES), find_code(region, REGIONS) if region else None
    if not output.name.endswith(".dcm"):
        check_mask_format(output)
    scan = _read(image, series)
    result.check(scan)
    # Only DICOM says what drew the mask.
    algorithm = describe_model(model) if output.name.endswith(".dcm") else Algorithm(model, "")
    from MSAMLogic.predictor import load_model
    from MSAMLogic.session import InteractiveSession

    predictor = load_model(model, device)  # type: ignore[arg-type]
    if not predictor.capabilities.takes_clicks:
        raise ModelError(
            f"The model '{model}' takes no clicks: it finds lesions and names them. Use `msam propose`, and "
            "correct what it proposes with --start and a model that takes clicks."
        )
    session = InteractiveSession(predictor)
    session.set_image(scan.image)
    if start is not None:
        session.set_mask(read_image(start))
    with tqdm(clicks, unit="click", disable=not sys.stderr.isatty(), leave=False) as bar:
        for number, (point, positive) in enumerate(bar, start=1):
            began = time.perf_counter()
            session.click(point, positive)
            seconds = time.perf_counter() - began
            sign = "lesion" if positive else "background"
            bar.write(f"click {number} ({sign}): {seconds:.2f} s", file=sys.stderr)
    mask = session.mask
    if session.is_cut_off:
        typer.echo("msam: the lesion goes on beyond what was looked at; add a click at its end.", err=True)
    drawn = Segment(mask, name or "Lesion", type=codes[0], region=codes[1])
    result.write([drawn], scan, algorithm)
    i, j, k = mask.GetSpacing()
    import SimpleITK as sitk

    voxels = int(sitk.GetArrayViewFromImage(mask).sum())
    typer.echo(f"{output}: {voxels} voxels, {voxels * i * j * k / 1000:.2f} ml")


def propose(
    image: Annotated[Path, typer.Argument(help="Scan: NRRD, NIfTI, MHA, or a folder with a DICOM series.")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Segments, or their label map: .seg.nrrd, .nrrd, .nii.gz, .dcm."),
    ],
    model: Annotated[
        str,
        typer.Option(help="A model that names what it finds: a name of 'msam models', or a weights file."),
    ],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    series: SeriesOption = None,
    measurements: TableOption = None,
) -> None:
    """Propose lesions without a click."""
    from MSAMLogic.export.dicom_context import Algorithm
    from MSAMLogic.export.results import Output, describe_model
    from MSAMLogic.export.segments import COLOURS, Segment
    from MSAMLogic.geometry import ImageGrid
    from MSAMLogic.measurements import voxel_volume

    result = Output(output, table=measurements, series_description="Proposed lesions")
    scan = _read(image, series)
    result.check(scan)
    algorithm = describe_model(model) if output.name.endswith(".dcm") else Algorithm(model, "")
    from MSAMLogic.predictor import load_model
    from MSAMLogic.proposals import propose_lesions

    with tqdm(total=1.0, bar_format="{l_bar}{bar}", disable=not sys.stderr.isatty(), leave=False) as bar:
        loaded = load_model(model, device)  # type: ignore[arg-type]
        found = propose_lesions(loaded, scan.image, on_progress=lambda share: bar.update(share - bar.n))
    if not found:
        typer.echo("msam: nothing was found, so nothing is written.", err=True)
        return
    segments = [
        Segment(proposal.mask, f"{proposal.name} {number}", COLOURS[(number - 1) % len(COLOURS)])
        for number, proposal in enumerate(found, start=1)
    ]
    result.write(segments, scan, algorithm)
    import SimpleITK as sitk

    voxel = voxel_volume(ImageGrid.of(scan.image))
    for segment, proposal in zip(segments, found, strict=True):
        volume = sitk.GetArrayViewFromImage(proposal.mask).sum() * voxel
        typer.echo(f"{segment.name}: {volume / 1000:.2f} ml, score {proposal.score:.2f}")


def export(
    mask: Annotated[Path, typer.Argument(help="Mask: .seg.nrrd, or a label map in any format.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="As for 'msam segment'; .dcm needs --scan.")],
    scan: Annotated[
        Path | None, typer.Option(help="The scan of the mask; for DICOM the folder with its series.")
    ] = None,
    series: SeriesOption = None,
    name: NameOption = None,
    kind: TypeOption = "",
    region: RegionOption = None,
    fractional: Annotated[
        bool, typer.Option("--fractional", help="Write values from 0 to 1, to a .dcm.")
    ] = False,
    model: Annotated[str, typer.Option(help="The model that the mask was made with.")] = "default",
    report: ReportOption = None,
    measurements: TableOption = None,
    series_description: DescriptionOption = "Lesion segmentation",
    series_number: NumberOption = None,
) -> None:
    """Write a mask in another format, with measurements."""
    from dataclasses import replace

    from MSAMLogic.export.dicom_context import Algorithm
    from MSAMLogic.export.results import Output, describe_model, read_segments
    from MSAMLogic.export.terminology import REGIONS, TYPES, find_code

    changes: dict[str, Any] = {"type": find_code(kind, TYPES)} if kind else {}
    changes |= {"region": find_code(region, REGIONS)} if region else {}
    result = Output(output, report, measurements, fractional, series_description, series_number)
    source = None if scan is None else _read(scan, series)
    result.check(source)
    segments = [replace(segment, **changes) for segment in read_segments(mask, fractional)]
    if name is not None and len(segments) > 1:
        names = [f"{name} {number}" for number in range(1, len(segments) + 1)]
    else:
        names = [name or segment.name for segment in segments]
    segments = [replace(segment, name=each) for segment, each in zip(segments, names, strict=True)]
    algorithm = describe_model(model) if output.name.endswith(".dcm") else Algorithm(model, "")
    result.write(segments, source, algorithm)
    typer.echo(f"{output}: {', '.join(names)}")


def list_series(folder: Annotated[Path, typer.Argument(help="A folder with DICOM files.")]) -> None:
    """List the DICOM series of a folder, to choose one with --series."""
    from MSAMLogic.dicom import find_series
    from MSAMLogic.errors import ImageError

    if not folder.exists():
        raise ImageError(f"There is no folder '{folder}'; check the path.")
    found = find_series(folder)
    if not found:
        raise ImageError(f"The folder '{folder.name}' holds no DICOM series.")
    for number, entry in enumerate(found, start=1):
        parts = [entry.modality, entry.size, entry.part, entry.description]
        typer.echo(f"{number}  {', '.join(part for part in parts if part)}")
        typer.echo(f"    {entry.uid}")
        if entry.problem:
            typer.echo(f"    cannot be read as a volume: {entry.problem}")
