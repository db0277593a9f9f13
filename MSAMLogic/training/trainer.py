"""The recipe of the default weights: patches of many kinds, simulated clicks, one loss a click.

A run has a budget of wall-clock minutes; the learning rate follows the share of it that is spent, so a
slow machine and a fast one both end well.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from MSAMLogic.errors import TrainingError
from MSAMLogic.loading import load_network
from MSAMLogic.model import CONFIGURATIONS, MSAM, build_model
from MSAMLogic.training.cases import read_cases, split_by_patient
from MSAMLogic.training.configuration import RunConfig, read_yaml, validated
from MSAMLogic.training.loaded_case import LoadedCase
from MSAMLogic.training.recipes.clicks import click_losses
from MSAMLogic.training.run import ENDLESS, Batch, TrainingRun
from MSAMLogic.training.samples import PatchSamples, SampleMix
from MSAMLogic.training.start import start_from


class TrainingConfig(RunConfig):
    """What ``msam train CONFIG.yaml`` reads, unless the file names an experiment of a paper.

    Attributes:
        data: folder with a ``cases.tsv``; relative to the configuration file.
        architecture: a name of :data:`MSAMLogic.model.CONFIGURATIONS`; by default that of ``start``, or
            msam-compact.
        start: weights to start from, a name of the registry or a path, in place of random ones. What the
            architecture has beyond them starts at random.
        clicks: most clicks a patch; each step draws 1 to this many.
        graded_clicks: most clicks a patch that are learnt from; the others only lead there, at a third of
            the time.
        first_clicks: share of the steps that end after the first click: few clicks a patch mean more patches.
        again: how many steps later each batch is shown once more, turned and clicked anew; 0 is never. For a
            GPU that learns faster than the processor makes samples.
        lora_rank: for fine-tuning as M-SAM adapts SAM-Med3D (section 2): the encoder stays as it is but for
            a low-rank update of this rank, and a network without a mask-enhanced adapter gets one. Only
            from ``start``; 0 trains everything.
        learning_rate: of the convolutional high-resolution branch; the transformers take half.
        weight_decay: of AdamW.
        source_weights: how often each source is drawn.
        mix: shares of drawn, inserted and region targets.
        redrawn: share of the drawn and inserted lesions whose target is what another reader would draw.
        store: folder that keeps the decoded scans as memory maps, which several runs may share; by default
            ``cases`` in the output folder.
        patch_spacings: smallest and largest patch spacing in millimetres.
    """

    data: Path
    architecture: str | None = None
    start: str | None = None
    minutes: float = Field(default=60, gt=0)
    batch_size: int = Field(default=2, ge=1)
    clicks: int = Field(default=4, ge=1)
    graded_clicks: int = Field(default=4, ge=1)
    first_clicks: float = Field(default=0.0, ge=0, le=1)
    again: int = Field(default=0, ge=0)
    lora_rank: int = Field(default=0, ge=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    average: float = Field(default=0.998, ge=0, lt=1)
    source_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default={})
    mix: SampleMix = SampleMix()
    redrawn: float = Field(default=0.0, ge=0, le=1)
    store: Path | None = None
    patch_spacings: tuple[Annotated[float, Field(gt=0)], float] = (0.35, 6.0)

    @field_validator("patch_spacings")
    @classmethod
    def _ascending(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError("the smallest spacing comes first")
        return value

    @classmethod
    def read(cls, path: Path) -> TrainingConfig:
        """Read a YAML file; paths in it are relative to its folder.

        Raises:
            TrainingError: when the file is missing or a field is wrong.
        """
        config = validated(cls, read_yaml(path), path)
        if config.architecture is not None and config.architecture not in CONFIGURATIONS:
            raise TrainingError(
                f"{path}: there is no architecture '{config.architecture}'; choose one of "
                f"{', '.join(CONFIGURATIONS)}."
            )
        if config.lora_rank and (config.start is None or config.architecture is not None):
            raise TrainingError(
                f"{path}: lora_rank adapts trained weights; name them as 'start', and leave architecture out."
            )
        folder = path.parent
        placed = {
            name: folder / given for name in ("data", "output", "store") if (given := getattr(config, name))
        }
        return config.model_copy(update=placed)


class Trainer(TrainingRun):
    """One run of the default recipe.

    Args:
        config: what to train, on what and for how long.
        log: called with one line of text now and then.
    """

    config: TrainingConfig
    gradient_clip = 1.0

    @property
    def shown_again(self) -> int:
        """See :attr:`TrainingConfig.again`."""
        return self.config.again

    def _first_network(self) -> MSAM:
        return _first_network(self.config)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                key = (name.startswith("detail_branch"), parameter.ndim > 1 and "embed" not in name)
                groups.setdefault(key, []).append(parameter)
        described = [
            {
                "params": parameters,
                "scale": 1.0 if convolutional else 0.5,
                "weight_decay": self.config.weight_decay if decayed else 0.0,
            }
            for (convolutional, decayed), parameters in groups.items()
        ]
        return torch.optim.AdamW(described, lr=self.config.learning_rate, betas=(0.9, 0.98))

    def _samples(self) -> PatchSamples:
        config = self.config
        training, _ = split_by_patient(read_cases(config.data))
        store = config.store or config.output / "cases"
        cases = [LoadedCase(case, store=store) for case in training]
        self.log(
            f"{len(cases)} cases, {sum(len(case.lesions) for case in cases)} lesions, "
            f"{sum(p.numel() for p in self.network.parameters()):,} parameters on {self.device}"
        )
        return PatchSamples(
            cases,
            config.source_weights,
            self.network.config.patch_size,
            config.patch_spacings,
            config.seed,
            length=ENDLESS,
            mix=config.mix,
            redrawn=config.redrawn,
        )

    def _learning_rate(self) -> float:
        return self._falling_rate(self.config.learning_rate, warm_up_steps=150)

    def _loss(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        config = self.config
        readers = [np.random.default_rng((config.seed, 2, number)) for number in batch["index"].tolist()]
        losses, dices = click_losses(
            self.network,
            batch["patch"],
            batch["target"],
            config.clicks,
            rng,
            config.graded_clicks,
            readers,
            config.first_clicks,
        )
        return {
            "loss": torch.stack(losses).mean(),
            "dice_first": torch.tensor(dices[0]),
            "dice_last": torch.tensor(dices[-1]),
        }


def _first_network(config: TrainingConfig) -> MSAM:
    """Return the network that a run starts from."""
    if config.start is None:
        return _trainable(build_model(config.architecture or "msam-compact"))
    if config.architecture is None:
        network = _trainable(load_network(config.start))
        if not config.lora_rank or network.config.lora_rank:
            return network
        sizes = replace(network.config, lora_rank=config.lora_rank, mask_enhanced_adapter=True)
        network = _trainable(build_model("", sizes))
        start_from(network, config.start, "the adapted network")
        return network
    network = _trainable(build_model(config.architecture))
    start_from(network, config.start, config.architecture)
    return network


def _trainable(network: object) -> MSAM:
    """Return a network of the M-SAM family as what it is.

    Raises:
        TrainingError: when it is another system.
    """
    if not isinstance(network, MSAM):
        raise TrainingError(f"A {type(network).__name__} cannot be trained by these clicks.")
    return network
