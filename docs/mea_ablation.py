"""Train M-SAM with and without its mask-enhanced adapter on the same budget, and print the comparison.

    python docs/mea_ablation.py configs/experiments/ablation/mea_lidc.yaml

The file is an experiment of the adaptation ``lora+mea``; the second run differs in nothing but ``lora``. Both
go on from their last checkpoints; their folders are ``with`` and ``without`` in the experiment's output.
"""

from __future__ import annotations

import sys
from pathlib import Path

from MSAMLogic.evaluation.experiments import ExperimentEvaluation, mean_scores
from MSAMLogic.training.experiments import ExperimentConfig, ExperimentRun


def main(path: Path) -> None:
    """Train and measure both, and print a row for each."""
    experiment = ExperimentConfig.read(path)
    counts = " / ".join(map(str, experiment.evaluation.points))
    rows = [f"| M-SAM | steps | Dice after {counts} clicks | NSD | cases |", "|---|---|---|---|---|"]
    for name, adaptation in (("with", "lora+mea"), ("without", "lora")):
        changes = {"adaptation": adaptation, "output": experiment.output / name}
        config = experiment.model_copy(update=changes)
        run = ExperimentRun(config, log=print)
        run.run()
        scores = ExperimentEvaluation(config).scores()
        means = mean_scores(scores)
        dices, surfaces = (
            " / ".join(f"{getattr(mean, kind):.3f}" for mean in means) for kind in ("dice", "nsd")
        )
        cases = len({score.case for score in scores})
        rows.append(f"| {name} MEA | {run.progress.step} | {dices} | {surfaces} | {cases} |")
    print("\n".join(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
