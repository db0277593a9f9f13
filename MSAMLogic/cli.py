"""The command ``msam``: segment a scan by clicks, export masks, list and fetch models, train, evaluate."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from MSAMLogic.errors import ClickError, ModelError, MSAMError, TrainingError
from MSAMLogic.geometry import Point, lps_from_ras
from MSAMLogic.version import __version__

if TYPE_CHECKING:
    from MSAMLogic.reading import Scan

app = typer.Typer(
    help="Click a lesion in a 3D scan and get its mask. For research use; not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _reports_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the package's errors and file errors into one line on stderr and exit code 1."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except MSAMError as error:
            typer.echo(f"msam: {error}", err=True)
            raise typer.Exit(1) from None
        except OSError as error:
            typer.echo(f"msam: {error.strerror or error}: {error.filename or ''}".rstrip(": "), err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("msam: stopped", err=True)
            raise typer.Exit(130) from None

    return run


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


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Click a lesion in a 3D scan and get its mask. For research use; not a medical device."""
    if version:
        typer.echo(f"msam {__version__}")
        raise typer.Exit


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


def _read(image: Path, series: str | None) -> Scan:
    """Read a scan, and say on stderr what the user should know about it."""
    from MSAMLogic.reading import read_scan

    scan = read_scan(image, series)
    for note in scan.notes:
        typer.echo(f"msam: {note}", err=True)
    return scan


@app.command()
@_reports_errors
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


@app.command()
@_reports_errors
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


@app.command()
@_reports_errors
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


@app.command("series")
@_reports_errors
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


@app.command()
@_reports_errors
def models() -> None:
    """List the models, whether their weights are on this computer, and the systems of the papers."""
    from MSAMLogic import weights
    from MSAMLogic.systems import TAKES_IN_WORDS

    entries = weights.models()
    for entry in entries:
        here = "ready" if weights.is_available(entry) else f"fetch it with: msam download {entry.name}"
        size = f"{entry.size_bytes / 1e6:.0f} MB" if entry.size_bytes else "size not announced"
        typer.echo(f"{entry.name}  ({entry.title}, {entry.architecture}, {size}, {entry.licence})")
        typer.echo(f"    {here}")
        typer.echo(f"    trained on: {entry.trained_on}")
        typer.echo(f"    intended use: {entry.intended_use}")
    typer.echo("\nSystems:")
    for system in weights.systems():
        typer.echo(f"{system.title}  ({system.paper})")
        for network in system.networks:
            typer.echo(f"    network {network.name}: {TAKES_IN_WORDS[network.takes]}")
        networks = {network.name for network in system.networks}
        ready = [entry.name for entry in entries if entry.architecture in networks]
        typer.echo(f"    models: {', '.join(ready) or 'none'}")
        for start in system.starts_from:
            typer.echo(f"    training can start from: {start.file} ({start.source}, {start.licence})")
        typer.echo(f"    {system.to_get_weights}")


