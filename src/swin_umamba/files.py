"""Writing files so that a reader sees either the old content or the new one, never half of it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from swin_umamba.errors import OutputError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block ends without an error.

    The temporary file lies in the same folder (so that the replacement is one rename), keeps the full
    suffix of ``path`` (writers choose their format by it) and is synced to disk before the rename. If the
    block raises, it is removed and ``path`` stays as it was.

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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".writing-", suffix=path.name, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _sync(temporary)
        # mkstemp makes files private; a result gets the permissions that any new file would get.
        temporary.chmod(0o666 & ~_current_umask())
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise OutputError(
            f"cannot write the file: {error.strerror or error}",
            where=path,
            cure="check that the folder exists, is writable and has free space; nothing was changed",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, data: Any) -> None:
    """Write ``data`` as indented JSON, atomically. NaN is not JSON and raises ``ValueError``."""
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


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
