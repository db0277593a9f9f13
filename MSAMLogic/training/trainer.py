"""The training loop: patches, simulated clicks, one loss a click, checkpoints that resume.

The encoder runs once a patch and every click adds an answer and a loss, as M-SAM trains (section 3.1).
A run has a budget of wall-clock minutes; the learning rate follows the share of it that is spent, so a
slow machine and a fast one both end well.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from scipy import ndimage
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from MSAMLogic.errors import TrainingError
from MSAMLogic.files import atomic_path
from MSAMLogic.loading import load_network
from MSAMLogic.model import CONFIGURATIONS, MSAM, PatchFeatures, build_model
from MSAMLogic.model.checkpoints import save_weights
from MSAMLogic.model.detail_branch import click_maps
from MSAMLogic.model.msam import Segmentation
from MSAMLogic.training.cases import LoadedCase, read_cases, split_by_patient
from MSAMLogic.training.clicks import simulate_click
from MSAMLogic.training.log import TrainingLog
from MSAMLogic.training.losses import click_disobedience, dice_cross_entropy, true_iou
from MSAMLogic.training.process_group import ProcessGroup
from MSAMLogic.training.samples import PatchSamples, SampleMix


class TrainingConfig(BaseModel):
    """What ``msam train CONFIG.yaml`` reads.

    Attributes:
        data: folder with a ``cases.tsv``; relative to the configuration file.
        output: folder for checkpoints, log and weights; relative to the configuration file.
        architecture: a name of :data:`MSAMLogic.model.CONFIGURATIONS`; by default that of ``start``, or
            msam-compact.
        start: weights to start from, a name of the registry or a path, in place of random ones. What the
            architecture has beyond them starts at random.
        minutes: wall-clock budget over all resumed runs.
        steps: most steps over all resumed runs; by default only the time ends a run. With it, and time
            enough, a run can be repeated to the bit on the same machine.
        batch_size: patches a step and process.
        mixed_precision: compute in bfloat16 where that is safe.
        clicks: most clicks a patch; each step draws 1 to this many.
        graded_clicks: most clicks a patch that are learnt from; the others only lead there, at a third of
            the time.
        learning_rate: of the convolutional high-resolution branch; the transformers take half.
        weight_decay: of AdamW.
        average: decay of the moving average of the weights, which is what is saved.
        seed: of weights, samples and clicks.
        workers: processes that prepare samples.
        threads: of torch; 0 leaves the default.
        checkpoint_minutes: between checkpoints.
        source_weights: how often each source is drawn.
        mix: shares of drawn, inserted and region targets.
        patch_spacings: smallest and largest patch spacing in millimetres.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Path
    output: Path
    architecture: str | None = None
    start: str | None = None
    minutes: float = Field(default=60, gt=0)
    steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=2, ge=1)
    clicks: int = Field(default=4, ge=1)
    graded_clicks: int = Field(default=4, ge=1)
    mixed_precision: bool = True
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    average: float = Field(default=0.998, ge=0, lt=1)
    seed: int = 0
    workers: int = Field(default=1, ge=0)
    threads: int = Field(default=0, ge=0)
    checkpoint_minutes: float = Field(default=4, gt=0)
    source_weights: dict[str, Annotated[float, Field(ge=0)]] = {}
    mix: SampleMix = SampleMix()
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
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
            config = cls.model_validate(values)
        except OSError as error:
            raise TrainingError(f"{path} cannot be read: {error.strerror}.") from error
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise TrainingError(f"{path} is not a training configuration ({wrong}).") from error
        except (yaml.YAMLError, ValueError) as error:
            raise TrainingError(f"{path} is not a training configuration: {_one_line(error)}.") from error
        if config.architecture is not None and config.architecture not in CONFIGURATIONS:
            raise TrainingError(
                f"{path}: there is no architecture '{config.architecture}'; choose one of "
                f"{', '.join(CONFIGURATIONS)}."
            )
        folder = path.parent
        return config.model_copy(update={"data": folder / config.data, "output": folder / config.output})


@dataclass
class Progress:
    """How far a run is: steps done and seconds spent, over all resumed runs."""

    step: int = 0
    seconds: float = 0.0


