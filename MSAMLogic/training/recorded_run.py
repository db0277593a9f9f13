"""The recipe of a part that learns from what the rest of a network was seen to do: record, then learn."""

from __future__ import annotations

import copy
import time
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from MSAMLogic.errors import TrainingError
from MSAMLogic.loading import load_network
from MSAMLogic.model import MSAM, build_model
from MSAMLogic.model.config import ModelConfig
from MSAMLogic.predictor import Predictor, TorchPredictor
from MSAMLogic.training.cases import read_cases, split_by_patient
from MSAMLogic.training.configuration import RunConfig, read_yaml, validated
from MSAMLogic.training.loaded_case import LoadedCase
from MSAMLogic.training.recorded_scans import ScanShares
from MSAMLogic.training.records import write_records
from MSAMLogic.training.run import ENDLESS, Batch, TrainingRun, one_thread
from MSAMLogic.training.samples import PatchSamples, SampleMix
from MSAMLogic.training.start import start_from

Recorder = Dataset[list[NDArray[np.void]]]


class RecordedConfig(RunConfig):
    """What such a recipe reads from its configuration file.

    Attributes:
        data: folder with a ``cases.tsv``; relative to the configuration file.
        start: the network to teach, a name of the registry or a path. All but the part that learns stays as
            it is; it gets one if it has none, and sees more if it saw less than such parts see today.
        minutes: wall-clock budget of the training, after the recording.
        recording_minutes: wall-clock budget of the recording; by default it takes as long as it takes. What
            is recorded by then is learnt from, also by a run that goes on from a checkpoint.
        recorded: folders that other runs recorded, to learn from beside one's own.
        drawn: share of the recordings on lesions that a reader drew.
        implanted: share of those on lesions blended into whole scans; the others are on small made-up scans.
        varied: share of the whole scans that are stretched, turned, and seen by another scanner.
        redrawn: share of the lesions on made-up scans whose target is what another reader would draw.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        source_weights: how often each source is drawn.
        mix: shares of drawn, inserted and region targets among the made-up scans.
        store: folder that keeps the decoded scans; by default ``cases`` in the output folder.
        patch_spacings: smallest and largest spacing of the patches that made-up scans are.
    """

    data: Path
    start: str
    minutes: float = Field(default=30, gt=0)
    recording_minutes: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=8, ge=1)
    recorded: tuple[Path, ...] = ()
    drawn: float = Field(default=0.5, ge=0, le=1)
    implanted: float = Field(default=0.0, ge=0, le=1)
    varied: float = Field(default=0.0, ge=0, le=1)
    redrawn: float = Field(default=0.0, ge=0, le=1)
    learning_rate: float = Field(default=1.5e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    average: float = Field(default=0.998, ge=0, lt=1)
    workers: int = Field(default=2, ge=0)
    source_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default={})
    mix: SampleMix = SampleMix(lesion=0.15, inserted=0.5, region=0.35)
    store: Path | None = None
    patch_spacings: tuple[Annotated[float, Field(gt=0)], float] = (0.5, 5.0)

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if self.drawn + self.implanted > 1:
            raise ValueError("the shares drawn and implanted add up to more than 1")
        return self

    @property
    def shares(self) -> ScanShares:
        """How often each kind of scan is recorded."""
        return ScanShares(self.drawn, self.implanted, self.varied)

    @classmethod
    def read(cls, path: Path) -> Self:
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


