"""Train M-SAM with and without its mask-enhanced adapter on the same budget, and print the comparison.

    python docs/mea_ablation.py configs/experiments/ablation/mea_lidc.yaml 1 2 3

The file is an experiment of the adaptation ``lora+mea``; the second run differs in nothing but ``lora``. Both
are made for every seed given, and go on from their last checkpoints; their folders are ``with_<seed>`` and
``without_<seed>`` in the experiment's output.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from MSAMLogic.evaluation.experiments import ExperimentEvaluation, mean_scores
from MSAMLogic.training.experiments import ExperimentConfig, ExperimentRun


def main(path: Path, seeds: Sequence[int]) -> None:
    """Train and measure both for every seed, and print a row for each and for the means."""
    experiment = ExperimentConfig.read(path)
    counts = " / ".join(map(str, experiment.evaluation.points))
    rows = [
        f"| M-SAM | seed | steps | Dice after {counts} clicks | NSD | cases |",
        "|---|---|---|---|---|---|",
    ]
    for name, adaptation in (("with", "lora+mea"), ("without", "lora")):
        figures = []
        for seed in seeds:
            output = experiment.output / f"{name}_{seed}"
            changes = {"adaptation": adaptation, "output": output, "seed": seed}
            config = experiment.model_copy(update=changes)
            run = ExperimentRun(config, log=print)
            run.run()
            scores = ExperimentEvaluation(config).scores()
            figures.append([(mean.dice, mean.nsd) for mean in mean_scores(scores)])
            cases = len({score.case for score in scores})
            rows.append(f"| {name} MEA | {seed} | {run.progress.step} | {_cells(figures[-1:])} | {cases} |")
        rows.append(f"| {name} MEA | mean | | {_cells(figures)} | |")
    print("\n".join(rows))


def _cells(figures: Sequence[Sequence[tuple[float, float]]]) -> str:
    """Return the means over runs of (Dice, NSD) after each number of clicks."""
    return " | ".join(" / ".join(f"{value:.3f}" for value in column) for column in np.mean(figures, axis=0).T)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(seed) for seed in sys.argv[2:]] or [0])
