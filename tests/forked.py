"""Functions in processes of their own that a test may signal and kill.

The processes are forked from one that has imported what they need, which takes seconds, and has started no
thread. Whoever has to see how Python starts uses `subprocess`.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [f"swin_umamba.{each}" for each in ("nnunet.training.train", "nnunet.trainers", "evaluation.evaluate")]
)
PR_SET_PDEATHSIG = 1
_STARTED: weakref.WeakSet[Forked] = weakref.WeakSet()


def end_all() -> None:
    """End what a test that failed has left running."""
    for process in list(_STARTED):
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)  # so that it ends its own processes
            process.kill(after=30)


class Forked:
    """A running function; the methods are those of `subprocess.Popen`.

    Parameters
    ----------
    function
        Of a module, so that the process finds it. What it returns is the exit code.
    arguments
        Of the function.
    environment
        Of the process; by default this one's.
    """

    def __init__(
        self, function: Callable[..., Any], *arguments: Any, environment: Mapping[str, str] | None = None
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forked-")
        self._streams = tuple(Path(self._folder.name, name) for name in ("stdout", "stderr"))
        for stream in self._streams:
            stream.touch()
        environment = dict(os.environ if environment is None else environment)
        self._process = CONTEXT.Process(
            target=_run, args=(function, arguments, environment, list(map(str, self._streams)))
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        _STARTED.add(self)

    @property
    def returncode(self) -> int | None:
        """The exit code, negative if a signal ended it; None as long as it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, or None."""
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, if it still runs."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ends now
                os.kill(self.pid, number)

    def kill(self, after: float = 0) -> None:
        """End the process, by default at once, and wait for that."""
        self._process.join(after)
        if self.returncode is None:
            self._process.kill()
            self._process.join()

    def wait(self, timeout: float = 600) -> int:
        """Wait for the end; return the exit code."""
        self._process.join(timeout)
        assert self.returncode is not None, "the process goes on"
        return self.returncode

    def communicate(self, timeout: float = 600) -> tuple[str, str]:
        """Wait for the end; return what was printed, and what was said on stderr."""
        self.wait(timeout)
        return self.output(), self.errors()

    def output(self) -> str:
        """Return what has been printed so far."""
        return self._streams[0].read_text()

    def errors(self) -> str:
        """Return what has been said on stderr so far."""
        return self._streams[1].read_text()

    def first_line(self, timeout: float = 600) -> str:
        """Wait for the first line of output, and return it."""
        deadline = time.monotonic() + timeout
        while "\n" not in (output := self.output()):
            assert self.returncode is None, self.errors()
            assert time.monotonic() < deadline, "the process prints nothing"
            time.sleep(0.005)
        return output.partition("\n")[0]


def _run(
    function: Callable[..., Any], arguments: tuple[Any, ...], environment: dict[str, str], streams: list[str]
) -> None:
    """Run in the new process as if it had just been started."""
    multiprocessing.set_start_method(None, force=True)  # Python's default, no longer what started this one
    if sys.platform == "linux":  # it ends with the process that forked it, and so with the tests
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    sys.stdout.flush()
    sys.stderr.flush()
    for number, path in enumerate(streams, start=1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    import torch

    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", "1")))
    sys.exit(function(*arguments))
