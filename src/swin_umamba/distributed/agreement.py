"""One decision of all ranks about going on or stopping.

A rank that stopped alone would leave the others waiting in the middle of a step. Each step therefore begins
with a vote: while its result is under way, the network computes; before anything waits for another rank, all
know whether one of them has no batch, or was told to stop.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import distributed as dist

from swin_umamba.distributed.processes import Processes
from swin_umamba.errors import TrainingError
from swin_umamba.interrupt import interruption, signals_handled, terminate_as_interrupt

logger = logging.getLogger(__name__)

T = TypeVar("T")

_RANKS = 2**20
_FAILED = 2**8
"""Above every number of a signal."""


class Agreement:
    """Votes on stopping, and signals that wait for the next one.

    Parameters
    ----------
    processes
        This process and the others. Alone, it changes nothing: errors and signals are raised where they
        happen.

    Attributes
    ----------
    has_stopped
        Whether a vote has stopped all ranks; then none waits for another one.
    """

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.has_stopped = False
        self._signal = 0
        self._deferred = False
        self._error: BaseException | None = None
        self._vote: tuple[Any, torch.Tensor] | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the ``with`` block, take Ctrl-C and SIGTERM: at once, or deferred at the next vote."""
        if self.processes.watch is None:
            with terminate_as_interrupt():
                yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            self._signal = max(self._signal, number)
            if not self._deferred:
                self._deferred = True  # the first one counts: launchers send them more than once
                raise interruption(number)

        with signals_handled({signal.SIGINT: handle, signal.SIGTERM: handle}):
            try:
                yield
            finally:
                self._deferred = False

    def defer_signals(self) -> None:
        """Let signals wait for the next vote from now on, while ``listening`` lasts."""
        self._deferred = True
        if self._signal:  # the last one came between two phases
            raise interruption(self._signal)

    def before_step(self, prepare: Callable[[], T]) -> T:
        """Return what a step needs, and begin the vote on it; ``settle`` ends the vote.

        Raises
        ------
        BaseException
            What ``prepare`` raises, after the others know of it.
        """
        if self.processes.size == 1:
            return prepare()
        try:
            result = prepare()
        except BaseException as error:
            self._cast(error)
            self.settle()
            raise
        self._cast(None)
        return result

    def settle(self) -> None:
        """End the vote that has begun, if any.

        Raises
        ------
        KeyboardInterrupt
            If a rank was told to stop; ``Terminated`` after SIGTERM.
        BaseException
            If a rank has failed: its error, or on other ranks a ``TrainingError`` that says so.
        """
        if self._vote is None:
            return
        (work, ballot), self._vote = self._vote, None
        work.wait()
        verdict, rank = divmod(int(ballot), _RANKS)
        if not verdict:
            return
        self.has_stopped = True
        if verdict == _FAILED:
            if self._error is not None:
                raise self._error
            raise self._failure_of(rank)
        logger.warning("rank %d was told to stop by %s; all ranks stop", rank, signal.Signals(verdict).name)
        raise interruption(verdict)

    def _cast(self, error: BaseException | None) -> None:
        self._error = error
        watch = self.processes.watch
        assert watch is not None
        if error is not None:
            watch.tell(error)
        mine = _FAILED if error is not None else self._signal
        ballot = torch.tensor(mine * _RANKS + self.processes.rank if mine else 0, dtype=torch.int64)
        work = dist.all_reduce(ballot, dist.ReduceOp.MAX, group=self.processes.control, async_op=True)
        self._vote = work, ballot

    def _failure_of(self, rank: int) -> BaseException:
        watch = self.processes.watch
        fault = None if watch is None else watch.cause()
        failed = TrainingError(f"rank {rank} has failed", hint="see its log")
        return failed if fault is None else fault.as_error()
