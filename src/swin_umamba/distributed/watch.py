"""What ends the training of all ranks: who said what went wrong, and who fell silent.

A rank that fails writes its reason into the store that all ranks share; the first reason counts for all. Each
rank also writes a sign of life every second, and a thread looks at those of the others: a rank that was
killed, or whose host is lost, cannot say anything.
"""

from __future__ import annotations

import _thread
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TypeVar

from torch import distributed as dist
from torch.distributed.distributed_c10d import Store

from swin_umamba.errors import SwinUMambaError, TrainingError
from swin_umamba.interrupt import Terminated, interruption
from swin_umamba.json_files import parse_json

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_BEATS = 1.0
SECONDS_UNTIL_LOST = 60.0
SECONDS_UNTIL_LOST_IF_BROKEN = 5.0
"""If a connection has broken, silence is no longer mere slowness."""
SECONDS_OF_HALT = 10.0
"""After a longer pause of its own, a rank does not hold the silence of others against them."""
SECONDS_TO_LEAVE = 30.0
"""Time for the main thread to leave in order; it may wait for a GPU that waits for a lost rank forever."""
SECONDS_TO_SAVE = 120.0
SECONDS_FOR_THE_STORE = 30.0
"""In which it answers, unless its process has been halted or is lost."""
HINT = "continue with the same command and --continue"
DERIVED = "all ranks stop, since"
"""Begins the message of a rank that stops for another one."""

_FAULT, _SAVED = "fault", "saved"

T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """Why the training of all ranks ends.

    Attributes
    ----------
    rank, host
        The rank that it comes from, and its host; empty if unknown.
    what, where, hint
        As in ``SwinUMambaError``.
    exit_code
        Exit code of all ranks.
    signal_number
        Signal that the rank was told to stop with; 0 if none.
    """

    rank: int
    host: str
    what: str
    where: str | None
    hint: str | None
    exit_code: int
    signal_number: int = 0

    @classmethod
    def of(cls, rank: int, error: BaseException) -> Fault:
        """Return the fault of a rank that raises an error."""
        host = socket.gethostname()
        if isinstance(error, KeyboardInterrupt):
            number, code = (signal.SIGTERM, 143) if isinstance(error, Terminated) else (signal.SIGINT, 130)
            return cls(rank, host, f"told to stop by {number.name}", None, HINT, code, number)
        if isinstance(error, SwinUMambaError):
            return cls(rank, host, error.what, error.where, error.hint, error.exit_code)
        return cls(rank, host, f"unexpected {type(error).__name__}: {error}", None, HINT, 1)

    @classmethod
    def silent(cls, rank: int) -> Fault:
        """Return the fault of a rank that gives no sign of life."""
        hint = f"look whether it was killed (memory?) or its host was lost; then {HINT}"
        return cls(rank, "", "no sign of life", None, hint, 1)

    @property
    def described(self) -> str:
        """The rank and what happened to it, in a line."""
        return f"rank {self.rank}{f' on {self.host}' if self.host else ''}: {self.what}"

    def as_error(self) -> BaseException:
        """Return what the other ranks raise: the same interrupt, or an error with the same exit code."""
        if self.signal_number:
            return interruption(self.signal_number)
        error = TrainingError(f"{DERIVED} {self.described}", where=self.where, hint=self.hint)
        error.exit_code = self.exit_code
        return error


