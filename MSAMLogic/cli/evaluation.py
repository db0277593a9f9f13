"""The command that measures: models by clicks on the lesions of a data set, or an experiment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from MSAMLogic.errors import TrainingError


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
    smallest: Annotated[
        float | None,
        typer.Option(help="Cubic millimetres; smaller lesions are left out. Default: 200.", min=0),
    ] = None,
    lesions: Annotated[
        int | None, typer.Option(help="Most lesions of a case, the largest. Default: 3.", min=1)
    ] = None,
    together: Annotated[
        bool,
        typer.Option(
            "--together",
            help="Instead of ten clicks a lesion, one click on each lesion of a case in the same session.",
        ),
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="A file for the figures of each lesion.")] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(help="A PNG with the model's best, median and worst lesion of each source."),
    ] = None,
) -> None:
    """Click the lesions of a data set, or measure an experiment; print Dice, surface Dice and seconds."""
    are_chosen = smallest is not None or lesions is not None
    if data.is_file():
        others = (
            model,
            all_patients,
            baselines,
            without,
            varied,
            implanted,
            together,
            sheet,
        )
        if any(others) or are_chosen or precision != "auto":
            raise TrainingError("An experiment takes --device, --most and --csv only; leave the others out.")
        _evaluate_experiment(data, device, most, csv)
        return
    if varied and implanted:
        raise TrainingError("Lesions are measured in varied scans or implanted; leave one of the two out.")
    if (varied or implanted or are_chosen) and sheet is not None:
        raise TrainingError(
            "The picture sheet shows scans as they are and the three largest lesions; leave --varied, "
            "--implanted, --smallest and --lesions, or --sheet, out."
        )
    if together and (varied or implanted or csv is not None or sheet is not None):
        raise TrainingError(
            "--together clicks the lesions as they are and prints a table of its own; leave --varied, "
            "--implanted, --csv and --sheet out."
        )
    from MSAMLogic.evaluation.methods import sessions_to_measure
    from MSAMLogic.evaluation.per_lesion import write_csv
    from MSAMLogic.evaluation.protocol import MOST_LESIONS, SMALLEST_MM3
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
    smallest = SMALLEST_MM3 if smallest is None else smallest
    lesions = MOST_LESIONS if lesions is None else lesions
    if together:
        from MSAMLogic.evaluation.together import compare_together, together_table

        with tqdm(unit="case", disable=not sys.stderr.isatty()) as bar:
            clicked = compare_together(sessions, cases, smallest, lesions, lambda _: bar.update())
        typer.echo(together_table(clicked))
        return
    with tqdm(unit="series", disable=not sys.stderr.isatty()) as bar:
        results = compare(
            sessions,
            cases,
            on_result=lambda _: bar.update(),
            varied=varied,
            implanted=implanted,
            smallest=smallest,
            most=lesions,
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
