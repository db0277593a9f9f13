"""The training loop that all recipes share: samples, steps, budget, checkpoints that resume, the log.

A recipe is a :class:`TrainingRun` that says which network, which samples, which loss and which learning
rate. Everything that a run draws depends on its seed and the step alone, so a run that was killed and goes
on ends with the weights, and the loss curve, of one that was not.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from MSAMLogic.errors import TrainingError
from MSAMLogic.files import atomic_path
from MSAMLogic.model import Network
from MSAMLogic.model.checkpoints import save_weights
from MSAMLogic.model.precision import is_quick_in_bfloat16
from MSAMLogic.training.again import with_earlier
from MSAMLogic.training.configuration import RunConfig, one_line
from MSAMLogic.training.log import TrainingLog
from MSAMLogic.training.process_group import ProcessGroup

ENDLESS = 2**40  # nominal number of samples of a run that time or steps end
_LOGGED_STEPS = 50

Batch = dict[str, Tensor]


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
        return ENDLESS


def one_thread(worker: int) -> None:
    """Let a process that prepares samples keep to one core, as torch does by itself.

    Several processes with as many threads each as there are cores get in each other's way.
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def first_sample(step: int, batch_size: int, group: ProcessGroup) -> int:
    """Return the index of the first sample that a process takes in a step."""
    return (step * group.size + group.rank) * batch_size


