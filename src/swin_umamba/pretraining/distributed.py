"""The processes that train together, as started by ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist

from swin_umamba.ops.backend import resolve_device


@dataclass(frozen=True)
class Processes:
    """The running process among those that train together.

    Attributes
    ----------
    rank
        Number of this process, from 0.
    size
        Number of processes.
    device
        The device of this process.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of ``values`` over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` has started, if any, and leave them at the end.

    Parameters
    ----------
    device
        As for ``resolve_device``. Several processes of a host each take the CUDA device of their local rank.
    """
    chosen = resolve_device(device)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Processes(0, 1, chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), size, chosen)
    finally:
        dist.destroy_process_group()
