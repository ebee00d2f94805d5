"""A function in a process of its own: its log under its name, signals that reach it once, no orphans."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection
from multiprocessing.connection import wait
from typing import Any, Generic, TypeAlias, TypeVar

from swin_umamba.errors import SwinUMambaError, unexpected
from swin_umamba.extensions import load_extensions
from swin_umamba.interrupt import interrupts_deferred, interrupts_ignored, terminate_as_interrupt
from swin_umamba.log import OURS, log_to_stderr
from swin_umamba.progress import show_progress

if sys.platform == "win32":
    Connection: TypeAlias = connection.PipeConnection
else:
    Connection: TypeAlias = connection.Connection

logger = logging.getLogger(__name__)

R = TypeVar("R")

# Processes are spawned, not forked: the calling program may have threads and use a GPU.
_CONTEXT: Any = multiprocessing.get_context("spawn")
_SIGKILL = 9
SECONDS_TO_SAVE = 120
"""How long a process that is told to stop may take for it."""


class ProcessEnded(SwinUMambaError):
    """A process has ended without a result: it was killed or told to stop."""


class Child(Generic[R]):
    """A function that runs in a process of its own.

    The process logs to stderr, each line after its name, prints nothing on stdout, and draws no bars. It ends
    as if by SIGTERM when this process ends, however that happens. Ctrl-C does not reach it: on a terminal all
    processes get it, and this one passes it on with ``stop_all``.

    Parameters
    ----------
    name
        What the lines of its log begin with.
    function, arguments
        What it runs: a function of a module, and arguments that can be pickled.
    """

    def __init__(self, name: str, function: Callable[..., R], *arguments: Any) -> None:
        self.name = name
        self.connection, self._far_end = _CONTEXT.Pipe(duplex=False)
        level = logging.getLogger(OURS).getEffectiveLevel()
        self._process = _CONTEXT.Process(
            target=_run, args=(self._far_end, function, arguments, name, level), name=name
        )

    def start(self) -> None:
        """Start the process; an interrupt is raised once it can be stopped."""
        with interrupts_deferred():
            self._process.start()
        self._far_end.close()  # else its end would not be noticed

    def result(self) -> R:
        """Wait for the end of the process; return the function's result.

        Raises
        ------
        SwinUMambaError
            If the function has raised one, or anything else.
        ProcessEnded
            If the process was killed or told to stop.
        """
        try:
            outcome = self.connection.recv()
        except (EOFError, OSError):  # OSError: it was killed while it sent the result
            outcome = None
        self._process.join()
        if isinstance(outcome, SwinUMambaError):
            raise outcome
        if outcome is None:
            raise ProcessEnded(f"the process {_ending(self._process.exitcode)}")
        found: R = outcome[0]
        return found

    def is_alive(self) -> bool:
        """Return whether the process has been started and has not ended."""
        return self._process.pid is not None and self._process.is_alive()

    def stop(self) -> None:
        """Ask the process to save its state and to end."""
        self._process.terminate()

    def end(self, deadline: float) -> None:
        """Wait for the end of the process until a time on the monotonic clock, then kill it."""
        self._process.join(max(0.0, deadline - time.monotonic()))
        if self._process.is_alive():
            logger.warning("%s does not end, and is killed", self.name)
            self._process.kill()
            self._process.join()


def run_apart(name: str, function: Callable[..., R], *arguments: Any) -> R:
    """Return the result of a function that runs in a process of its own, so that its memory is its own.

    If this process is interrupted, the other one is asked to end, and waited for.

    Raises
    ------
    SwinUMambaError
        As for ``Child.result``, and so is ``ProcessEnded``.
    """
    child = Child(name, function, *arguments)
    try:
        child.start()
        return child.result()
    finally:
        stop_all([child])


def first_done(children: Sequence[Child[R]]) -> list[Child[R]]:
    """Wait until some of the children have a result, or have ended; return these."""
    ready = wait([child.connection for child in children])
    return [child for child in children if child.connection in ready]


def stop_all(children: Sequence[Child[Any]]) -> None:
    """Ask all children to end, and wait for that; meanwhile this process takes no further signals."""
    with interrupts_ignored():
        alive = [child for child in children if child.is_alive()]
        for child in alive:
            child.stop()
        deadline = time.monotonic() + SECONDS_TO_SAVE
        for child in alive:
            child.end(deadline)


def _ending(code: int | None) -> str:
    """Describe the end of a process that has left no result."""
    if code == -signal.SIGTERM or code == 128 + signal.SIGTERM:
        return "was told to stop"
    if code == -_SIGKILL:
        return "was killed, by hand or because memory ran out"
    if code is not None and code < 0:
        return f"was killed by signal: {signal.strsignal(-code)}"
    return f"ended with exit code {code}"


def _run(
    connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...], name: str, level: int
) -> None:
    """Run in the new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    os.dup2(sys.stderr.fileno(), 1)
    show_progress(False)
    log_to_stderr(level, f"{name}: ")
    outcome: SwinUMambaError | tuple[Any]
    try:
        with terminate_as_interrupt():
            load_extensions()
            outcome = (function(*arguments),)
    except SwinUMambaError as error:
        outcome = error
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGTERM)
    except Exception as error:
        logger.debug("%s", name, exc_info=True)
        outcome = unexpected(error, hint="run it alone with --debug and report what it prints")
    connection.send(outcome)


def end_with_parent() -> None:
    """Send SIGTERM to this process as soon as the one that started it has ended, however that happens."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        if sys.platform == "win32":  # where to kill would be to end without saving
            signal.raise_signal(signal.SIGTERM)
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