class _FromStep(Sampler[int]):
    """The sample indices of one process of a run that goes on after ``step`` steps.

    The samples of a step are shared out in order, so that more processes see what one with a larger batch
    would have seen.

    Args:
        step: steps that are done.
        batch_size: samples a step and process.
        group: the processes.
    """

    def __init__(self, step: int, batch_size: int, group: ProcessGroup) -> None:
        self.step, self.batch_size, self.group = step, batch_size, group

    def __iter__(self) -> Iterator[int]:
        for step in itertools.count(self.step):
            first = first_sample(step, self.batch_size, self.group)
            yield from range(first, first + self.batch_size)

    def __len__(self) -> int:
        return 2**40


def first_sample(step: int, batch_size: int, group: ProcessGroup) -> int:
    """Return the index of the first sample that a process takes in a step."""
    return (step * group.size + group.rank) * batch_size


class Trainer:
    """One training run.

    Args:
        config: what to train, on what and for how long.
        log: called with one line of text now and then.
    """

    def __init__(self, config: TrainingConfig, log: Callable[[str], None] = print) -> None:
        self.config = config
        self.log = log
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.group = ProcessGroup()
        self.device = self.group.device
        if not self.group.is_first:
            self.log = lambda line: None
        network = _first_network(config)
        self.network = network.to(self.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            self._parameter_groups(), lr=config.learning_rate, betas=(0.9, 0.98)
        )
        self.progress = Progress()

    @property
    def checkpoint(self) -> Path:
        """Where the state of the run is kept."""
        return self.config.output / "checkpoint.pt"

    @property
    def weights(self) -> Path:
        """Where the averaged weights are kept."""
        return self.config.output / "weights.safetensors"

    def run(self) -> None:
        """Train until the budget is spent, going on from the last checkpoint if there is one."""
        config = self.config
        config.output.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            self._resume()
        if self._is_done():
            self.group.stop()
            return
        training, _ = split_by_patient(read_cases(config.data))
        cases = [LoadedCase(case) for case in training]
        samples = PatchSamples(
            cases,
            config.source_weights,
            self.network.config.patch_size,
            config.patch_spacings,
            config.seed,
            length=2**40,
            mix=config.mix,
        )
        self.log(
            f"{len(cases)} cases, {sum(len(case.lesions) for case in cases)} lesions, "
            f"{sum(p.numel() for p in self.network.parameters()):,} parameters on {self.device}"
        )
        loader = DataLoader(
            samples,
            batch_size=config.batch_size,
            sampler=_FromStep(self.progress.step, config.batch_size, self.group),
            num_workers=config.workers,
            prefetch_factor=4 if config.workers else None,
            multiprocessing_context="fork" if config.workers else None,
        )
        self.network.train()
        log = TrainingLog(config.output, self.progress.step) if self.group.is_first else None
        saved = last = time.monotonic()
        window: list[dict[str, float]] = []
        for batch in loader:
            window.append(self._step(batch))
            now = time.monotonic()
            self.progress.seconds = self.group.of_first(self.progress.seconds + now - last)
            last = now
            done = self._is_done()
            if log is not None and (len(window) == 50 or done):
                self._write_log(log, window)
                window = []
            if self.group.is_first and (done or now - saved > 60 * config.checkpoint_minutes):
                self.save()
                saved = time.monotonic()
            if done:
                if log is not None:
                    log.close()
                self.group.stop()
                return

    def save(self) -> None:
        """Write checkpoint and averaged weights, each atomically."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "progress": vars(self.progress),
        }
        with atomic_path(self.checkpoint) as partial:
            torch.save(state, partial)
        save_weights(self.weights, self.network.config, self.average)

    def _is_done(self) -> bool:
        return self._spent() >= 1.0

    def _spent(self) -> float:
        """Return the share of the budget, of time or of steps, that is used up."""
        time_spent = self.progress.seconds / (60 * self.config.minutes)
        steps = self.config.steps
        return time_spent if steps is None else max(time_spent, self.progress.step / steps)

    def _resume(self) -> None:
        try:
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average = state["average"]
            self.progress = Progress(**state["progress"])
        except Exception as error:
            raise TrainingError(
                f"{self.checkpoint} cannot be resumed ({_one_line(error)}); move it away to start anew."
            ) from error
        self.log(f"resumed at step {self.progress.step}, {self.progress.seconds / 60:.1f} minutes")

    def _parameter_groups(self) -> list[dict[str, Any]]:
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                key = (name.startswith("detail_branch"), parameter.ndim > 1 and "embed" not in name)
                groups.setdefault(key, []).append(parameter)
        return [
            {
                "params": parameters,
                "scale": 1.0 if convolutional else 0.5,
                "weight_decay": self.config.weight_decay if decayed else 0.0,
            }
            for (convolutional, decayed), parameters in groups.items()
        ]

    def _set_learning_rate(self) -> None:
        warm_up = min(1.0, (self.progress.step + 1) / 150)
        # With a number of steps the rate follows that alone, so that a run can be repeated exactly.
        steps = self.config.steps
        spent = min(1.0, self._spent() if steps is None else self.progress.step / steps)
        rate = self.config.learning_rate * warm_up * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * spent)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]

    def _step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        self._set_learning_rate()
        patch, target = batch["patch"].to(self.device), batch["target"].to(self.device)
        config, step = self.config, self.progress.step
        rng = np.random.default_rng((config.seed, 1, step))
        first = first_sample(step, config.batch_size, self.group)
        readers = [np.random.default_rng((config.seed, 2, first + n)) for n in range(len(patch))]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.mixed_precision):
            losses, dices = click_losses(
                self.network, patch, target, config.clicks, rng, config.graded_clicks, readers
            )
        loss = torch.stack(losses).mean()
        if not torch.isfinite(loss):
            raise TrainingError(f"The loss at step {self.progress.step} is not finite; lower learning_rate.")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.group.average_gradients(self.network.parameters())
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.progress.step += 1
        decay = min(self.config.average, (1 + self.progress.step) / (10 + self.progress.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
        figures = self.group.mean(torch.tensor([float(loss.detach()), dices[0], dices[-1]]))
        return dict(zip(("loss", "dice_first", "dice_last"), figures.tolist(), strict=True))

    def _write_log(self, log: TrainingLog, window: list[dict[str, float]]) -> None:
        row = {"step": self.progress.step, "minutes": round(self.progress.seconds / 60, 2)}
        row |= {key: round(float(np.mean([entry[key] for entry in window])), 4) for key in window[0]}
        log.write(row)
        self.log("  ".join(f"{key} {value}" for key, value in row.items()))


def click_losses(
    network: MSAM,
    patch: Tensor,
    target: Tensor,
    most_clicks: int,
    rng: np.random.Generator,
    most_graded: int | None = None,
    readers: Sequence[np.random.Generator] | None = None,
) -> tuple[list[Tensor], list[float]]:
    """Click up to ``most_clicks`` times and return the loss of each answer that is learnt from.

    Args:
        network: in training mode.
        patch: (B, 1, n, n, n) normalised.
        target: (B, 1, n, n, n) bool.
        most_clicks: 1 to this many clicks are made.
        rng: source of chance for what all patches have in common: how many clicks, which are learnt from.
        readers: sources of chance for the clicks of each patch, so that these do not depend on the
            company of a patch; by default ``rng`` for all.
        most_graded: how many of the answers are learnt from at most; by default all. The last goes before
            the first, and these before others, which are drawn.

    Returns:
        One loss for each graded click, and the mean Dice after every click.
    """
    config = network.config
    truth = target.cpu().numpy()[:, 0]
    small_target = nn.functional.adaptive_avg_pool3d(target.float(), config.mask_size)
    clicks: list[list[tuple[np.ndarray[Any, Any], int]]] = [[] for _ in truth]
    readers = readers or [rng] * len(truth)
    prompt, answers = _starting_masks(truth, config.mask_size, readers)
    mask_logits = prompt.to(patch.device)
    features: PatchFeatures = network.look(patch)
    losses: list[Tensor] = []
    dices: list[float] = []
    count = int(rng.integers(1, most_clicks + 1)) if rng.random() < 0.5 else most_clicks
    preferred = [count - 1, 0, *(1 + rng.permutation(max(count - 2, 0))).tolist()]
    graded = set(preferred[: most_graded or count])
    for turn in range(count):
        for index, region in enumerate(truth):
            click = simulate_click(region, answers[index], readers[index])
            clicks[index].append(click if click is not None else (np.zeros(3), -1))
        chosen = clicks if config.all_clicks else [entry[-1:] for entry in clicks]
        coords = torch.tensor(np.array([[c for c, _ in entry] for entry in chosen]), dtype=torch.float32)
        labels = torch.tensor([[label for _, label in entry] for entry in chosen])
        coords, labels = coords.to(patch.device), labels.to(patch.device)
        with torch.set_grad_enabled(turn in graded and torch.is_grad_enabled()):
            answer = network.segment(features, coords, labels, mask_logits)
        iou = true_iou(answer.logits, target)
        dices.append(float((2 * iou / (1 + iou)).mean()))
        if turn in graded:
            losses.append(_answer_loss(network, answer, target, small_target, coords, labels, iou))
        mask_logits = answer.mask_logits.detach().float()
        predicted = (answer.logits.detach() > 0).cpu().numpy()[:, 0]
        answers = list(predicted)
    return losses, dices


def _answer_loss(
    network: MSAM,
    answer: Segmentation,
    target: Tensor,
    small_target: Tensor,
    coords: Tensor,
    labels: Tensor,
    iou: Tensor,
) -> Tensor:
    """Return the loss of one answer to ``coords`` (B, N, 3) with ``labels`` (B, N)."""
    n = network.config.patch_size
    loss = dice_cross_entropy(answer.logits, target)
    if network.detail_branch is not None:
        loss = loss + 0.3 * dice_cross_entropy(answer.decoder_logits, small_target)
        near = click_maps(coords, labels, n, n)[:, :2].amax(dim=1, keepdim=True)
        loss = loss + 0.1 * click_disobedience(answer.logits, target, near)
    error = (answer.iou.float() - iou).square().mean()
    # The quality head has parameters of its own, which nothing else teaches.
    return loss + (1.0 if network.config.quality_width else 0.05) * error


def _first_network(config: TrainingConfig) -> MSAM:
    """Return the network that a run starts from."""
    if config.start is None:
        return _trainable(build_model(config.architecture or "msam-compact"))
    start = _trainable(load_network(config.start))
    if config.architecture is None or start.config == CONFIGURATIONS[config.architecture]:
        return start
    network = _trainable(build_model(config.architecture))
    given, own = start.state_dict(), network.state_dict()
    unfit = [name for name, value in given.items() if name not in own or own[name].shape != value.shape]
    if unfit:
        raise TrainingError(
            f"The weights of '{config.start}' hold parts that {config.architecture} has not "
            f"({unfit[0]}, ...); leave architecture out, or start from others."
        )
    network.load_state_dict(given, strict=False)
    return network


def _trainable(network: object) -> MSAM:
    """Return a network of the M-SAM family as what it is.

    Raises:
        TrainingError: when it is another system.
    """
    if not isinstance(network, MSAM):
        raise TrainingError(f"A {type(network).__name__} cannot be trained by these clicks.")
    return network


def _starting_masks(
    truth: np.ndarray[Any, Any], mask_size: int, readers: Sequence[np.random.Generator]
) -> tuple[Tensor, list[np.ndarray[Any, Any] | None]]:
    """Return the first mask prompt of each patch and the mask that it stands for.

    Mostly there is none. Sometimes a reader corrects a given mask: a shifted and sometimes cut truth.
    """
    prompts, masks = [], []
    for region, rng in zip(truth, readers, strict=True):
        given: np.ndarray[Any, Any] | None = None
        if rng.random() < 0.15:
            given = ndimage.shift(region.astype(np.uint8), rng.integers(-4, 5, 3), order=0) > 0
            if rng.random() < 0.5:
                axis, size = int(rng.integers(3)), region.shape[0]
                cut = np.arange(size) < rng.integers(size // 4, 3 * size // 4)
                given = given & cut.reshape([-1 if a == axis else 1 for a in range(3)])
            if not given.any() or (given == region).all():
                given = None
        masks.append(given)
        prompts.append(
            mask_to_logits(given, mask_size) if given is not None else torch.zeros((mask_size,) * 3)
        )
    return torch.stack(prompts).unsqueeze(1), masks


def mask_to_logits(mask: np.ndarray[Any, Any], mask_size: int) -> Tensor:
    """Return the mask prompt (m, m, m) that stands for a given mask (n, n, n): -6 outside, +6 inside."""
    share = nn.functional.adaptive_avg_pool3d(
        torch.from_numpy(mask[None, None].astype(np.float32)), mask_size
    )
    return 12 * share[0, 0] - 6


def _one_line(error: Exception) -> str:
    """Return the first line of an error's message, not too long to be read."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
