"""Starting the processes of one host, as ``torchrun`` does for one or several."""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

from swin_umamba.child import Connection, end_with_parent
from swin_umamba.distributed.watch import DERIVED, HINT
from swin_umamba.errors import SwinUMambaError, TrainingError
from swin_umamba.extensions import load_extensions
from swin_umamba.interrupt import interruption, interrupts_deferred, signals_handled
from swin_umamba.torch_settings import apply_settings, threads_for

logger = logging.getLogger(__name__)

SECONDS_TO_FOLLOW = 150.0
"""Time for the other ranks to leave after the first one: they may have to notice first that it is lost."""


@dataclass
class _Rank:
    process: Any
    connection: Connection
    outcome: tuple[bool, Any] | None = None
    """Whether it was successful, and the result or error."""
    given_up: bool = False

    def receive(self) -> None:
        """Take the outcome, if it has been sent."""
        try:
            if self.outcome is None and self.connection.poll():
                self.outcome = self.connection.recv()
        except (EOFError, OSError):
            pass


def run_on_ranks(function: Callable[..., Any], arguments: Sequence[Any], size: int) -> Any:
    """Call a function in several processes of this host that can join each other; return the first's result.

    The processes log through this one. Ctrl-C and SIGTERM are passed on to them.

    Parameters
    ----------
    function, arguments
        Function of a module, and its arguments; what it takes and returns must be picklable.
    size
        Number of processes.

    Raises
    ------
    BaseException
        What stopped the first process that stopped.
    TrainingError
        If that process was killed.
    """
    from torch._C._distributed_c10d import TCPStore

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))  # not reachable from other hosts
    listener.listen()
    store = TCPStore(
        "127.0.0.1",
        listener.getsockname()[1],
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )
    context = multiprocessing.get_context("spawn")
    records: Any = context.Queue()
    forwarder = logging.handlers.QueueListener(records, _Forward())
    forwarder.start()
    ranks: list[_Rank] = []
    level = logging.getLogger("swin_umamba").getEffectiveLevel()
    with _passing_on_signals(ranks) as told:
        try:
            for rank in range(size):
                with interrupts_deferred():  # until it can be told
                    if told:
                        break
                    mine, theirs = context.Pipe(duplex=False)
                    place = _Place(rank, size, store.port, threads_for(size), level)
                    process = context.Process(target=_run, args=(function, arguments, place, theirs, records))
                    process.start()
                    ranks.append(_Rank(process, mine))
                    theirs.close()
            _wait_for(ranks)
        finally:
            for each in ranks:
                if each.process.is_alive():
                    each.given_up = True
                    each.process.kill()
                each.process.join()
            forwarder.stop()
    if told and (len(ranks) < size or any(each.outcome is None for each in ranks)):
        # A signal ends a process that has not begun to handle it.
        raise interruption(told[0])
    return _result_of(ranks)


@dataclass(frozen=True)
class _Place:
    """What a process is to know of itself."""

    rank: int
    size: int
    port: int
    threads: int | None
    level: int


def _run(
    function: Callable[..., Any], arguments: Sequence[Any], place: _Place, outcome: Connection, records: Any
) -> None:
    os.environ |= {
        "RANK": str(place.rank),
        "LOCAL_RANK": str(place.rank),
        "WORLD_SIZE": str(place.size),
        "LOCAL_WORLD_SIZE": str(place.size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(place.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is in the process that started this one
    }
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    handler = logging.handlers.QueueHandler(records)
    if place.rank:
        handler.addFilter(lambda record: _named(record, place.rank))
    ours = logging.getLogger("swin_umamba")
    ours.addHandler(handler)
    ours.setLevel(place.level)
    ours.propagate = False
    apply_settings()
    end_with_parent()
    try:
        load_extensions()
        import torch

        if place.threads is not None:
            torch.set_num_threads(place.threads)
        result = function(*arguments)
    except BaseException as error:
        if ours.isEnabledFor(logging.DEBUG):
            ours.debug("rank %d", place.rank, exc_info=True)
        outcome.send((False, _picklable(error)))
    else:
        outcome.send((True, result))
    outcome.close()
    records.close()
    records.join_thread()


def _named(record: logging.LogRecord, rank: int) -> bool:
    record.msg = f"rank {rank}: {record.msg}"
    return True


def _picklable(error: BaseException) -> BaseException:
    if isinstance(error, SwinUMambaError | KeyboardInterrupt):
        return error
    return TrainingError(f"unexpected {type(error).__name__}: {error}", hint="report what --debug prints")


class _Forward(logging.Handler):
    """Hands the records of other processes to the loggers of this one."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).handle(record)


def _wait_for(ranks: Sequence[_Rank]) -> None:
    """Wait until all processes have ended; some time after the first one that failed, kill the others."""
    deadline = float("inf")
    while running := [each for each in ranks if each.process.is_alive()]:
        if time.monotonic() > deadline:
            return
        wait([each.process.sentinel for each in running], timeout=1)
        for each in ranks:
            each.receive()
            failed = each.outcome is not None and not each.outcome[0]
            if failed or (not each.process.is_alive() and each.process.exitcode):
                deadline = min(deadline, time.monotonic() + SECONDS_TO_FOLLOW)
    for each in ranks:
        each.receive()


def _result_of(ranks: Sequence[_Rank]) -> Any:
    killed = [
        (number, each.process.exitcode)
        for number, each in enumerate(ranks)
        if each.process.exitcode < 0 and not each.given_up
    ]
    if killed:
        number, code = killed[0]
        raise TrainingError(
            f"rank {number} was killed by signal: {signal.strsignal(-code)}",
            hint="if memory ran out, use fewer --workers or a smaller --batch-size; continue with the "
            "same command and --continue",
        )
    errors = [error for each in ranks if each.outcome is not None for ok, error in [each.outcome] if not ok]
    if errors:
        # What is derived from the error of another rank says so.
        raise next((error for error in errors if DERIVED not in str(error)), errors[0])
    if silent := [number for number, each in enumerate(ranks) if each.outcome is None]:
        raise TrainingError(f"rank {silent[0]} has ended without a result", hint=HINT)
    assert ranks[0].outcome is not None
    return ranks[0].outcome[1]


@contextmanager
def _passing_on_signals(ranks: Sequence[_Rank]) -> Iterator[list[int]]:
    """Within the ``with`` block, pass on Ctrl-C and SIGTERM, which the ranks answer by leaving.

    Yields a list, which is filled with the signals that have come.
    """
    told: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        if not ranks:
            raise interruption(number)
        told.append(number)
        for each in ranks:
            if each.process.pid is not None and each.process.is_alive():
                os.kill(each.process.pid, number)

    with signals_handled({signal.SIGINT: pass_on, signal.SIGTERM: pass_on}):
        yield told
