"""The lock of a fold: only one training at a time writes to a fold folder.

The file records its holder: host, process, and start time of the process. On the same host, a lock is stale
if that process has ended or its number now belongs to another process. The lock of another host is stale if
its holder has not touched it for minutes.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from swin_umamba.errors import DataError, TrainingError
from swin_umamba.json_files import parse_json
from swin_umamba.opening import open_regular

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

LOCK_FILE = "training.lock"
SECONDS_BETWEEN_BEATS = 60
MINUTES_UNTIL_STALE = 10
LARGEST_FILE = 4096


class FoldLock:
    """Keeps other trainings out of a fold folder.

    Parameters
    ----------
    folder
        The fold folder; must exist.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_FILE
        self._depth = 0

    @contextmanager
    def held(self, *, force: bool = False) -> Iterator[None]:
        """Hold the lock in the ``with`` block; nested blocks have no effect.

        Parameters
        ----------
        force
            Whether to take the lock from any holder.

        Raises
        ------
        TrainingError
            If another training holds it.
        """
        if self._depth == 0:
            self._take(force)
        self._depth += 1
        ended = threading.Event()
        if self._depth == 1:
            threading.Thread(target=self._beat, args=(ended,), daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            self._depth -= 1
            if self._depth == 0:
                self._release()

    def _take(self, force: bool) -> None:
        with _opened(self.path) as file:
            holder = _holder(file)
            if holder is not None and not force:
                reason = _why_stale(holder, os.fstat(file.fileno()).st_mtime)
                if reason is None:
                    raise TrainingError(
                        f"another training of this fold is running: process {holder.get('process')} on "
                        f"{holder.get('host')}, since {holder.get('since')}",
                        where=self.path,
                        hint="wait for it, or end it; if there is none, give --force-unlock "
                        "(nnUNetv2_train: SWIN_UMAMBA_FORCE_UNLOCK=1)",
                    )
                logger.warning("the lock of an earlier training is taken over: %s", reason)
            file.seek(0)
            file.truncate()
            json.dump({**_this_process(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}, file)

    def _release(self) -> None:
        with suppress(OSError), _opened(self.path) as file:
            holder = _holder(file)
            if holder is not None and _same(holder, _this_process()):
                self.path.unlink()

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(SECONDS_BETWEEN_BEATS):
            with suppress(OSError):
                os.utime(self.path)


def _this_process() -> dict[str, Any]:
    process = os.getpid()
    return {"host": socket.gethostname(), "process": process, "started": _start_of(process)}


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one.get(key) == other.get(key) for key in ("host", "process", "started"))


def _start_of(process: int) -> str | None:
    """Return what distinguishes a process from others that had its number; None if the system has nothing."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # The name of the program, in parentheses, may contain any character.
        fields = (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        )
        return f"{boot} {fields.split()[19]}"
    except (OSError, IndexError):
        return None


def _why_stale(holder: dict[str, Any], touched: float) -> str | None:
    """Return the reason why a lock is stale; None if its holder may still be running."""
    host, process, started = (holder.get(key) for key in ("host", "process", "started"))
    if host == socket.gethostname() and isinstance(process, int) and isinstance(started, str):
        return None if _start_of(process) == started else f"process {process} has ended"
    minutes = (time.time() - touched) / 60
    if minutes > MINUTES_UNTIL_STALE:
        return f"process {process} on {host} gave no sign of life for {minutes:.0f} minutes"
    return None


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """Open the lock file exclusively inside the ``with`` block, and create it if necessary."""
    while True:
        file = open(path, "a+", encoding="utf-8", opener=open_regular)  # noqa: SIM115 - closed below
        with file:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX)
            try:  # another process may have removed it between opening and locking
                current = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                current = False
            if current:
                yield file
                return


def _holder(file: IO[str]) -> dict[str, Any] | None:
    """Return the holder of a lock; None if there is none, or a killed process left an incomplete file."""
    file.seek(0)
    try:
        return parse_json(file.read(LARGEST_FILE), dict, where=file.name)
    except DataError:
        return None
