"""Interrupt a training so that it can save its state first."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any


class Terminated(KeyboardInterrupt):
    """The process was asked to terminate (SIGTERM), for example by the scheduler of a cluster."""


def interruption(signal_number: int) -> KeyboardInterrupt:
    """Return what a process raises that is told to stop by a signal."""
    return Terminated() if signal_number == signal.SIGTERM else KeyboardInterrupt()


@contextmanager
def signals_handled(handlers: Mapping[int, Callable[[int, FrameType | None], Any] | int]) -> Iterator[None]:
    """Handle signals, by their numbers, in other ways inside the ``with`` block.

    Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with ExitStack() as previous:  # one that raises, of a signal that has just come, stops no other
        for number, handler in handlers.items():
            previous.callback(signal.signal, number, signal.getsignal(number))
            signal.signal(number, handler)
        yield


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Raise ``Terminated`` inside the ``with`` block on the first SIGTERM, and ignore any further one there.

    Does nothing outside the main thread.
    """
    owner = os.getpid()

    def raise_terminated(signal_number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            # A forked child inherits this handler, but should end as if it had not.
            signal.signal(signal_number, signal.SIG_DFL)
            os.kill(os.getpid(), signal_number)
        # A scheduler may tell it to each process, and the first of them to the others once more.
        signal.signal(signal_number, signal.SIG_IGN)
        raise Terminated

    with signals_handled({signal.SIGTERM: raise_terminated}):
        yield


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Handle Ctrl-C and SIGTERM that come inside the ``with`` block at its end, as if they had come then.

    For the start of a process: an interrupt amidst it would leave a process that nobody knows and ends. Does
    nothing outside the main thread.
    """
    came: list[int] = []

    def note(signal_number: int, frame: FrameType | None) -> None:
        came.append(signal_number)

    unheard = (signal.SIG_IGN, None)
    numbers = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) not in unheard]
    try:
        with signals_handled(dict.fromkeys(numbers, note)):
            yield
    finally:
        with ExitStack() as raised:  # the second one, too, if the first raises an exception
            for number in dict.fromkeys(reversed(came)):
                raised.callback(signal.raise_signal, number)


@contextmanager
def default_termination() -> Iterator[None]:
    """Let SIGTERM end the process as if it were not handled; for code that forks and ends its own children.

    Python loses a signal that reaches a child right after the fork if a Python function handles it: the child
    would continue, and the parent would wait for it forever.
    """
    with signals_handled({signal.SIGTERM: signal.SIG_DFL}):
        yield


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C, SIGTERM and the end of child processes inside the ``with`` block.

    For operations that must not be interrupted. PyTorch's data loader raises an error in the main thread when
    the system reports that one of its processes has died.
    """
    handlers: dict[int, signal.Handlers] = {signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: signal.SIG_IGN}
    if hasattr(signal, "SIGCHLD"):
        # If it were ignored, the system would discard the child's exit status.
        handlers[signal.SIGCHLD] = signal.SIG_DFL
    with signals_handled(handlers):
        yield
