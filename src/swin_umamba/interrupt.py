"""Stopping a training from outside, so that it can save first."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM), for example by a cluster's scheduler."""


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Raise ``Terminated`` in the block on SIGTERM. Does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    owner = os.getpid()

    def raise_terminated(signal_number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            # A forked child has inherited this handler: let it end as if it had not.
            signal.signal(signal_number, signal.SIG_DFL)
            os.kill(os.getpid(), signal_number)
        raise Terminated

    previous = signal.signal(signal.SIGTERM, raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def default_termination() -> Iterator[None]:
    """Let SIGTERM end the process as if nobody handled it; for code that forks and ends its own children.

    Python forgets a signal that reaches a child right after the fork if a Python function handles it: the
    child would go on, and the parent wait for it without end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C, SIGTERM and the end of child processes in the block.

    For what must be finished once it has begun. PyTorch's data loader raises an error in the main thread when
    the system reports that one of its processes has died.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: signal.SIG_IGN}
    if hasattr(signal, "SIGCHLD"):
        # Ignoring it would let the system forget how the child ended.
        handlers[signal.SIGCHLD] = signal.SIG_DFL
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