def is_broken_connection(error: BaseException) -> bool:
    """Return whether an exchange with other ranks failed: a consequence of what happened to one of them."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in ("gloo", "NCCL", "Gloo"))
    )


class Watch:
    """Signs of life and reasons of the ranks, in the store that they share.

    Parameters
    ----------
    store
        A connection to the store that nobody else uses: its calls wait for each other.
    server
        Kept as long as this object: perhaps the store itself is in this process.
    rank, size
        Number of this process, and number of processes.

    Attributes
    ----------
    before_exit
        Called before a process is ended whose main thread does not leave; saves what can be saved.
    """

    def __init__(self, store: Store, server: object, rank: int, size: int) -> None:
        self.store, self.server, self.rank, self.size = store, server, rank, size
        self.before_exit: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self._leaving = threading.Event()
        self._ended = threading.Event()
        self._patience = SECONDS_UNTIL_LOST
        self._number = 0
        self._reached = self._looked = self._halted = time.monotonic()
        self._is_refused = False
        self._threads = [
            threading.Thread(target=each, daemon=True) for each in (self._exchange, self._end_if_necessary)
        ]
        store.set_timeout(timedelta(seconds=SECONDS_FOR_THE_STORE))
        self._beat()

    def start(self) -> None:
        """Begin to look at the other ranks, which all have given a first sign of life."""
        self._reached = time.monotonic()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the threads; one that waits for a lost store ends with the process."""
        self._leaving.set()
        self._ended.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=5)

    def tell(self, error: BaseException) -> None:
        """Give the reason why this rank leaves, unless another one gave one before."""
        self._leaving.set()  # the main thread is on its way
        if not is_broken_connection(error):
            self._record(Fault.of(self.rank, error))

    def cause(self) -> Fault | None:
        """Return the first reason that was given, after a while who fell silent; None if unknown.

        However long this process is halted meanwhile, it has looked at the others before it answers.
        """
        begin = time.monotonic()
        self._patience = SECONDS_UNTIL_LOST_IF_BROKEN
        while self._fault is None and not self._ended.is_set() and self._threads[0].is_alive():
            if self._looked > max(begin, self._halted) + 2 * self._patience:
                break
            time.sleep(SECONDS_BETWEEN_BEATS / 4)
        return self._fault

    def error_for(self, error: BaseException) -> BaseException:
        """Return the error that this rank is to leave with: its own if it was first, else the first one's."""
        fault = self.cause() if is_broken_connection(error) else self._fault
        if fault is None:
            if not is_broken_connection(error):
                return error
            return TrainingError(f"the connection to another rank has broken: {error}", hint=HINT)
        return error if fault.rank == self.rank else fault.as_error()

    def say_saved(self) -> None:
        """Let the others leave, since the first rank has saved."""
        self._ask(lambda: self.store.set(_SAVED, "1"))

    def wait_for_saved(self) -> None:
        """Wait until the first rank has saved or is lost: a launcher ends all ranks when the first leaves."""
        deadline = time.monotonic() + SECONDS_TO_SAVE
        while time.monotonic() < deadline and not self._ended.is_set():
            if self._ask(lambda: self.store.check([_SAVED])) is not False:
                return
            time.sleep(SECONDS_BETWEEN_BEATS / 4)

    def _record(self, fault: Fault) -> None:
        text = json.dumps(asdict(fault))
        # The others learn it from nowhere else: a look that waits for the store is waited for.
        first = self._ask(lambda: self.store.compare_set(_FAULT, "", text), 2 * SECONDS_FOR_THE_STORE)
        self._fault = self._fault or (
            fault if first is None else Fault(**parse_json(first, dict, where=_FAULT))
        )

    def _ask(self, action: Callable[[], T], patience: float = 5.0) -> T | None:
        """Return what an action on the store gives; None if the store cannot be reached.

        Parameters
        ----------
        action
            What to do.
        patience
            Seconds to wait for an action of another thread.
        """
        if not self._lock.acquire(timeout=patience):
            return None
        try:
            answer = action()
        except (RuntimeError, dist.DistError):
            self._is_refused = True
            return None
        else:
            self._is_refused = False
            return answer
        finally:
            self._lock.release()

    def _beat(self) -> None:
        self._number += 1
        self.store.set(f"beat{self.rank}", str(self._number))

    def _exchange(self) -> None:
        """Give signs of life, and look at those of the others and at their reasons."""
        others = [rank for rank in range(self.size) if rank != self.rank]
        last = time.monotonic()
        seen = dict.fromkeys(others, (b"", last))

        def exchange() -> tuple[list[bytes], bytes | None]:
            self._beat()
            told = self.store.get(_FAULT) if self.store.check([_FAULT]) else None
            return self.store.multi_get([f"beat{rank}" for rank in others]), told

        while not self._ended.wait(SECONDS_BETWEEN_BEATS):
            now = time.monotonic()
            if now - last > SECONDS_OF_HALT:  # this process was halted, and so perhaps all were
                seen = {rank: (beat, now) for rank, (beat, _) in seen.items()}
                self._halted = now
            last = now
            if (answer := self._ask(exchange)) is None:
                continue
            self._reached = last = time.monotonic()
            beats, told = answer
            for rank, beat in zip(others, beats, strict=True):
                if beat != seen[rank][0]:
                    seen[rank] = beat, now
            if told is not None:
                self._fault = self._fault or Fault(**parse_json(told, dict, where=_FAULT))
            silent = [rank for rank, (_, since) in seen.items() if now - since > self._patience]
            if silent and self._fault is None:
                self._record(Fault.silent(silent[0]))
            self._looked = now

    def _end_if_necessary(self) -> None:
        """Tell the main thread to leave if another rank has; if it does not, save and end the process."""
        last = time.monotonic()
        while not self._ended.wait(SECONDS_BETWEEN_BEATS):
            now = time.monotonic()
            if now - last > SECONDS_OF_HALT:
                self._reached = now
            last = now
            # The store is on the first rank's host; unless it refuses to answer, it may be halted.
            if now - self._reached > (self._patience if self._is_refused else SECONDS_UNTIL_LOST):
                self._fault = self._fault or Fault.silent(0)
            if self._fault is not None:
                break
        fault = self._fault
        if fault is None or self._ended.is_set():
            return
        if not self._leaving.is_set():
            _thread.interrupt_main(signal.SIGTERM)
        leaves = self._leaving.wait(SECONDS_TO_LEAVE)
        if leaves and self._ended.wait(SECONDS_TO_SAVE + SECONDS_TO_LEAVE):
            return
        logger.error("%s %s\n  what to do: %s", DERIVED, fault.described, fault.hint or HINT)
        try:
            if not leaves:
                self.before_exit()
        finally:
            sys.stderr.flush()
            os._exit(fault.exit_code)
