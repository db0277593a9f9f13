"""The processes of one run: one, or as many as torchrun started, on one or several machines."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class ProcessGroup:
    """What the processes of a run need of each other.

    Every process holds the whole network and takes its own samples; after each step the gradients are
    averaged, so all stay alike. The time budget is the first process's, or they would end apart.

    torchrun says by environment variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT) who is
    who; without them there is one process.

    Attributes:
        rank: number of this process.
        size: how many processes there are.
        device: what this process computes on.
    """

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        local = int(os.environ.get("LOCAL_RANK", "0"))
        has_gpu = torch.cuda.is_available()
        self.device = torch.device("cuda", local) if has_gpu else torch.device("cpu")
        if self.size > 1 and not torch.distributed.is_initialized():
            if has_gpu:
                torch.cuda.set_device(self.device)
            torch.distributed.init_process_group("nccl" if has_gpu else "gloo")

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes.

        A parameter without a gradient in some process counts as zero there; without one anywhere it
        stays without, so that the optimiser leaves it alone as in a single process.
        """
        if self.size == 1:
            return
        wanted = [parameter for parameter in parameters if parameter.requires_grad]
        has_any = torch.tensor(
            [float(parameter.grad is not None) for parameter in wanted], device=self.device
        )
        torch.distributed.all_reduce(has_any)
        shared = [parameter for parameter, count in zip(wanted, has_any.tolist(), strict=True) if count]
        gradients = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in shared
        ]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        torch.distributed.all_reduce(flat)
        flat /= self.size
        start = 0
        for parameter in shared:
            stop = start + parameter.numel()
            parameter.grad = flat[start:stop].reshape(parameter.shape).clone()
            start = stop

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes."""
        if self.size > 1:
            values = values.to(self.device)
            torch.distributed.all_reduce(values)
            values = values / self.size
        return values

    def of_first(self, value: float) -> float:
        """Return the first process's value."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(shared, src=0)
        return float(shared[0])

    def wait(self) -> None:
        """Go on once all processes are here."""
        if self.size > 1:
            torch.distributed.barrier()

    def stop(self) -> None:
        """Part from the other processes, once all are here."""
        if self.size > 1 and torch.distributed.is_initialized():
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
