"""The processes that train together, started by ``torchrun``, by ``--devices`` or by nnU-Net."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, _get_default_store

from swin_umamba.distributed.watch import Watch
from swin_umamba.errors import UsageError
from swin_umamba.ops.backend import resolve_device

T = TypeVar("T")

STEP_TIMEOUT = timedelta(minutes=10)
CONTROL_TIMEOUT = timedelta(days=1)
"""Ranks wait while the first one writes and draws; one that is lost is found by its missing signs of life."""


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
    control
        Group of all processes for what is not gradients: gloo, with a long time-out. None for one process.
    watch
        Signs of life and reasons of the ranks. None for one process.
    """

    rank: int
    size: int
    device: torch.device
    control: Any = None
    watch: Watch | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of ``values`` over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier(group=self.control)

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let the first process run the ``with`` block before all others: they find what it has written."""
        if not self.is_first:
            self.barrier()
        yield
        if self.is_first:
            self.barrier()

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, which must be picklable, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values


_current: Processes | None = None


def is_first_process() -> bool:
    """Return whether this process is the first of those that a launcher has started, or alone."""
    return os.environ.get("RANK", "0") == "0"


def num_started() -> int:
    """Return how many processes a launcher has started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def current_processes(device: torch.device) -> Processes:
    """Return the processes that this one has joined; else those of nnU-Net's group, or itself alone.

    Parameters
    ----------
    device
        Device of this process, unless it has joined the others with one.
    """
    global _current
    if not (dist.is_available() and dist.is_initialized()):
        return Processes(0, 1, device)
    if _current is None:
        _current = _in_group(device)
    return _current


def device_of_rank(device: str, local: int, size: int) -> torch.device:
    """Return the device of process number ``local`` of ``size`` on this host.

    Parameters
    ----------
    device
        As for ``resolve_device``. Each of several processes takes the CUDA device of its number.

    Raises
    ------
    UsageError
        If several processes would share a GPU.
    """
    chosen = resolve_device(device)
    if size == 1:
        return chosen
    if ":" in device or chosen.type == "mps":
        raise UsageError(
            f"{size} processes cannot share the device {chosen}",
            where="--device",
            hint="leave it out: each process takes the GPU of its number; or give --device cpu",
        )
    return resolve_device(f"cuda:{local}") if chosen.type == "cuda" else chosen


@contextmanager
def joined_processes(choose_device: Callable[[int, int], torch.device]) -> Iterator[Processes]:
    """Join the processes that a launcher has started, if any, and leave them at the end.

    Only the first one logs what is no warning. An error of one of them ends all.

    Parameters
    ----------
    choose_device
        Function that returns the device of this process, of the number of the process on its host and how
        many there are.

    Raises
    ------
    BaseException
        On all ranks what stopped the first of them; see ``Fault.as_error``.
    """
    global _current
    size = num_started()
    local = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", str(size)))
    chosen = choose_device(*local)
    if size == 1:
        yield Processes(0, 1, chosen)
        return
    if chosen.type == "cuda":  # before anything touches a card
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=STEP_TIMEOUT)
    _current = processes = _in_group(chosen)
    watch = processes.watch
    assert watch is not None
    logger = logging.getLogger("swin_umamba")
    level = logger.level
    if not processes.is_first:
        logger.setLevel(max(logger.getEffectiveLevel(), logging.WARNING))
    try:
        yield processes
        processes.barrier()
    except BaseException as error:
        watch.tell(error)
        cause = watch.error_for(error)
        if cause is error:
            raise
        raise cause from error
    finally:
        _current = None
        logger.setLevel(level)
        with suppress(RuntimeError):
            dist.destroy_process_group()
        watch.close()


def _in_group(device: torch.device) -> Processes:
    control = dist.new_group(backend="gloo", timeout=CONTROL_TIMEOUT)
    rank, size = dist.get_rank(), dist.get_world_size()
    server: Any = _get_default_store()
    watch = Watch(PrefixStore("swin_umamba", server.clone()), server, rank, size)
    dist.barrier(group=control)
    watch.start()
    return Processes(rank, size, device, control, watch)
