"""Locks that are files: only one process at a time does what a lock is for, on one host or on several.

The file records its holder: host, process, and start time of the process. On the same host, a lock is stale
if that process has ended or its number now belongs to another process. The lock of another host is stale if
its holder has not touched it for minutes.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

from swin_umamba.errors import DataError, SwinUMambaError
from swin_umamba.json_files import parse_json
from swin_umamba.opening import open_regular

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_BEATS = 60
MINUTES_UNTIL_STALE = 10
SECONDS_BETWEEN_LOOKS = 0.2
LARGEST_FILE = 4096
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems answer that know no locks, as some of clusters."""


class HeldByAnother(SwinUMambaError):
    """A lock is held by a process that may still be running."""


class Lock:
    """Keeps other processes out, and other objects of this class.

    Parameters
    ----------
    path
        The file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
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
        HeldByAnother
            If another process holds it.
        """
        if self._depth == 0:
            self._take(force)
        self._depth += 1
        if self._depth == 1:
            _heart.add(self.path)
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                _heart.remove(self.path)
                self._release()

    @contextmanager
    def held_when_free(self) -> Iterator[None]:
        """Hold the lock in the ``with`` block, which begins when no other process holds it."""
        with ExitStack() as stack:
            is_told = False
            while True:
                try:
                    stack.enter_context(self.held())
                    break
                except HeldByAnother as other:
                    logger.log(logging.DEBUG if is_told else logging.INFO, "waiting for %s", other.what)
                    is_told = True
                    time.sleep(SECONDS_BETWEEN_LOOKS)
            yield

    def _take(self, force: bool) -> None:
        try:
            self._write_holder(force)
        except OSError:  # a full disk leaves an empty file
            self._release()
            raise

    def _write_holder(self, force: bool) -> None:
        with opened_alone(self.path) as file:
            holder = _holder(file)
            if holder is not None and not force:
                reason = _why_stale(holder, os.fstat(file.fileno()).st_mtime)
                if reason is None:
                    process, host, since = (holder.get(key) for key in ("process", "host", "since"))
                    raise HeldByAnother(f"process {process} on {host}, since {since}", where=self.path)
                logger.warning("the lock %s is taken over: %s", self.path.name, reason)
            file.seek(0)
            file.truncate()
            json.dump({**_this_process(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}, file)

    def _release(self) -> None:
        with suppress(OSError), opened_alone(self.path) as file:
            holder = _holder(file)
            if holder is None or _same(holder, _this_process()):  # of nobody: it was opened just now
                let_go(file)
                self.path.unlink()


class _Heart:
    """Gives signs of life for all locks that this process holds, from one thread: starting one takes time."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held: Counter[Path] = Counter()
        self._is_beating = False

    def add(self, path: Path) -> None:
        with self._guard:
            self._held[path] += 1
            if not self._is_beating:
                self._is_beating = True
                threading.Thread(target=self._beat, daemon=True).start()

    def remove(self, path: Path) -> None:
        with self._guard:
            self._held[path] -= 1
            if not self._held[path]:
                del self._held[path]

    def _beat(self) -> None:
        while True:
            time.sleep(SECONDS_BETWEEN_BEATS)
            with self._guard:
                held = list(self._held)
                self._is_beating = bool(held)
            if not held:
                return
            for path in held:
                with suppress(OSError):
                    os.utime(path)


_heart = _Heart()


def _new_heart() -> None:
    """Forget the locks of the process that this one was forked from: its thread is not here."""
    global _heart
    _heart = _Heart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_heart)


def _this_process() -> dict[str, Any]:
    return _described(os.getpid())


@lru_cache(maxsize=1)
def _described(process: int) -> dict[str, Any]:
    return {"host": socket.gethostname(), "process": process, "started": _start_of(process)}


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one.get(key) == other.get(key) for key in ("host", "process", "started"))


def _start_of(process: int) -> str | None:
    """Return what distinguishes a process from others that had its number.

    Returns
    -------
    str or None
        None if the system has nothing, or if the process has ended and nobody has asked for its exit code.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # The name of the program, in parentheses, may contain any character.
        fields = (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        )
        state, threads, start = (fields.split()[number] for number in (0, 17, 19))
    except (OSError, IndexError):
        return None
    # The first thread of a process is listed as dead while others still run.
    return None if state in "ZX" and int(threads) < 2 else f"{boot} {start}"


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
def opened_alone(path: Path) -> Iterator[TextIO]:
    """Open a text file to read and append while no other process does; it is created if necessary.

    Where the file system has no locks, others are not kept out.
    """
    if sys.platform == "win32":
        from filelock import FileLock

        # Windows replaces and removes no open file: the lock is another file beside it.
        guard = FileLock(path.with_name(f".{path.name}.guard"))
        with guard, open(path, "a+", encoding="utf-8", newline="", opener=open_regular) as file:
            yield file
    else:
        while True:
            file = open(path, "a+", encoding="utf-8", opener=open_regular)  # noqa: SIM115 - closed below
            with file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX)
                except OSError as error:
                    if error.errno not in _NO_LOCKS:
                        raise
                try:  # another process may have removed it between opening and locking
                    current = os.path.samestat(os.fstat(file.fileno()), path.stat())
                except FileNotFoundError:
                    current = False
                if current:
                    yield file
                    return


def let_go(file: TextIO) -> None:
    """Let a file that is open alone be replaced or removed within that block, for which Windows closes it.

    Elsewhere it stays open: it is its own lock.
    """
    if sys.platform == "win32":
        file.close()


def _holder(file: TextIO) -> dict[str, Any] | None:
    """Return the holder of a lock; None if there is none, or a killed process left an incomplete file."""
    file.seek(0)
    try:
        return parse_json(file.read(LARGEST_FILE), dict, where=file.name)
    except DataError:
        return None
