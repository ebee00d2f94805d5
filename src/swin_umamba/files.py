"""Write files so that a reader sees either the old content or the new, never a part of it."""

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
from swin_umamba.syncing import rename, sync_folder
from swin_umamba.temporary_files import Temporary, new_name, private_folder, temporary_file

BLOCK = 2**20
_CHECK_THE_PLACE = "check that the folder exists, is writable and has free space; nothing was changed"
_DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` when the block ends without an error.

    This is for code that writes to a path; to write to an open file, use ``atomic_open``. The temporary file
    is in the same file system (so that the replacement is a single rename), keeps the full suffix of ``path``
    (by which writers choose their format), and is synced to disk before the rename. If the block raises, the
    file and the folders created for it are removed and ``path`` is unchanged. Leftovers of a killed writer of
    the same file are removed, too.

    The permissions of a replaced file are kept; a new file gets those that the umask allows. Links are
    followed and kept. If the system supports it, the path goes through a descriptor: it leads to the
    temporary file whatever others do in that folder, and is valid only in this process and its forks.

    Parameters
    ----------
    path
        Final path of the file. Missing parent folders are created.

    Yields
    ------
    Path
        Path for the block to write to.

    Raises
    ------
    OutputError
        If the folder cannot be created or written to, or the disk is full. An ``OSError`` of the block about
        another file is raised unchanged.
    """
    with _new_file(path, private=True) as temporary:
        yield temporary.path


@contextmanager
def atomic_open(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a file, open for writing bytes, that replaces ``path`` when the block ends without an error.

    Everything else is as for ``atomic_write``.

    Parameters
    ----------
    path
        Final path of the file. Missing parent folders are created.

    Yields
    ------
    BinaryIO
        File for the block to write to.

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

    An earlier folder at ``path`` is removed after the new one has replaced it. If the block raises, the
    temporary folder is removed and ``path`` is unchanged. For permissions, links and the path see
    ``atomic_write``.

    Parameters
    ----------
    path
        Final path of the folder. Missing parent folders are created.

    Yields
    ------
    Path
        Folder to write files into, each through ``atomic_write``.

    Raises
    ------
    OutputError
        If the folder cannot be created or moved into place. An ``OSError`` of the block about a file
        elsewhere is raised unchanged.
    """
    with _replacement("folder", path) as target, ExitStack() as stack:
        place, before = target.place, target.before
        if before is not None and not stat.S_ISDIR(before.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "it exists and is not a folder")
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
            rename(place, old)
        rename(new, place)
        sync_folder(place.parent)


def put_in_place(temporary: Path, path: Path) -> None:
    """Replace ``path`` with a finished file of the same folder in one step, synced before and after."""
    descriptor = open_regular(temporary, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    rename(temporary, path)
    sync_folder(path.parent)


def copy_file(
    source: str | Path,
    path: str | Path,
    *,
    error: type[SwinUMambaError] = DataError,
    hint: str = "check that the file is there and may be read",
) -> None:
    """Copy the bytes of a file atomically; the copy is a new file with its own permissions.

    Parameters
    ----------
    source, path
        Source and destination.
    error
        Error to raise if the source cannot be read.
    hint
        Hint of that error.

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
    """Return the cache folder, for files that can be fetched or made again; it need not exist yet.

    It is ``SWIN_UMAMBA_CACHE``, else ``swin-umamba`` in ``XDG_CACHE_HOME``, else ``~/.cache/swin-umamba``.
    """
    if own := os.environ.get("SWIN_UMAMBA_CACHE"):
        return Path(own).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that relative paths are ignored.
    return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "swin-umamba"


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content as hexadecimal."""
    digest = hashlib.sha256()
    with open_to_read(path) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def check_output_folder(folder: str | Path) -> None:
    """Raise ``OutputError`` if ``folder`` is not a folder or cannot be created or written to; creates none.

    Use it before long computations whose results are written there.
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


def append_line(path: str | Path, *lines: str, synced: bool = True) -> None:
    """Append lines to a text file in one write, synced to disk; create the file if it does not exist.

    A killed process leaves whole lines or part of one, and never changes earlier lines.

    Parameters
    ----------
    path
        The file; its folder must exist. A link is followed.
    *lines
        One or more lines without line breaks.
    synced
        False leaves the syncing, which takes milliseconds, to a later call. A power cut may lose the lines
        until then; the death of the process does not.

    Raises
    ------
    OutputError
        If not all can be written, for example on a full disk. The file is then unchanged.
    """
    assert not any("\n" in line for line in lines)
    content = "".join(f"{line}\n" for line in lines).encode()
    try:
        with open(final_place(Path(path)), "ab", buffering=0, opener=open_regular) as file:
            before = os.fstat(file.fileno()).st_size
            try:
                if (written := file.write(content)) != len(content):
                    raise OSError(errno.ENOSPC, f"only {written} of {len(content)} bytes could be written")
                if synced:
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
    """The target of a replacement: the target of links, the existing file, and the temporary file."""

    place: Path
    before: os.stat_result | None = None
    written: Path | None = None


@contextmanager
def _replacement(kind: str, path: str | Path) -> Iterator[_Target]:
    """Determine what to replace, and make its folders; on failure report why and remove them."""
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
            with suppress(OSError):  # another writer may have created something there
                for folder in made:
                    folder.rmdir()


@contextmanager
def _new_file(path: str | Path, *, private: bool) -> Iterator[Temporary]:
    with _replacement("file", path) as target, ExitStack() as stack:
        if target.before is not None and not stat.S_ISREG(target.before.st_mode):
            raise OSError(errno.EINVAL, "it exists and is not a regular file")
        temporary = stack.enter_context(temporary_file(target.place, target.before, private=private))
        target.written = temporary.path
        yield temporary
        target.written = None
        temporary.settle(target.before)
        rename(temporary.path, target.place)
        sync_folder(target.place.parent)


def _concerns(error: OSError, written: Path) -> bool:
    """Return whether an error of a block is about the written file: it names the file, or names none."""
    first, second = (
        None if name is None or isinstance(name, int) else os.fsdecode(name).startswith(str(written))
        for name in (error.filename, error.filename2)
    )
    # Copying names the source first, whichever of the two failed; only writing can meet a full disk.
    return first is not False or (second is True and error.errno in _DISK_IS_FULL)


def _put_back_or_remove(old: Path, place: Path) -> None:
    if not place.exists() and old.exists():
        rename(old, place)
    else:
        shutil.rmtree(old, ignore_errors=True)
