"""SIGTERM as an exception, and signals that wait for nobody."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from swin_umamba.interrupt import (
    Terminated,
    default_termination,
    interrupts_deferred,
    interrupts_ignored,
    terminate_as_interrupt,
)


def test_sigterm_becomes_an_exception_in_the_block() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), terminate_as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    assert issubclass(Terminated, KeyboardInterrupt)


def test_signals_are_ignored_while_saving() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupts_ignored():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_deferred_signals_come_at_the_end(number: signal.Signals, kind: type[BaseException]) -> None:
    done = []

    def work() -> None:
        os.kill(os.getpid(), number)
        done.append("all")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(kind), terminate_as_interrupt(), interrupts_deferred():
            work()
        with interrupts_deferred():
            pass
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with interrupts_deferred():  # what the process does not hear is not deferred either
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == ["all"]


def test_both_deferred_signals_come() -> None:
    def send(numbers: tuple[int, ...]) -> None:
        for number in numbers:
            os.kill(os.getpid(), number)

    seen: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        for order in (signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT):
            with pytest.raises(KeyboardInterrupt), interrupts_deferred():
                send(order)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert seen == [signal.SIGTERM] * 2


def test_an_interrupt_amidst_restoring_restores_all(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    real = signal.signal
    real(signal.SIGINT, signal.default_int_handler)
    handler = signal.getsignal(signal.SIGTERM)

    def interrupted(number: int, new: Any) -> Any:
        old = real(number, new)
        if new is signal.default_int_handler:
            signal.raise_signal(signal.SIGINT)
        return old

    monkeypatch.setattr(signal, "signal", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt), interrupts_deferred():
            pass
    finally:
        monkeypatch.undo()
        real(signal.SIGINT, before)
    assert signal.getsignal(signal.SIGTERM) is handler


def test_other_threads_leave_signals_alone() -> None:
    seen = []

    def work() -> None:
        with terminate_as_interrupt(), interrupts_ignored(), interrupts_deferred():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX processes")
def test_a_forked_child_just_ends() -> None:
    with terminate_as_interrupt():
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_default_termination_suspends_the_handler() -> None:
    with terminate_as_interrupt():
        handler = signal.getsignal(signal.SIGTERM)
        with default_termination():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is handler
