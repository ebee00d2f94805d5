"""Writing files so that a reader sees either the old content or the new one, never half of it."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from swin_umamba.errors import DataError, OutputError, SwinUMambaError
from swin_umamba.opening import final_place, open_regular, open_to_read
from swin_umamba.temporary_files import Temporary, new_name, private_folder, sync_folder, temporary_file

BLOCK = 2**20
_CHECK_THE_PLACE = "check that the folder exists, is writable and has free space; nothing was changed"
_DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` when the block ends without an error.

    For what writes to a path; whoever can write to an open file takes ``atomic_open``. The temporary file
    lies in the same file system (so that the replacement is one rename), keeps the full suffix of ``path``
    (writers choose their format by it) and is synced to disk before the rename. If the block raises, it and
    the folders made for it are removed and ``path`` stays as it was. What a killed writer of the same file
    has left behind is removed, too.

    A file that is replaced hands on its permissions; a new one gets those that the umask leaves. A link is
    followed, and stays. Where the system can, the path goes through a descriptor: it leads to the temporary
    file whatever others do in that folder, and is of use to this process and its forks alone.

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
        If the folder cannot be made or written to, or the disk is full. An ``OSError`` of the block about
        another file is raised as it is.
    """
    with _new_file(path, private=True) as temporary:
        yield temporary.path


@contextmanager
def atomic_open(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a file, open for writing bytes, that replaces ``path`` when the block ends without an error.

    All else is as for ``atomic_write``.

    Parameters
    ----------
    path
        Final place of the file. Missing parent folders are made.

    Yields
    ------
    BinaryIO
        What the block has to write to.

    Raises
    ------
    OutputError
        As ``atomic_write`` does.
    """
    with _new_file(path, private=False) as temporary, temporary.open() as file:
        yield file


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``path`` when the block ends without an error.

    A folder that was at ``path`` is removed after the new one has taken its place. If the block raises, the
    temporary folder is removed and ``path`` stays as it was. For permissions, links and the path see
    ``atomic_write``.

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
        If the folder cannot be made or moved to its place. An ``OSError`` of the block about a file elsewhere
        is raised as it is.
    """
    with _replacement("folder", path) as target, ExitStack() as stack:
        place, before = target.place, target.before
        if before is not None and not stat.S_ISDIR(before.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "what is there is no folder")
        new = stack.enter_context(private_folder(place.parent, place.name)) / place.name
        stack.callback(shutil.rmtree, new, ignore_errors=True)
        new.mkdir()
        temporary = Temporary(new, new.lstat())
        target.written = new
        yield new
        target.written = None
        temporary.settle(before)
        if before is not None:  # a folder with content cannot be replaced in one step
            old = new_name(place.parent, f"{place.name}.old")
            stack.callback(_put_back_or_remove, old, place)
            os.replace(place, old)
        os.replace(new, place)
        sync_folder(place.parent)


def put_in_place(temporary: Path, path: Path) -> None:
    """Let a finished file of the same folder become ``path`` in one step, synced to disk before and after."""
    descriptor = open_regular(temporary, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    sync_folder(path.parent)


def copy_file(
    source: str | Path,
    path: str | Path,
    *,
    error: type[SwinUMambaError] = DataError,
    hint: str = "check that the file is there and may be read",
) -> None:
    """Copy the bytes of a file, atomically; the copy is a new file with permissions of its own.

    Parameters
    ----------
    source, path
        From where to where.
    error
        What to raise if the source cannot be read.
    hint
        What can be done about that.

    Raises
    ------
    OutputError
        If the copy cannot be written.
    """
    with ExitStack() as stack:

        @contextmanager
        def reading() -> Iterator[None]:
            try:
                yield
            except OSError as reason:
                what = f"the file cannot be read: {reason.strerror or reason}"
                raise error(what, where=source, hint=hint) from reason

        with reading():
            content = stack.enter_context(open_to_read(source))
        with atomic_open(path) as copy:
            while True:
                with reading():
                    block = content.read(BLOCK)
                if not block:
                    break
                copy.write(block)


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
    with open_to_read(path) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def check_output_folder(folder: str | Path) -> None:
    """Raise ``OutputError`` if ``folder`` is not a folder, or could not be made or written to; makes nothing.

    For use before long work whose result goes there.
    """
    folder = Path(folder)
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise OutputError(
            "results cannot be written there: it is a file, not a folder",
            where=nearest,
            hint="give another output folder, or move the file away",
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(
            "results cannot be written there: no permission",
            where=nearest,
            hint="give another output folder, or change its permissions",
        )


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a whole file, atomically."""
    with atomic_open(path) as file:
        file.write(content)


def append_line(path: str | Path, line: str) -> None:
    """Append one line to a text file in one write, synced to disk; make the file if it is not there.

    A process that is killed in between leaves the whole line or a part of it, never a part of an earlier one.

    Parameters
    ----------
    path
        The file; its folder must exist. A link is followed.
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
        with open(final_place(Path(path)), "ab", buffering=0, opener=open_regular) as file:
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
            f"cannot append to the file: {error.strerror or error}", where=path, hint=_CHECK_THE_PLACE
        ) from error


@dataclass
class _Target:
    """What is to be replaced: where links lead to, what is there, and what a block is writing instead."""

    place: Path
    before: os.stat_result | None = None
    written: Path | None = None


@contextmanager
def _replacement(kind: str, path: str | Path) -> Iterator[_Target]:
    """Find out what is to be replaced, make the folders for it, and say what fails; remove them then."""
    target = _Target(Path(path))
    made: list[Path] = []
    done = False
    try:
        target.place = final_place(target.place)
        with suppress(FileNotFoundError):
            target.before = target.place.lstat()
        made = [folder for folder in target.place.parents if not folder.exists()]
        target.place.parent.mkdir(parents=True, exist_ok=True)
        yield target
        done = True
    except OSError as error:
        if target.written is not None and not _concerns(error, target.written):
            raise
        raise OutputError(
            f"cannot write the {kind}: {error.strerror or error}", where=path, hint=_CHECK_THE_PLACE
        ) from error
    finally:
        if not done:
            with suppress(OSError):  # another writer may have put something there
                for folder in made:
                    folder.rmdir()


@contextmanager
def _new_file(path: str | Path, *, private: bool) -> Iterator[Temporary]:
    with _replacement("file", path) as target, ExitStack() as stack:
        if target.before is not None and not stat.S_ISREG(target.before.st_mode):
            raise OSError(errno.EINVAL, "what is there is no file")
        temporary = stack.enter_context(temporary_file(target.place, target.before, private=private))
        target.written = temporary.path
        yield temporary
        target.written = None
        temporary.settle(target.before)
        os.replace(temporary.path, target.place)
        sync_folder(target.place.parent)


def _concerns(error: OSError, written: Path) -> bool:
    """Return whether an error of a block is about what it writes: it says so, or does not say about what."""
    first, second = (
        None if name is None or isinstance(name, int) else os.fsdecode(name).startswith(str(written))
        for name in (error.filename, error.filename2)
    )
    # Copying names the source first, whichever of the two failed; only writing meets a full disk.
    return first is not False or (second is True and error.errno in _DISK_IS_FULL)


def _put_back_or_remove(old: Path, place: Path) -> None:
    if not place.exists() and old.exists():
        os.replace(old, place)
    else:
        shutil.rmtree(old, ignore_errors=True)