class TrainingRun(ABC):
    """One training run.

    Args:
        config: how the run goes.
        log: called with one line of text now and then.

    Attributes:
        network: what is trained.
        average: the moving average of its weights, by name.
        progress: how far the run is.
        gradient_clip: largest norm of the gradients; None leaves them.
    """

    config: RunConfig
    gradient_clip: float | None = None

    def __init__(self, config: RunConfig, log: Callable[[str], None] = print) -> None:
        self.config = config
        self.log = log
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.group = ProcessGroup()
        self.device = self.group.device
        if not self.group.is_first:
            self.log = lambda line: None
        self.network: Any = self._first_network().to(self.device)
        if self.network.channels_last:
            self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimizer = self._new_optimizer()
        self.progress = Progress()
        self.window: list[dict[str, float]] = []

    @property
    def checkpoint(self) -> Path:
        """Where the state of the run is kept."""
        return self.config.output / "checkpoint.pt"

    @property
    def weights(self) -> Path:
        """Where the averaged weights are kept."""
        return weights_of(self.config)

    @property
    def total_steps(self) -> int | None:
        """Steps after which the run ends; None when only time ends it."""
        return self.config.steps

    @property
    def shown_again(self) -> int:
        """How many steps later each batch is shown once more; 0 is never."""
        return 0

    @abstractmethod
    def _first_network(self) -> Network:
        """Return the network that the run starts from."""

    @abstractmethod
    def _new_optimizer(self) -> torch.optim.Optimizer:
        """Return the optimiser; each parameter group's ``scale`` multiplies the learning rate."""

    @abstractmethod
    def _samples(self) -> Dataset[Batch]:
        """Return the samples: sample i is the same whenever it is made."""

    @abstractmethod
    def _loss(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return the figures of a batch: ``loss`` is minimised, all are logged.

        Args:
            batch: ``patch`` (B, 1, n, n, n), ``target`` of the same shape and ``index`` (B,), the number of
                each sample in the run.
            rng: source of chance, the same in all processes.
        """

    @abstractmethod
    def _learning_rate(self) -> float:
        """Return the learning rate of the next step, for a parameter group of scale 1."""

    def run(self) -> None:
        """Train until the budget is spent, going on from the last checkpoint if there is one."""
        config = self.config
        config.output.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            self._resume()
        if self._is_done():
            self.group.stop()
            return
        first = max(0, self.progress.step - self.shown_again)
        loader: DataLoader[Batch] = DataLoader(
            self._samples(),
            batch_size=config.batch_size,
            sampler=_FromStep(first, config.batch_size, self.group),
            num_workers=config.workers,
            prefetch_factor=4 if config.workers else None,
            multiprocessing_context="fork" if config.workers else None,
            worker_init_fn=one_thread,
            pin_memory=self.device.type == "cuda",
        )
        batches: Iterable[Batch] = loader
        if self.shown_again:
            batches = with_earlier(
                loader, first, self.progress.step, self.shown_again, config.seed, self.device
            )
        self.network.train()
        log = TrainingLog(config.output, self.progress.step) if self.group.is_first else None
        shown = self.group.is_first and sys.stderr.isatty()
        with tqdm(
            total=self.total_steps, initial=self.progress.step, unit="step", disable=not shown, leave=False
        ) as bar:
            self._train(batches, log, bar)
        if log is not None:
            log.close()
        self.group.stop()

    def save(self) -> None:
        """Write checkpoint and averaged weights, each atomically."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "progress": vars(self.progress),
            "window": self.window,
        }
        with atomic_path(self.checkpoint) as partial:
            torch.save(state, partial)
        save_weights(self.weights, self.network.config, self.average)

    def _train(self, batches: Iterable[Batch], log: TrainingLog | None, bar: Any) -> None:
        saved = last = time.monotonic()
        for batch in batches:
            self.window.append(self._step(batch))
            now = time.monotonic()
            self.progress.seconds = self.group.of_first(self.progress.seconds + now - last)
            last = now
            bar.update()
            done = self._is_done()
            if len(self.window) == _LOGGED_STEPS or done:
                if log is not None:
                    self._write_log(log)
                self.window = []
            if self.group.is_first and (done or now - saved > 60 * self.config.checkpoint_minutes):
                self.save()
                saved = time.monotonic()
            if done:
                return

    def _is_done(self) -> bool:
        return self._spent() >= 1.0

    def _spent(self) -> float:
        """Return the share of the budget, of time or of steps, that is used up."""
        minutes, steps = self.config.minutes, self.total_steps
        time_spent = self.progress.seconds / (60 * minutes) if minutes else 0.0
        return time_spent if steps is None else max(time_spent, self.progress.step / steps)

    def _resume(self) -> None:
        try:
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average = state["average"]
            self.progress = Progress(**state["progress"])
            self.window = state.get("window", [])  # checkpoints of older versions have none
        except Exception as error:
            raise TrainingError(
                f"{self.checkpoint} cannot be resumed ({one_line(error)}); move it away to start anew."
            ) from error
        self.log(f"resumed at step {self.progress.step}, {self.progress.seconds / 60:.1f} minutes")

    def _falling_rate(self, highest: float, warm_up_steps: int) -> float:
        """Return a rate that rises in so many steps and then falls along a cosine, almost to nothing.

        It follows the budget that is spent; with a number of steps that alone, so that a run can be
        repeated exactly.
        """
        warm_up = min(1.0, (self.progress.step + 1) / warm_up_steps)
        steps = self.config.steps
        spent = min(1.0, self._spent() if steps is None else self.progress.step / steps)
        return highest * warm_up * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * spent)))

    def _set_learning_rate(self) -> None:
        rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]

    def _step(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        self._set_learning_rate()
        config, step = self.config, self.progress.step
        first = first_sample(step, config.batch_size, self.group)
        moved = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        moved["index"] = torch.arange(first, first + len(moved["patch"]))
        rng = np.random.default_rng((config.seed, 1, step))
        mixed = config.mixed_precision and is_quick_in_bfloat16(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            figures = self._loss(moved, rng)
        loss = figures["loss"]
        if not torch.isfinite(loss):
            raise TrainingError(f"The loss at step {step} is not finite; lower learning_rate.")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.group.average_gradients(self.network.parameters())
        if self.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.gradient_clip)
        self.optimizer.step()
        self.progress.step += 1
        self._follow()
        means = self.group.mean(torch.stack([figure.detach().float().cpu() for figure in figures.values()]))
        return dict(zip(figures, means.tolist(), strict=True))

    def _follow(self) -> None:
        """Let the average follow the weights."""
        decay = min(self.config.average, (1 + self.progress.step) / (10 + self.progress.step))
        state = self.network.state_dict()
        moving = [name for name, value in state.items() if value.is_floating_point()]
        with torch.no_grad():
            # All at once: to a GPU each of hundreds of small steps takes as long as a large one.
            torch._foreach_lerp_(
                [self.average[name] for name in moving], [state[name] for name in moving], 1 - decay
            )
            for name in state.keys() - set(moving):
                self.average[name].copy_(state[name])

    def _write_log(self, log: TrainingLog) -> None:
        row: dict[str, float] = {
            "step": self.progress.step,
            "minutes": round(self.progress.seconds / 60, 2),
        }
        row |= {key: round(float(np.mean([e[key] for e in self.window])), 4) for key in self.window[0]}
        log.write(row)
        with tqdm.external_write_mode():
            self.log("  ".join(f"{key} {value}" for key, value in row.items()))


def weights_of(config: RunConfig) -> Path:
    """Return where a run keeps the averaged weights."""
    return config.output / "weights.safetensors"
