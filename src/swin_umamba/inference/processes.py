"""Work on the blocks of an image with several processes of this machine."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from swin_umamba.errors import SwinUMambaError
from swin_umamba.inference.blocks.division import Block
from swin_umamba.inference.blocks.job import BlockJob, BlockResult, BlockWorker, outcome_of
from swin_umamba.torch_settings import threads_for

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Predictor

logger = logging.getLogger(__name__)

_READY = "ready"
ATTEMPTS = 3
"""How often a block is tried whose process dies."""

MakePredictor = Callable[[], "Predictor"]
"""Makes the predictor in another process; pickles."""


@dataclass
class _Process:
    number: int
    is_ready: bool
    process: multiprocessing.process.BaseProcess
    connection: Connection
    block: Block | None = None


def run_in_processes(
    make: Callable[[int], MakePredictor], job: BlockJob, blocks: Sequence[Block], workers: int
) -> Iterator[tuple[Block, BlockResult | SwinUMambaError]]:
    """Predict blocks, and yield what became of each as soon as it is known.

    A process that dies costs its block, which the next process predicts. A block during which several have
    died is given up. If the caller ends early, so do the processes.

    Parameters
    ----------
    make
        Returns what makes the predictor of a process, given its number.
    job
        The image.
    blocks
        What to predict.
    workers
        Number of processes; each gets its part of the processors.
    """
    waiting = deque(blocks)
    deaths: Counter[int] = Counter()
    lost = 0  # processes that died while they loaded the model
    threads = threads_for(workers)
    running: list[_Process] = []
    try:
        while waiting or any(each.block is not None for each in running):
            while waiting and len(running) < workers:
                free = min(set(range(workers)) - {each.number for each in running})
                running.append(_started(free, make(free), job, threads))
            for each in running:
                if each.block is None and waiting:
                    each.block = waiting.popleft()
                    _send(each.connection, each.block)
            for each in _with_news(running):
                answer = _received(each)
                if answer is None and not each.is_ready and lost < ATTEMPTS:
                    lost += 1
                    running.remove(each)
                    waiting.extend([] if each.block is None else [each.block])
                    continue
                if not each.is_ready:
                    _check_start(answer, each)
                    each.is_ready = True
                    continue
                block = each.block
                each.block = None
                if answer is None:
                    running.remove(each)
                    each.process.join()
                if block is None:
                    continue
                if answer is None:
                    deaths[block.number] += 1
                    if deaths[block.number] < ATTEMPTS:
                        logger.warning(
                            "a process died (exit code %s); its block is predicted by another",
                            each.process.exitcode,
                        )
                        waiting.append(block)
                        continue
                    answer = SwinUMambaError(
                        f"{ATTEMPTS} processes died while they predicted block {block.number}, the last with "
                        f"exit code {each.process.exitcode}",
                        where=job.source.path,
                        hint="most likely memory ran out: use fewer --workers",
                    )
                yield block, answer
    finally:
        for each in running:
            _send(each.connection, None) if each.block is None else each.process.terminate()
        for each in running:
            each.process.join()
            each.connection.close()


def _check_start(answer: object, process: _Process) -> None:
    """Raise an error unless a process says that it can begin; the others could not either."""
    if isinstance(answer, SwinUMambaError):
        raise answer
    if answer != _READY:
        process.process.join()
        raise SwinUMambaError(
            f"a process died while it loaded the model (exit code {process.process.exitcode})",
            hint="most likely memory ran out: use fewer --workers",
        )


def _started(number: int, make: MakePredictor, job: BlockJob, threads: int | None) -> _Process:
    context = multiprocessing.get_context("spawn")
    own, its = context.Pipe()
    process = context.Process(target=_work, args=(its, make, job, threads), daemon=True)
    process.start()
    its.close()
    return _Process(number, False, process, own)


def _send(connection: Connection, what: Block | None) -> None:
    try:
        connection.send(what)
    except OSError:  # the process is dead, which is noticed where its answer is awaited
        logger.debug("a process is gone", exc_info=True)


def _with_news(running: Sequence[_Process]) -> list[_Process]:
    """Wait, and return the processes that have answered or died."""
    ready: list[Any] = wait([each.connection for each in running])
    return [each for each in running if each.connection in ready]


def _received(process: _Process) -> Any:
    """Return the answer of a process; None if it has died."""
    try:
        return process.connection.recv()
    except (EOFError, OSError):
        return None


def _work(connection: Connection, make: MakePredictor, job: BlockJob, threads: int | None) -> None:
    """Predict the blocks that come, until there are no more, or the other process is gone."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process decides
    if threads is not None:
        torch.set_num_threads(threads)
    worker = outcome_of(lambda: BlockWorker(make(), job), job)
    if isinstance(worker, SwinUMambaError):
        connection.send(worker)
        return
    connection.send(_READY)
    with contextlib.suppress(EOFError, BrokenPipeError):  # the first process is gone
        while (block := connection.recv()) is not None:
            connection.send(outcome_of(partial(worker.run, block), job))
