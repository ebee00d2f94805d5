"""Writing files so that a reader sees either the old content or the new one, never half of it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from swin_umamba.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PREFIX = ".writing-"
# Where files cannot be locked, a writer that has not touched its temporary file for so long counts as dead.
SECONDS_UNTIL_STALE = 600


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block ends without an error.

    The temporary file lies in the same folder (so that the replacement is one rename), keeps the full
    suffix of ``path`` (writers choose their format by it) and is synced to disk before the rename. If the
    block raises, it and the folders made for it are removed and ``path`` stays as it was. What a killed
    writer of the same file has left behind is removed, too.

    Parameters
    ----------
    path
        Final place of the file. Missing parent folders are made.

    Yields
    ------
    Path
        Where the block has to write.

    Raises
    ------
    OutputError
        If the folder cannot be made or written to, or the disk is full.
    """
    path = Path(path)
    temporary: Path | None = None
    lock = None
    replaced = False
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        temporary, lock = _make_temporary(path)
        yield temporary
        put_in_place(temporary, path)
        replaced = True
    except OSError as error:
        raise OutputError(
            f"cannot write the file: {error.strerror or error}",
            where=path,
            cure="check that the folder exists, is writable and has free space; nothing was changed",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)
        if not replaced:
            with suppress(OSError):  # another writer may have put something there
                for folder in made:
                    folder.rmdir()


def put_in_place(temporary: Path, path: Path) -> None:
    """Let a finished file of the same folder become ``path`` in one step, synced to disk before and after."""
    _sync(temporary)
    # mkstemp makes files private; a result gets the permissions that any new file would get.
    temporary.chmod(0o666 & ~_current_umask())
    os.replace(temporary, path)
    _sync(path.parent)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that becomes ``path`` when the block ends without an error.

    A folder that was at ``path`` is removed after the new one has taken its place. If the block raises, the
    temporary folder is removed and ``path`` stays as it was.

    Parameters
    ----------
    path
        Final place of the folder. Missing parent folders are made.

    Yields
    ------
    Path
        The folder to write files into, each through ``atomic_write``.

    Raises
    ------
    OutputError
        If the folder cannot be made or moved to its place.
    """
    path = Path(path)
    made = [folder for folder in path.parents if not folder.exists()]
    temporary, old = None, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=PREFIX, suffix=path.name, dir=path.parent))
        yield temporary
        temporary.chmod(0o777 & ~_current_umask())
        if path.exists():  # a folder with content cannot be replaced in one step
            old = temporary.with_name(f"{temporary.name}.old")
            os.replace(path, old)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise OutputError(
            f"cannot write the folder: {error.strerror or error}",
            where=path,
            cure="check that the place exists, is writable and has free space; nothing was changed",
        ) from error
    finally:
        if old is not None and not path.exists():
            os.replace(old, path)
        for leftover in (temporary, old):
            if leftover is not None:
                shutil.rmtree(leftover, ignore_errors=True)
        if not path.exists():
            with suppress(OSError):  # another writer may have put something there
                for folder in made:
                    folder.rmdir()


def cache_folder() -> Path:
    """Return the folder for what can be fetched or made again; it may not exist yet.

    It is ``SWIN_UMAMBA_CACHE``, else ``swin-umamba`` in ``XDG_CACHE_HOME``, else ``~/.cache/swin-umamba``.
    """
    if own := os.environ.get("SWIN_UMAMBA_CACHE"):
        return Path(own).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "swin-umamba"


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content as hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def check_output_folder(folder: str | Path) -> None:
    """Raise ``OutputError`` if ``folder`` is no folder, or could not be made or written to; makes nothing.

    For use before long work whose result goes there.
    """
    folder = Path(folder)
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise OutputError(
            "results cannot be written there: it is a file, not a folder",
            where=nearest,
            cure="give another output folder, or move the file away",
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(
            "results cannot be written there: no permission",
            where=nearest,
            cure="give another output folder, or change its permissions",
        )


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, data: Any) -> None:
    """Write ``data`` as indented JSON, atomically. NaN is not JSON and raises ``ValueError``."""
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def append_line(path: str | Path, line: str) -> None:
    """Append one line to a text file in one write, synced to disk; make the file if it is not there.

    A process that is killed in between leaves the whole line or a part of it, never a part of an earlier one.

    Parameters
    ----------
    path
        The file; its folder must exist.
    line
        Without a line break.

    Raises
    ------
    OutputError
        If the line cannot be written as a whole, as on a full disk. The file is then as it was before.
    """
    assert "\n" not in line
    content = f"{line}\n".encode()
    try:
        with open(path, "ab", buffering=0) as file:
            before = os.fstat(file.fileno()).st_size
            try:
                if (written := file.write(content)) != len(content):
                    raise OSError(errno.ENOSPC, f"only {written} of {len(content)} bytes could be written")
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(before)
                raise
    except OSError as error:
        raise OutputError(
            f"cannot append to the file: {error.strerror or error}",
            where=path,
            cure="check that the folder exists, is writable and has free space; nothing was changed",
        ) from error


def _make_temporary(path: Path) -> tuple[Path, int | None]:
    """Make an empty temporary file for ``path``; also return the descriptor that locks it, if the system can.

    The system gives the lock up when the writer ends, however it ends: that tells a dead writer's file from a
    living one's.
    """
    while True:
        descriptor, name = tempfile.mkstemp(prefix=PREFIX, suffix=path.name, dir=path.parent)
        if not _lock(descriptor, wait=True):
            os.close(descriptor)
            return Path(name), None
        if os.fstat(descriptor).st_nlink:
            return Path(name), descriptor
        os.close(descriptor)  # another writer has taken it for a leftover just before it was locked


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file; return whether files can be locked there.

    Raises
    ------
    BlockingIOError
        If somebody else has locked it, and ``wait`` is false.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # some network file systems
        return False
    return True


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of ``path`` that no living writer can have."""
    for leftover in _temporary_files(path.parent):
        # The name in between is mkstemp's: without comparing the length, "a.txt" would match "ba.txt".
        if leftover.name[len(PREFIX) + 8 :] == path.name:
            with suppress(OSError):
                _remove_if_dead(leftover)


def _remove_if_dead(leftover: Path) -> None:
    """Remove a temporary file if nobody has locked it; where files cannot be locked, if it is old."""
    is_old = time.time() - leftover.stat().st_mtime > SECONDS_UNTIL_STALE
    descriptor = os.open(leftover, os.O_RDWR)
    try:
        dead = _lock(descriptor, wait=False) or is_old
        if dead and fcntl is not None:
            leftover.unlink()  # while it is locked, so that a writer that has just made it notices
    finally:
        os.close(descriptor)
    if dead and fcntl is None:
        leftover.unlink()  # Windows removes no open file


@cache
def _temporary_files(folder: Path) -> tuple[Path, ...]:
    """Return the temporary files that were there before this process wrote to ``folder``.

    Kept, as listing a folder anew for each file would take quadratic time.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        return tuple(folder / entry.name for entry in entries if entry.name.startswith(PREFIX))
    return ()


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder for syncing
    # Windows syncs a file only through a descriptor that may write, the others a folder only through one that
    # may not.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _current_umask() -> int:
    # The umask can only be read by setting it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