class RecordedRun(TrainingRun):
    """One run of such a recipe.

    Args:
        config: what to teach, on what and for how long.
        log: called with one line of text now and then.

    Attributes:
        part: the network's attribute that learns.
        kind: of the records.
        unit: what is recorded, one at a time.
        made_up_size: voxels a side of the patches that made-up scans are; 0 for those of the network.
    """

    config: RecordedConfig
    gradient_clip = 1.0
    part: ClassVar[str]
    kind: ClassVar[np.dtype[np.void]]
    unit: ClassVar[str]
    made_up_size: ClassVar[int] = 0

    @property
    def recordings(self) -> Path:
        """The folder of what this run recorded."""
        return self.config.output / "recordings"

    @property
    @abstractmethod
    def count(self) -> int:
        """How many recordings are wanted."""

    @abstractmethod
    def _sizes(self, config: ModelConfig) -> ModelConfig:
        """Return the sizes of the same network with the part that learns, and all that it sees today."""

    @classmethod
    @abstractmethod
    def _recorder(cls, config: Any, predictor: Predictor, samples: PatchSamples) -> Recorder:
        """Return what makes a recording by its number: the list of its records."""

    @abstractmethod
    def _samples_of(self, files: Sequence[Path]) -> Dataset[Batch]:
        """Return the samples that recordings give."""

    def _first_network(self) -> MSAM:
        network = load_network(self.config.start)
        name = self.part.replace("_", " ")
        if not isinstance(network, MSAM):
            raise TrainingError(f"A {type(network).__name__} has no {name}; start from an M-SAM network.")
        sizes = self._sizes(network.config)
        if sizes != network.config:
            network = build_model("", sizes)
            start_from(network, self.config.start, f"the network with a {name}")
        network.requires_grad_(False)
        getattr(network, self.part).requires_grad_(True)
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

    def _learning_rate(self) -> float:
        return self._falling_rate(self.config.learning_rate, warm_up_steps=100)

    def _samples(self) -> Dataset[Batch]:
        files = self._recorded()
        for folder in self.config.recorded:
            files += sorted(folder.glob("[!.]*.npy"))  # a killed run leaves a hidden part of a file
        learnt = sum(p.numel() for p in self.network.parameters() if p.requires_grad)
        self.log(f"{len(files)} {self.unit}s, {learnt:,} parameters that learn, on {self.device}")
        return self._samples_of(files)

    def _recorded(self) -> list[Path]:
        """Return the files of all recordings, after making those that are missing, while there is time."""
        config = self.config
        files = [self.recordings / f"{number:06d}.npy" for number in range(self.count)]
        mine = range(self.group.rank, self.count, self.group.size)
        missing = [number for number in mine if not files[number].exists()]
        # A run that has begun to learn goes on with what it has learnt from.
        is_over = config.recording_minutes is not None and self.checkpoint.exists()
        if missing and not is_over:
            recording = RecordingElsewhere(
                type(self), config, copy.deepcopy(self.network).cpu(), self.device.type
            )
            # A process that was forked cannot use the GPU of its parent, one that starts afresh can.
            starts_afresh = self.device.type == "cuda"
            if not starts_afresh:
                recording.prepare()
            loader = DataLoader(
                Subset(recording, missing),
                batch_size=None,
                num_workers=config.workers,
                multiprocessing_context=("spawn" if starts_afresh else "fork") if config.workers else None,
                collate_fn=_as_is,
                worker_init_fn=one_thread,
            )
            self.log(f"recording {len(missing)} {self.unit}s")
            started = time.monotonic()
            for number, records in zip(tqdm(missing, unit=self.unit, disable=None), loader, strict=True):
                write_records(files[number], records, self.kind)
                if config.recording_minutes and time.monotonic() - started > 60 * config.recording_minutes:
                    break
        self.group.wait()
        return [file for file in files if file.exists()]


class RecordingElsewhere(Recorder):
    """What records by number, prepared where it is used: each process opens scans and network for itself.

    Args:
        recipe: whose recordings are wanted.
        config: of the run.
        network: on the CPU.
        device: what records.
    """

    def __init__(self, recipe: type[RecordedRun], config: RecordedConfig, network: MSAM, device: str) -> None:
        self._recipe, self._config = recipe, config
        self._network, self._device = network, device
        self._recorder: Recorder | None = None

    def prepare(self) -> Recorder:
        """Open what is needed, once."""
        if self._recorder is None:
            config = self._config
            training, _ = split_by_patient(read_cases(config.data))
            store = config.store or config.output / "cases"
            samples = PatchSamples(
                [LoadedCase(case, store=store) for case in training],
                config.source_weights,
                self._recipe.made_up_size or self._network.config.patch_size,
                config.patch_spacings,
                config.seed,
                ENDLESS,
                config.mix,
                config.redrawn,
            )
            predictor = TorchPredictor(self._network, "cuda" if self._device == "cuda" else "cpu")
            self._recorder = self._recipe._recorder(config, predictor, samples)
        return self._recorder

    def __getitem__(self, number: int) -> list[NDArray[np.void]]:
        """Return the records of a recording."""
        return self.prepare()[number]


def recipe_of(path: Path) -> str | None:
    """Return the recipe that a configuration file names, or None where it names none.

    Raises:
        TrainingError: when the file is missing or no YAML.
    """
    values = read_yaml(path)
    return values.get("recipe") if isinstance(values, dict) else None


def _as_is(records: object) -> object:
    return records
