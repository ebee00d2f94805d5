"""Temporary files and folders beside their final place that nobody else can replace.

Anyone who may write to a folder can replace any name in it with a link, even while we write to that name.
Data written to an open file stays ours. For code that writes to a path, the file lies in a private folder and
is reached through that folder's descriptor, which leads to it whatever happens to the name. On systems
without such paths (``/proc/self/fd``), a replaced private folder is noticed only after writing.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

from swin_umamba.opening import open_regular, own_number

if sys.platform != "win32":
    import fcntl

PREFIX = ".writing-"
RANDOM_DIGITS = 8
# If files cannot be locked, a writer that has not touched its temporary file for this long counts as dead.
SECONDS_UNTIL_STALE = 600
_DESCRIPTORS = Path("/proc/self/fd")


@dataclass(frozen=True)
class Temporary:
    """A temporary file or folder.

    Parameters
    ----------
    path
        Path to write to.
    made
        Status right after creation; its permissions are those the system gives to anything new.
    private
        Whether nobody else can replace it, so that it is ours even if the writer has replaced it.
    """

    path: Path
    made: os.stat_result
    private: bool = True

    def open(self) -> BinaryIO:
        """Open the created file for writing."""
        file = open(self.path, "r+b", opener=open_regular)  # noqa: SIM115 - the caller closes it
        if sys.platform != "win32" and not os.path.samestat(os.fstat(file.fileno()), self.made):
            file.close()
            raise _replaced_by_another(self.path)
        return file

    def settle(self, before: os.stat_result | None) -> None:
        """Set the final permissions and sync to disk.

        Parameters
        ----------
        before
            Status of the file or folder to be replaced, whose permissions are kept; None if there is none.

        Raises
        ------
        PermissionError
            If another user has put something else in its place, which is left alone.
        """
        is_folder = stat.S_ISDIR(self.made.st_mode)
        if sys.platform == "win32" and is_folder:
            return  # Windows cannot open a folder for syncing
        # Windows syncs a file only through a descriptor that may write.
        descriptor = open_regular(self.path, os.O_RDONLY if is_folder else os.O_RDWR)
        try:
            if sys.platform != "win32":
                status = os.fstat(descriptor)
                self._refuse_another(status)
                self._set_permissions(descriptor, status, before)
                if not os.path.samestat(status, self.path.lstat()):
                    raise _replaced_by_another(self.path)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _refuse_another(self, status: os.stat_result) -> None:
        is_folder = stat.S_ISDIR(self.made.st_mode)
        same_kind = stat.S_IFMT(status.st_mode) == stat.S_IFMT(self.made.st_mode)
        # A second name would belong to a file that existed before.
        ours = same_kind and status.st_uid == self.made.st_uid and (status.st_nlink == 1 or is_folder)
        if not ours or not (self.private or os.path.samestat(status, self.made)):
            raise _replaced_by_another(self.path)

    def _set_permissions(
        self, descriptor: int, status: os.stat_result, before: os.stat_result | None
    ) -> None:
        if sys.platform == "win32":
            return
        wanted = stat.S_IMODE(self.made.st_mode)
        if before is not None:
            is_folder = stat.S_ISDIR(self.made.st_mode)
            old = stat.S_IMODE(before.st_mode) & (0o2777 if is_folder else 0o777)
            # Access granted by another user was not meant for our content.
            wanted = old if before.st_uid == self.made.st_uid else old & wanted
            if before.st_gid != status.st_gid:
                try:
                    os.fchown(descriptor, -1, before.st_gid)
                except OSError:  # access of one group is not for another
                    wanted &= ~stat.S_IRWXG
            if is_folder:
                wanted |= stat.S_IRWXU
        if wanted != stat.S_IMODE(status.st_mode):
            os.fchmod(descriptor, wanted)


@contextmanager
def temporary_file(path: Path, before: os.stat_result | None, *, private: bool) -> Iterator[Temporary]:
    """Yield an empty file beside ``path``; remove it at the end if it still exists.

    Parameters
    ----------
    path
        Final path; the temporary name has the same ending. Leftovers of its dead writers are removed.
    before
        Status of the existing file. If it is ours, nobody else can read the new file before it is complete.
    private
        Whether to put it in a private folder, for writing to its path.
    """
    _remove_leftovers(path)
    mode = 0o666
    if before is not None:
        is_own = before.st_uid == own_number()
        mode = 0o600 if is_own else 0o600 | stat.S_IMODE(before.st_mode) & mode
    with ExitStack() as stack:
        folder = path.parent
        if private and sys.platform != "win32":  # there, files from a private folder would stay private
            folder = stack.enter_context(private_folder(folder, path.name))
        temporary, descriptor = _make_file(folder, path.name, mode)
        stack.callback(_unlink, temporary)
        try:
            made = os.fstat(descriptor)
        finally:
            # An open file keeps its lock, but Windows cannot rename it.
            if sys.platform == "win32":
                os.close(descriptor)
            else:
                stack.callback(os.close, descriptor)
        yield Temporary(temporary, made, private)


def _unlink(temporary: Path) -> None:
    # Windows keeps what a failed writer still has open, until the next write; the writer's own error counts.
    with suppress(PermissionError):
        temporary.unlink(missing_ok=True)


@contextmanager
def private_folder(parent: Path, name: str) -> Iterator[Path]:
    """Make a folder that only we can access, yield a path to it, and remove it at the end if it is empty.

    Raises
    ------
    PermissionError
        If another user has put a folder in its place.
    """
    descriptor = -1
    while descriptor < 0:
        made = new_name(parent, name)
        made.mkdir(0o777 if sys.platform == "win32" else 0o700)
        if sys.platform == "win32":
            break
        with suppress(FileNotFoundError):  # another writer mistook it for a leftover before it was locked
            descriptor = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            _lock(descriptor, wait=True)
            if not os.fstat(descriptor).st_nlink:
                os.close(descriptor)
                descriptor = -1
    try:
        if sys.platform == "win32":  # permissions are not bits, and only administrators make links
            yield made
        else:
            try:
                place = _DESCRIPTORS / str(descriptor)
                place = place if place.is_dir() else made
                _take_possession(place, descriptor)
                yield place
            finally:
                os.close(descriptor)
    finally:
        with suppress(OSError):
            made.rmdir()


def new_name(folder: Path, name: str) -> Path:
    """Return an unused path for a temporary file or folder."""
    return folder / f"{PREFIX}{secrets.token_hex(RANDOM_DIGITS // 2)}{name}"


def _replaced_by_another(path: Path) -> PermissionError:
    return PermissionError(errno.EPERM, "another user has replaced it while it was written", str(path))


def _make_file(folder: Path, name: str, mode: int) -> tuple[Path, int]:
    """Make an empty temporary file; also return its descriptor, which locks it if the system can.

    The system releases the lock when the writer ends, however it ends, which tells a dead writer's file from
    a living one's.
    """
    while True:
        path = new_name(folder, name)
        try:
            descriptor = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            continue
        if not _lock(descriptor, wait=True) or os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)  # another writer mistook it for a leftover just before it was locked


def _take_possession(place: Path, descriptor: int) -> None:
    """Check that a folder is the one that was just created, and remove access for others."""
    if sys.platform == "win32":
        return
    status = os.fstat(descriptor)
    if status.st_uid != own_number():  # another user's, or a file system that gives us another ID
        probe, file = _make_file(place, "", 0o600)
        owner = os.fstat(file).st_uid
        os.close(file)
        probe.unlink()
        if status.st_uid != owner:
            raise _replaced_by_another(place)
    if os.listdir(descriptor):
        raise _replaced_by_another(place)
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        with suppress(OSError):  # a file system without permissions
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~0o077)


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file; return whether files can be locked there.

    Raises
    ------
    BlockingIOError
        If another process has locked it, and ``wait`` is false.
    """
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            raise
        except OSError:  # some network file systems
            pass
    return False


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of ``path`` that cannot belong to a living writer."""
    for leftover in _temporary_files(path.parent):
        if _is_temporary_of(leftover, path.name):
            with suppress(OSError):
                if leftover.is_dir() and not leftover.is_symlink():
                    _remove_private_folder(leftover, path.name)
                else:
                    _remove_if_dead(leftover)


def _is_temporary_of(leftover: Path, name: str) -> bool:
    # The name in between is random: without comparing the length, "a.txt" would match "ba.txt".
    return leftover.name.startswith(PREFIX) and leftover.name[len(PREFIX) + RANDOM_DIGITS :] == name


def _remove_private_folder(folder: Path, name: str) -> None:
    """Remove a dead writer's private folder and its file there, but no other file and no living writer's."""
    files = [each for each in folder.iterdir() if _is_temporary_of(each, name)]
    for each in files:
        _remove_if_dead(each)
    if sys.platform == "win32":
        if files or _is_old(folder.lstat()):
            folder.rmdir()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if files or _lock(descriptor, wait=False) or _is_old(os.fstat(descriptor)):
            folder.rmdir()  # while it is locked, so that a writer that has just made it notices
    finally:
        os.close(descriptor)


def _remove_if_dead(leftover: Path) -> None:
    """Remove a temporary file if nobody has locked it or, if files cannot be locked, if it is old."""
    descriptor = open_regular(leftover, os.O_RDWR)
    try:
        dead = _lock(descriptor, wait=False) or _is_old(os.fstat(descriptor))
        if dead and sys.platform != "win32":
            leftover.unlink()  # while it is locked, so that a writer that has just made it notices
    finally:
        os.close(descriptor)
    if dead and sys.platform == "win32":
        leftover.unlink()  # Windows cannot remove an open file


def _is_old(status: os.stat_result) -> bool:
    return time.time() - status.st_mtime > SECONDS_UNTIL_STALE


@cache
def _temporary_files(folder: Path) -> tuple[Path, ...]:
    """Return the temporary files that existed before this process wrote to ``folder``.

    The list is cached, as listing a folder for each file would take quadratic time.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        return tuple(folder / entry.name for entry in entries if entry.name.startswith(PREFIX))
    return ()