@app.command()
@_reports_errors
def download(name: Annotated[str, typer.Argument(help="A name that 'msam models' lists.")]) -> None:
    """Fetch a model's weights into the cache folder of the user, and check them."""
    from MSAMLogic import weights

    entry = weights.find_model(name)
    with tqdm(
        unit="B", unit_scale=True, unit_divisor=1024, desc=name, disable=not sys.stderr.isatty()
    ) as bar:

        def progress(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        path = weights.download(entry, progress=progress)
    typer.echo(str(path))


@app.command()
@_reports_errors
def train(
    config: Annotated[
        Path,
        typer.Argument(help="A YAML file: configs/default.yaml, or an experiment of configs/experiments."),
    ],
    minutes: Annotated[
        float | None, typer.Option(help="Wall-clock budget, instead of the file's.", min=0.001)
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Data folder, instead of the file's.")] = None,
    output: Annotated[Path | None, typer.Option(help="Output folder, instead of the file's.")] = None,
) -> None:
    """Train a network, or go on with a run that was stopped."""
    from MSAMLogic.training.corrections.trainer import CorrectorConfig, CorrectorRun
    from MSAMLogic.training.experiments import ExperimentConfig, ExperimentRun, is_experiment
    from MSAMLogic.training.fusions.trainer import FusionConfig, FusionRun
    from MSAMLogic.training.recorded_run import recipe_of
    from MSAMLogic.training.trainer import Trainer, TrainingConfig

    changes = {"minutes": minutes, "data": data, "output": output}
    changes = {name: value for name, value in changes.items() if value is not None}
    if is_experiment(config):
        if data is not None:
            raise TrainingError("The data set of an experiment has a layout of its own; name it in the file.")
        ExperimentRun(ExperimentConfig.read(config).model_copy(update=changes), log=typer.echo).run()
    elif recipe_of(config) == "corrector":
        CorrectorRun(CorrectorConfig.read(config).model_copy(update=changes), log=typer.echo).run()
    elif recipe_of(config) == "look fusion":
        FusionRun(FusionConfig.read(config).model_copy(update=changes), log=typer.echo).run()
    else:
        Trainer(TrainingConfig.read(config).model_copy(update=changes), log=typer.echo).run()
    typer.echo("done")


@app.command()
@_reports_errors
def pack(
    data: Annotated[Path, typer.Argument(help="A folder with a cases.tsv.")],
    packed: Annotated[Path, typer.Argument(help="The folder to write.")],
    megabytes: Annotated[float, typer.Option(help="The most that it may take.", min=0.01)] = 60.0,
    training_only: Annotated[
        bool, typer.Option("--training-only", help="Without the scans of the patients kept aside.")
    ] = False,
) -> None:
    """Write a data set small enough to be carried to another machine; large scans lose resolution."""
    from MSAMLogic.training.packing import pack as write

    result = write(data, packed, megabytes, typer.echo, training_only)
    typer.echo(f"{packed}: {result.cases} cases, {result.size / 1e6:.1f} MB")


@app.command()
@_reports_errors
def average(
    weights: Annotated[list[Path], typer.Argument(help="Weights files of networks of the same sizes.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The safetensors file to write.")],
) -> None:
    """Write the mean of the weights of several runs that started from the same ones."""
    from MSAMLogic.training.averaging import average_weights

    average_weights(weights, output)
    typer.echo(str(output))


@app.command()
@_reports_errors
def samples(
    config: Annotated[Path, typer.Argument(help="A YAML file; configs/default.yaml is an example.")],
    output: Annotated[Path, typer.Argument(help="The PNG to write.")],
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.", min=0)] = 0,
    columns: Annotated[int, typer.Option(help="Examples of each generator.", min=1)] = 8,
) -> None:
    """Draw a sheet of training samples: a row for each generator."""
    from MSAMLogic.packages import require

    require("matplotlib", "demo", "The sheet of samples")
    from MSAMLogic.training.cases import read_cases, split_by_patient
    from MSAMLogic.training.gallery import patch_size_of, write_gallery
    from MSAMLogic.training.trainer import TrainingConfig

    read = TrainingConfig.read(config)
    training, _ = split_by_patient(read_cases(read.data))
    write_gallery(training, output, patch_size_of(read), read.patch_spacings, seed, columns)
    typer.echo(str(output))


@app.command()
@_reports_errors
def evaluate(
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder with a cases.tsv; or the YAML file of an experiment, which takes --device, --most "
            "and --csv only."
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A name that 'msam models' lists, or a weights file; default without it. Repeat it to "
            "measure several."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="auto (what is quickest here and keeps answers), float32, bfloat16, float16 or int8."
        ),
    ] = "auto",
    most: Annotated[
        int, typer.Option(help="Most cases of a source, or of an experiment; 0 takes all.", min=0)
    ] = 0,
    all_patients: Annotated[
        bool, typer.Option("--all-patients", help="Not only the patients that training keeps aside.")
    ] = False,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Beside the model, region growing and grow from seeds.")
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="Beside the model, the model without an ingredient: finer-look, coarser-look, "
            "first-looks, look-fusion, detail-branch, corrector, all-clicks or antialias. Repeat it for "
            "more rows; a+b leaves out both."
        ),
    ] = None,
    varied: Annotated[
        int,
        typer.Option(
            help="Each lesion in so many variations of its scan (stretched, turned, another scanner) instead "
            "of as it is.",
            min=0,
        ),
    ] = 0,
    implanted: Annotated[
        int,
        typer.Option(
            help="So many made-up lesions of any size in the scan of each case instead of its own.",
            min=0,
        ),
    ] = 0,
    csv: Annotated[Path | None, typer.Option(help="A file for the figures of each lesion.")] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(help="A PNG with the model's best, median and worst lesion of each source."),
    ] = None,
) -> None:
    """Click the lesions of a data set, or measure an experiment; print Dice, surface Dice and seconds."""
    if data.is_file():
        others = (model, all_patients, baselines, without, varied, implanted, sheet, precision != "auto")
        if any(others):
            raise TrainingError("An experiment takes --device, --most and --csv only; leave the others out.")
        _evaluate_experiment(data, device, most, csv)
        return
    if varied and implanted:
        raise TrainingError("Lesions are measured in varied scans or implanted; leave one of the two out.")
    if (varied or implanted) and sheet is not None:
        raise TrainingError(
            "The picture sheet shows scans as they are; leave --varied and --implanted, or --sheet, out."
        )
    from MSAMLogic.evaluation.methods import sessions_to_measure
    from MSAMLogic.evaluation.per_lesion import write_csv
    from MSAMLogic.evaluation.report import compare, comparison_table, summarise, table
    from MSAMLogic.packages import require
    from MSAMLogic.training.cases import read_cases, split_by_patient

    cases = read_cases(data)
    if not all_patients:
        _, cases = split_by_patient(cases)
    if most:
        sources = dict.fromkeys(case.source for case in cases)
        cases = [c for s in sources for c in [case for case in cases if case.source == s][:most]]
    if sheet is not None:
        require("matplotlib", "demo", "The picture sheet")
    sessions = sessions_to_measure(
        model or ["default"],
        without or (),
        baselines,
        device,  # type: ignore[arg-type]
        precision,  # type: ignore[arg-type]
    )
    with tqdm(unit="series", disable=not sys.stderr.isatty()) as bar:
        results = compare(
            sessions, cases, on_result=lambda _: bar.update(), varied=varied, implanted=implanted
        )
    typer.echo(table(summarise(results)) if len(sessions) == 1 else comparison_table(results))
    if csv is not None:
        write_csv(csv, results)
    if sheet is not None:
        from MSAMLogic.evaluation.sheet import write_sheet

        first = next(iter(sessions))
        mine = [result for result in results if result.method == first]
        write_sheet(sessions[first], cases, mine, sheet, f"Best, median and worst lesions: {first}")


def _evaluate_experiment(config: Path, device: str, most: int, csv: Path | None) -> None:
    from MSAMLogic.evaluation.experiments import ExperimentEvaluation, score_table, write_scores
    from MSAMLogic.training.experiments import ExperimentConfig

    experiment = ExperimentConfig.read(config)
    evaluation = ExperimentEvaluation(experiment, device)  # type: ignore[arg-type]
    total = len(evaluation.volumes(most))
    with tqdm(total=total, unit="case", disable=not sys.stderr.isatty()) as bar:
        scores = evaluation.scores(most, bar.update)
    typer.echo(score_table(scores, experiment.evaluation.tolerance))
    if csv is not None:
        write_scores(csv, scores)


if __name__ == "__main__":
    app()
