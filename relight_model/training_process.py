"""One of the processes that train together, as torchrun starts them; usually the only one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from lightstage.errors import InputError

#: How long a process waits for the others before it gives up.
TIMEOUT_S = 1800.0


_CPU = torch.device("cpu")


@dataclass(frozen=True)
class TrainingProcess:
    """This process: its number, how many there are, and what it computes on."""

    rank: int = 0
    count: int = 1
    device: torch.device = _CPU

    @property
    def writes(self) -> bool:
        """Whether this process writes the run's files and speaks."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of ``values`` over all processes."""
        if self.count == 1:
            return values
        summed = values.clone()
        distributed.all_reduce(summed)
        return summed / self.count

    def largest(self, value: float) -> float:
        """Return the largest of all processes' ``value``, so that all decide alike."""
        if self.count == 1:
            return value
        held = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(held, distributed.ReduceOp.MAX)
        return float(held)

    def wait(self) -> None:
        """Wait for the others."""
        if self.count > 1:
            distributed.barrier()

    def together(self, network: nn.Module) -> nn.Module:
        """Return ``network`` so wrapped that gradients are the mean over all processes.

        On GPUs batch norm becomes SyncBatchNorm, whose statistics are over all processes. On CPUs
        there is none: each process norms by its own batch, and the running statistics are those of
        process 0. Then use group norm, or batches that are large enough.
        """
        if self.count == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=devices)

    def synced(self, network: nn.Module) -> nn.Module:
        """Return ``network`` with its batch norms over all processes, where that is possible."""
        if self.count == 1 or self.device.type != "cuda":
            return network
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)

    def alike(self, networks: Sequence[nn.Module]) -> None:
        """Give every process the weights of process 0."""
        if self.count == 1:
            return
        for network in networks:
            for value in network.state_dict().values():
                distributed.broadcast(value, 0)


@contextmanager
def training_process(device: str | None = None) -> Iterator[TrainingProcess]:
    """Yield this process, joined with the others that torchrun started, if it did.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``; a GPU where there is one unless given.

    Raises:
        InputError: there is no such device, or the other processes do not answer.
    """
    count, rank = (int(os.environ.get(name, d)) for name, d in (("WORLD_SIZE", "1"), ("RANK", "0")))
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and count > 1:
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        found = torch.device(name)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as reason:
        raise InputError(f"--device {name}: {str(reason).strip().splitlines()[0]}") from None
    if found.type == "cuda":
        torch.cuda.set_device(found)
    if count == 1:
        yield TrainingProcess(device=found)
        return
    backend = "nccl" if found.type == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend, timeout=timedelta(seconds=TIMEOUT_S))
    except (RuntimeError, ValueError) as reason:
        raise InputError(
            f"process {rank} of {count} could not join the others by {backend}: {reason}; start "
            "them with torchrun."
        ) from None
    try:
        yield TrainingProcess(rank, count, found)
    finally:
        distributed.destroy_process_group()
