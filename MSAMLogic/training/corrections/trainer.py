"""The recipe of the corrector: record sessions of a trained network, then learn what a reader meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from MSAMLogic.errors import TrainingError
from MSAMLogic.loading import load_network
from MSAMLogic.model import MSAM, build_model
from MSAMLogic.model.corrector import CorrectionTensors
from MSAMLogic.predictor import TorchPredictor
from MSAMLogic.training.cases import read_cases, split_by_patient
from MSAMLogic.training.configuration import RunConfig, read_yaml, validated
from MSAMLogic.training.corrections.losses import correction_figures
from MSAMLogic.training.corrections.record import MOST_CLICKS, write_records
from MSAMLogic.training.corrections.samples import CorrectionSamples
from MSAMLogic.training.corrections.sessions import RecordedSessions
from MSAMLogic.training.loaded_case import LoadedCase
from MSAMLogic.training.run import ENDLESS, Batch, TrainingRun
from MSAMLogic.training.samples import PatchSamples, SampleMix
from MSAMLogic.training.start import start_from

_WIDTH = 16
RECIPE = "corrector"


class CorrectorConfig(RunConfig):
    """What ``msam train CONFIG.yaml`` reads where the file says ``recipe: corrector``.

    Attributes:
        recipe: that it is this one.
        data: folder with a ``cases.tsv``; relative to the configuration file.
        start: the network to teach, a name of the registry or a path. All but its corrector stays as it is;
            it gets one if it has none.
        minutes: wall-clock budget of the training, after the recording.
        sessions: how many sessions are recorded.
        recorded: folders of sessions that other runs recorded, to learn from beside one's own.
        clicks: most clicks a session.
        drawn: share of the sessions on lesions that a reader drew; the others are on made-up ones.
        own: share of the sessions in which the corrector of ``start`` makes the corrections.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        source_weights: how often each source is drawn.
        mix: shares of drawn, inserted and region targets among the made-up scans.
        store: folder that keeps the decoded scans; by default ``cases`` in the output folder.
        patch_spacings: smallest and largest spacing of the patches that made-up scans are.
    """

    recipe: Literal["corrector"]
    data: Path
    start: str
    minutes: float = Field(default=30, gt=0)
    batch_size: int = Field(default=8, ge=1)
    sessions: int = Field(default=600, ge=1)
    recorded: tuple[Path, ...] = ()
    clicks: int = Field(default=9, ge=2, le=MOST_CLICKS)
    drawn: float = Field(default=0.5, ge=0, le=1)
    own: float = Field(default=0.0, ge=0, le=1)
    learning_rate: float = Field(default=1.5e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    average: float = Field(default=0.998, ge=0, lt=1)
    workers: int = Field(default=2, ge=0)
    source_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default={})
    mix: SampleMix = SampleMix(lesion=0.15, inserted=0.5, region=0.35)
    store: Path | None = None
    patch_spacings: tuple[Annotated[float, Field(gt=0)], float] = (0.5, 5.0)

    @classmethod
    def read(cls, path: Path) -> CorrectorConfig:
        """Read a YAML file; paths in it are relative to its folder, also a ``start`` that is a file there.

        Raises:
            TrainingError: when the file is missing or a field is wrong.
        """
        config = validated(cls, read_yaml(path), path)
        placed = {
            name: path.parent / given
            for name in ("data", "output", "store")
            if (given := getattr(config, name))
        }
        start = path.parent / config.start
        return config.model_copy(
            update={
                **placed,
                "start": str(start) if start.is_file() else config.start,
                "recorded": tuple(path.parent / folder for folder in config.recorded),
            }
        )


def teaches_corrector(path: Path) -> bool:
    """Whether a configuration file names this recipe.

    Raises:
        TrainingError: when the file is missing or no YAML.
    """
    values = read_yaml(path)
    return isinstance(values, dict) and values.get("recipe") == RECIPE


class CorrectorRun(TrainingRun):
    """One run of the corrector's recipe.

    Args:
        config: what to teach, on what and for how long.
        log: called with one line of text now and then.
    """

    config: CorrectorConfig
    gradient_clip = 1.0

    @property
    def recordings(self) -> Path:
        """The folder of the recorded sessions."""
        return self.config.output / "recordings"

    def _first_network(self) -> MSAM:
        network = load_network(self.config.start)
        if not isinstance(network, MSAM):
            raise TrainingError(f"A {type(network).__name__} has no corrector; start from an M-SAM network.")
        if network.corrector is None:
            sizes = replace(network.config, corrector_width=_WIDTH)
            network = build_model("", sizes)
            start_from(network, self.config.start, "the network with a corrector")
        assert network.corrector is not None
        network.requires_grad_(False)
        network.corrector.requires_grad_(True)
        return network

    def _new_optimizer(self) -> torch.optim.Optimizer:
        config = self.config
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        return torch.optim.AdamW(
            [{"params": parameters, "scale": 1.0}],
            lr=config.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
        )

    def _samples(self) -> CorrectionSamples:
        files = self._recorded()
        for folder in self.config.recorded:
            files += sorted(folder.glob("*.npy"))
        samples = CorrectionSamples(files, self.config.seed, ENDLESS)
        learnt = sum(p.numel() for p in self.network.parameters() if p.requires_grad)
        self.log(
            f"{samples.corrections} corrections of {len(files)} sessions, {learnt:,} parameters that learn, "
            f"on {self.device}"
        )
        return samples

    def _recorded(self) -> list[Path]:
        """Return the files of all sessions, after recording those that are missing."""
        config = self.config
        files = [self.recordings / f"{number:06d}.npy" for number in range(config.sessions)]
        mine = range(self.group.rank, config.sessions, self.group.size)
        missing = [number for number in mine if not files[number].exists()]
        if missing:
            training, _ = split_by_patient(read_cases(config.data))
            store = config.store or config.output / "cases"
            cases = PatchSamples(
                [LoadedCase(case, store=store) for case in training],
                config.source_weights,
                self.network.config.patch_size,
                config.patch_spacings,
                config.seed,
                ENDLESS,
                config.mix,
            )
            predictor = TorchPredictor(self.network, "cuda" if self.device.type == "cuda" else "cpu")
            sessions = RecordedSessions(
                predictor, cases, config.seed, config.sessions, config.clicks, config.drawn, config.own
            )
            # A process that was forked cannot use the GPU of its parent.
            workers = 0 if self.device.type == "cuda" else config.workers
            loader = DataLoader(
                Subset(sessions, missing),
                batch_size=None,
                num_workers=workers,
                multiprocessing_context="fork" if workers else None,
                collate_fn=_as_is,
            )
            self.log(f"recording {len(missing)} sessions")
            for number, records in zip(tqdm(missing, unit="session", disable=None), loader, strict=True):
                write_records(files[number], records)
        self.group.wait()
        return files

    def _learning_rate(self) -> float:
        return self._falling_rate(self.config.learning_rate, warm_up_steps=100)

    def _loss(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        known = CorrectionTensors(
            batch["patch"], *(batch[name] for name in CorrectionTensors._fields if name != "image")
        )
        return correction_figures(self.network.correct(known), known, batch["target"])


def _as_is(records: object) -> object:
    return records
