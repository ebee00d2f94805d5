"""Batches that depend only on a seed and their number, whatever process makes them.

nnU-Net's augmentation processes are seeded from the clock and return whatever is ready first. The ordered
ones of batchgenerators can be seeded, but wait forever for a process that was killed. Here, each batch seeds
the random generators that it uses, so that it is the same for any number of processes and after any
interruption. PyTorch's data loader keeps the order and detects dead processes.
"""

from __future__ import annotations

import itertools
import math
import random
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any

import numpy as np
import torch
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from torch.utils.data import DataLoader, Dataset

from swin_umamba.errors import TrainingError
from swin_umamba.interrupt import interrupts_ignored
from swin_umamba.nnunet.training.shared_memory import CURE, warn_if_too_small

BATCHES_AHEAD = 6
SECONDS_OF_A_DEATH = 1.0
"""Number of prepared batches that wait for the training, as in nnU-Net; at least one for each process."""


class SeededBatches(Dataset[dict[str, Any]]):
    """The batches of one of nnU-Net's loaders by their number.

    Parameters
    ----------
    loader
        Infinite iterator over batches, drawn with the global generators of Python, NumPy and PyTorch.
    seed
        Seed: one number or several, not negative.
    """

    def __init__(self, loader: Iterator[dict[str, Any]], seed: tuple[int, ...]) -> None:
        self.loader = loader
        self.seed = seed

    def __getitem__(self, number: int) -> dict[str, Any]:
        # In the training process, random layers of the network use the same generators.
        before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
        words = np.random.SeedSequence((*self.seed, number)).generate_state(4)
        try:
            random.seed(int(words[0]))
            np.random.seed(words[1:3])  # noqa: NPY002
            torch.default_generator.manual_seed(int(words[3]))
            return next(self.loader)
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
            torch.set_rng_state(before[2])


class BatchStream:
    """The batches from a number on, in order, made ahead by other processes or on demand by this one.

    Parameters
    ----------
    batches
        Batches by their number.
    first
        Number of the first batch.
    workers
        Number of processes; 0 makes the batches in this one.
    pin_memory
        Whether to put the batches into pinned memory, for faster transfer to a CUDA device.
    """

    def __init__(self, batches: SeededBatches, *, first: int, workers: int, pin_memory: bool) -> None:
        loader = DataLoader(
            batches,
            batch_size=None,
            sampler=itertools.count(first),
            num_workers=workers,
            prefetch_factor=_ahead(workers) // workers if workers else None,
            collate_fn=_unchanged,
            worker_init_fn=end_quietly,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # without a generator, PyTorch uses the global one
        )
        self._iterator = iter(loader)

    def __iter__(self) -> BatchStream:
        return self

    def __next__(self) -> dict[str, Any]:
        """Return the next batch.

        Raises
        ------
        RuntimeError
            If a process has died; `worker_death` explains it. The error may also be raised anywhere else in
            the main thread, as soon as the system reports the death.
        """
        return next(self._iterator)

    def ended(self, seconds: float = 0) -> dict[int, int]:
        """Return the exit code of each failed process; for a killed one, the negative signal.

        Parameters
        ----------
        seconds
            How long to wait until one has ended.
        """
        workers = getattr(self._iterator, "_workers", ())
        ended = wait([worker.sentinel for worker in workers], timeout=seconds)
        for worker in workers:
            if worker.sentinel in ended:  # of a process that dies, its connections close first
                worker.join()
        return {worker.pid: worker.exitcode for worker in workers if worker.exitcode}

    def close(self) -> None:
        """End the processes."""
        # PyTorch has no public function for this. It does the same when the iterator is garbage-collected,
        # but the traceback of an error would delay that.
        if hasattr(self._iterator, "_shutdown_workers"):
            self._iterator._shutdown_workers()


def batch_streams(
    loaders: Sequence[Iterator[dict[str, Any]]],
    *,
    seed: int | None,
    rank: int,
    first: Sequence[int],
    workers: int | None,
    pin_memory: bool,
    batch_bytes: int,
) -> tuple[BatchStream, ...]:
    """Return the batches of several loaders; all but the first get half as many processes, as in nnU-Net.

    Warns if the shared memory does not hold those that wait for the training.

    Parameters
    ----------
    loaders
        See `SeededBatches`.
    seed
        Seed; None draws one.
    rank
        Number of this process in a distributed training.
    first
        Number of the first batch of each loader.
    workers
        Number of processes; 0 makes the batches in this one, None uses nnU-Net's default.
    pin_memory
        See `BatchStream`.
    batch_bytes
        Size of a batch.
    """
    workers = get_allowed_n_proc_DA() if workers is None else workers
    processes = [math.ceil(workers / 2) if index else workers for index in range(len(loaders))]
    warn_if_too_small(batch_bytes, sum(map(_ahead, processes)))
    entropy = secrets.randbits(64) if seed is None else seed
    return tuple(
        BatchStream(
            SeededBatches(loader, (entropy, rank, index)),
            first=first[index],
            workers=processes[index],
            pin_memory=pin_memory,
        )
        for index, loader in enumerate(loaders)
    )


def _ahead(workers: int) -> int:
    """Return how many batches so many processes make ahead."""
    return workers * math.ceil(BATCHES_AHEAD / workers) if workers else 0


def worker_death(
    error: BaseException, where: str, ended_within: Callable[[float], Mapping[int, int]]
) -> TrainingError | None:
    """Return the error for the user if ``error`` comes from a process that has died, else None.

    Parameters
    ----------
    error
        Exception that the training has raised.
    where
        Data set that was loaded, for the error.
    ended_within
        See `BatchStream.ended`. PyTorch's own message lacks the signal if the death is detected while a batch
        is received.
    """
    message = str(error)
    told = isinstance(error, RuntimeError) and message.startswith("DataLoader worker (")
    is_cut_off = isinstance(error, EOFError | OSError)  # also a socket that is not there
    with interrupts_ignored():  # PyTorch raises a death wherever the main thread is, which may be here
        ended = ended_within(SECONDS_OF_A_DEATH if is_cut_off else 0)
    if not told and not (is_cut_off and ended):
        return None
    reasons = [
        f"process {number} was killed by signal: {signal.strsignal(-code)}"
        if code < 0
        else f"process {number} has ended with exit code {code}"
        for number, code in ended.items()
    ]
    reason = "; ".join(reasons) or message.split(" Details are lost")[0].strip().rstrip(".")
    if "Bus error" in reason:
        hint = f"/dev/shm, through which batches come, is too small: {CURE}; then go on with --continue"
    else:
        hint = (
            "repeat the command with --continue (nnUNetv2_train: --c); if the process was killed, most "
            "likely because memory ran out, use fewer --workers"
        )
    return TrainingError(f"a process that loads and augments data has died: {reason}", where=where, hint=hint)


def end_quietly(number: int) -> None:
    """Let a loading process say nothing of connections that the training, which says why it ends, lets go of.

    The thread that hands over shared memory would print a traceback of its own.
    """
    say = sys.excepthook

    def say_unless_cut_off(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if not issubclass(kind, EOFError | ConnectionError):
            say(kind, error, trace)

    sys.excepthook = say_unless_cut_off


def _unchanged(batch: Any) -> Any:
    return batch
