"""Measuring an experiment of a paper: every test case by its protocol, a table and a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from MSAMLogic.errors import TrainingError
from MSAMLogic.evaluation.experiment_protocols import Answer, at_points, in_patch, in_session, semantic
from MSAMLogic.evaluation.metrics import dice, surface_dice
from MSAMLogic.files import atomic_path
from MSAMLogic.predictor import Device, TorchPredictor
from MSAMLogic.training.datasets import Volume
from MSAMLogic.training.experiments.cases import find_cases
from MSAMLogic.training.experiments.config import ExperimentConfig
from MSAMLogic.training.experiments.network import trained_network
from MSAMLogic.training.experiments.volumes import LoadedVolume


@dataclass(frozen=True)
class Score:
    """How good one answer is.

    Attributes:
        case: name of the case.
        target: name of the target.
        points: how many were given; 0 for a system that takes none.
        dice: Dice coefficient.
        nsd: surface Dice at the experiment's tolerance.
        seconds: that the system took, from the first point on.
    """

    case: str
    target: str
    points: int
    dice: float
    nsd: float
    seconds: float


class ExperimentEvaluation:
    """What an experiment measures, once its network is there.

    Args:
        config: the experiment.
        device: where the network runs.

    Raises:
        TrainingError: when the data set is incomplete, or the network is not trained yet.
        WeightsError: when weights cannot be read.
        ModelError: when the device is not there.
    """

    def __init__(self, config: ExperimentConfig, device: Device = "auto") -> None:
        self.config = config.evaluation
        self.smallest = config.patches.smallest
        dataset, split = self.config.dataset or config.dataset, self.config.split or config.split
        self.cases = find_cases(dataset, split)
        self.predictor = TorchPredictor(trained_network(config, tuple(self.cases.targets)), device)

    def scores(self, most: int = 0, on_case: Callable[[], object] | None = None) -> list[Score]:
        """Return the scores of the test cases.

        Args:
            most: how many cases at most; 0 takes all.
            on_case: called after each case, for a progress bar.

        Raises:
            TrainingError: when no test case has anything to measure.
        """
        names = list(self.cases.targets)
        found: list[Score] = []
        for volume in self.volumes(most):
            for answer in self._answers(LoadedVolume(volume, self.cases.targets)):
                found.append(
                    Score(
                        volume.name,
                        names[answer.target - 1],
                        answer.points,
                        dice(answer.truth, answer.mask),
                        surface_dice(answer.truth, answer.mask, answer.spacing, self.config.tolerance),
                        answer.seconds,
                    )
                )
            if on_case is not None:
                on_case()
        if not found:
            raise TrainingError("No test case holds a target; correct split or targets.")
        return found

    def volumes(self, most: int = 0) -> Sequence[Volume]:
        """Return the test cases, at most so many; 0 takes all."""
        return self.cases.test[: most or None]

    def _answers(self, volume: LoadedVolume) -> Iterator[Answer]:
        points = self.config.points
        if self.config.protocol == "patch":
            return in_patch(self.predictor, volume, points, self.smallest)
        if self.config.protocol == "session":
            return in_session(self.predictor, volume, points)
        if self.config.protocol == "points":
            return at_points(self.predictor, volume, points)
        return semantic(self.predictor, volume)


def score_table(scores: Sequence[Score], tolerance: float) -> str:
    """Return the scores as a Markdown table: a row for each case and target, then the means.

    The means are over the cases of a target, and last over the targets' means where there are several.

    Args:
        scores: at least one.
        tolerance: millimetres of the surface Dice, for the heading.
    """
    counts = sorted({score.points for score in scores})
    after = f" after {' / '.join(map(str, counts))} points" if counts != [0] else ""
    lines = [
        f"| case | target | Dice{after} | NSD ({tolerance:g} mm) | seconds |",
        "|---|---|---|---|---|",
    ]
    for case, target in dict.fromkeys((score.case, score.target) for score in scores):
        lines.append(_row(case, target, [s for s in scores if (s.case, s.target) == (case, target)], counts))
    targets = list(dict.fromkeys(score.target for score in scores))
    for target in targets:
        lines.append(_row("mean", target, [s for s in scores if s.target == target], counts))
    if len(targets) > 1:
        means = [
            mean for target in targets for mean in mean_scores([s for s in scores if s.target == target])
        ]
        lines.append(_row("mean", "all targets", means, counts))
    return "\n".join(lines)


def write_scores(path: Path, scores: Sequence[Score]) -> None:
    """Write one line for each case, target and number of points.

    Args:
        path: the CSV file; its folder is made if need be, and it is whole or not there.
        scores: what was measured.

    Raises:
        OSError: when the file cannot be written.
    """
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Score)])
        for score in scores:
            *names, a, b, seconds = astuple(score)
            writer.writerow([*names, f"{a:.4f}", f"{b:.4f}", f"{seconds:.3f}"])


def mean_scores(scores: Sequence[Score]) -> list[Score]:
    """Return the mean over cases for each number of points, ascending.

    Args:
        scores: at least one.
    """
    means = []
    for points in sorted({score.points for score in scores}):
        some = [score for score in scores if score.points == points]
        figures = np.mean([(score.dice, score.nsd, score.seconds) for score in some], axis=0)
        means.append(Score("mean", some[0].target, points, *map(float, figures)))
    return means


def _row(case: str, target: str, scores: Sequence[Score], counts: Sequence[int]) -> str:
    means = {mean.points: mean for mean in mean_scores(scores)}
    cells = [
        " / ".join(f"{getattr(means[n], name):{width}}" for n in counts if n in means)
        for name, width in (("dice", ".4f"), ("nsd", ".4f"), ("seconds", ".2f"))
    ]
    return f"| {case} | {target} | {' | '.join(cells)} |"
