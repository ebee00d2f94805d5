"""Work on blocks of an image, or on cases of a folder, with several processes of this machine."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from swin_umamba.child import Connection
from swin_umamba.errors import SwinUMambaError, unexpected
from swin_umamba.torch_settings import processors, threads_for

logger = logging.getLogger(__name__)

_READY = "ready"
ATTEMPTS = 3
"""How often an item is tried whose process dies."""
PROCESSES_OF_A_PROCESSOR = 4
"""More would only take memory."""

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")

MakeWork = Callable[[], Callable[[Item], Result]]
"""Makes, in another process, what works on an item; pickles."""


@dataclass
class _Process(Generic[Item]):
    number: int
    is_ready: bool
    process: multiprocessing.process.BaseProcess
    connection: Connection
    item: Item | None = None


def run_in_processes(
    make: Callable[[int], MakeWork[Item, Result]],
    items: Sequence[Item],
    workers: int,
    where: Path | None = None,
) -> Iterator[tuple[Item, Result | SwinUMambaError]]:
    """Work on items, and yield what became of each as soon as it is known.

    A process that dies costs its item, on which the next process works. An item during which several have
    died is given up. If the caller ends early, so do the processes.

    Parameters
    ----------
    make
        Returns what makes the work of a process, given its number.
    items
        Blocks or cases; ``str`` names them.
    workers
        Number of processes; each gets its part of the processors.
    where
        What errors are about that do not say so.
    """
    workers = _bearable(workers)
    waiting = deque(items)
    deaths: Counter[Item] = Counter()
    lost = 0  # processes that died while they loaded the model
    threads = threads_for(workers)
    running: list[_Process[Item]] = []
    try:
        while waiting or any(each.item is not None for each in running):
            while waiting and len(running) < workers:
                free = min(set(range(workers)) - {each.number for each in running})
                running.append(_started(free, make(free), where, threads))
            for each in running:
                if each.item is None and waiting:
                    each.item = waiting.popleft()
                    _send(each.connection, each.item)
            for each in _with_news(running):
                answer = _received(each)
                if answer is None and not each.is_ready and lost < ATTEMPTS:
                    lost += 1
                    _tell_death(each, "while it loaded the model", "is started")
                    running.remove(each)
                    waiting.extend([] if each.item is None else [each.item])
                    continue
                if not each.is_ready:
                    _check_start(answer, each)
                    each.is_ready = True
                    continue
                item = each.item
                each.item = None
                if answer is None:
                    running.remove(each)
                if item is None:
                    continue
                if answer is None:
                    deaths[item] += 1
                    if deaths[item] < ATTEMPTS:
                        _tell_death(each, f"while it predicted {item}", "goes on with it")
                        waiting.append(item)
                        continue
                    each.process.join()
                    answer = SwinUMambaError(
                        f"{ATTEMPTS} processes died while they predicted {item}, the last with exit code "
                        f"{each.process.exitcode}",
                        where=where,
                        hint="most likely memory ran out: use fewer --workers",
                    )
                yield item, answer
    finally:
        for each in running:
            _send(each.connection, None) if each.item is None else each.process.terminate()
        for each in running:
            each.process.join()
            each.connection.close()


def _bearable(workers: int) -> int:
    most = PROCESSES_OF_A_PROCESSOR * processors()
    if workers > most:
        logger.warning("%d processes instead of %d, for %d processors", most, workers, processors())
    return min(workers, most)


def _tell_death(process: _Process[Item], when: str, what_another_does: str) -> None:
    process.process.join()
    code = process.process.exitcode
    logger.warning("a process died %s (exit code %s); another %s", when, code, what_another_does)


def outcome_of(function: Callable[[], Result], where: Path | None) -> Result | SwinUMambaError:
    """Return what a function returns or, as one of ours, the error that it raises."""
    try:
        return function()
    except SwinUMambaError as error:
        return error
    except Exception as error:
        logger.debug("in a process", exc_info=True)
        return unexpected(error, where=where)


def _check_start(answer: object, process: _Process[Item]) -> None:
    """Raise an error unless a process says that it can begin; the others could not either."""
    if isinstance(answer, SwinUMambaError):
        raise answer
    if answer != _READY:
        process.process.join()
        raise SwinUMambaError(
            f"a process died while it loaded the model (exit code {process.process.exitcode})",
            hint="most likely memory ran out: use fewer --workers",
        )


def _started(
    number: int, make: MakeWork[Item, Result], where: Path | None, threads: int | None
) -> _Process[Item]:
    context = multiprocessing.get_context("spawn")
    own, its = context.Pipe()
    process = context.Process(target=_work, args=(its, make, where, threads), daemon=True)
    process.start()
    its.close()
    return _Process(number, False, process, own)


def _send(connection: Connection, what: object) -> None:
    try:
        connection.send(what)
    except OSError:  # the process is dead, which is noticed where its answer is awaited
        logger.debug("a process is gone", exc_info=True)


def _with_news(running: Sequence[_Process[Item]]) -> list[_Process[Item]]:
    """Wait, and return the processes that have answered or died."""
    ready: list[Any] = wait([each.connection for each in running])
    return [each for each in running if each.connection in ready]


def _received(process: _Process[Item]) -> Any:
    """Return the answer of a process; None if it has died."""
    try:
        return process.connection.recv()
    except (EOFError, OSError):
        return None


def _work(
    connection: Connection, make: MakeWork[Item, Result], where: Path | None, threads: int | None
) -> None:
    """Work on the items that come, until there are no more, or the other process is gone."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process decides
    if threads is not None:
        torch.set_num_threads(threads)
    work = outcome_of(make, where)
    if isinstance(work, SwinUMambaError):
        connection.send(work)
        return
    connection.send(_READY)
    with contextlib.suppress(EOFError, BrokenPipeError):  # the first process is gone
        while (item := connection.recv()) is not None:
            connection.send(outcome_of(partial(work, item), where))
