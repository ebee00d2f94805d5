"""Open files, but no pipe that might never answer, and no link by which others choose the file."""

from __future__ import annotations

import errno
import os
import stat
import sys
from functools import partial
from pathlib import Path
from typing import BinaryIO

MOST_LINKS = 40


def open_to_read(path: str | Path) -> BinaryIO:
    """Open a file for reading bytes.

    Raises
    ------
    OSError
        If the file cannot be opened, or is a pipe or device, which might never end.
    """
    return open(path, "rb", opener=partial(open_regular, follow=True))


def open_regular(path: str | Path, flags: int, mode: int = 0o666, *, follow: bool = False) -> int:
    """Open a file or folder like ``os.open``, but never block on pipes or devices.

    Parameters
    ----------
    path, flags, mode
        As for ``os.open``.
    follow
        Whether the path may be a link.

    Raises
    ------
    OSError
        If the file cannot be opened, or is a pipe, a device, or a link that may not be followed.
    """
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0), mode)
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is a pipe or a device", str(path))
    return descriptor


def final_place(path: Path) -> Path:
    """Return the target of a path, so that writing goes there and a link stays a link.

    Raises
    ------
    OSError
        If the links form a cycle, or another user has created one: following it would let that user choose a
        file of ours to overwrite.
    """
    for _ in range(MOST_LINKS):
        if not path.is_symlink():
            return path
        if path.lstat().st_uid not in (0, own_number()):
            raise PermissionError(errno.EPERM, "it is a link that another user has put there", str(path))
        path = path.parent / os.readlink(path)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def others_can_read(descriptor: int) -> bool:
    """Return whether users other than the owner may read an open file; False if there are no modes."""
    return sys.platform != "win32" and bool(os.fstat(descriptor).st_mode & 0o077)


def own_number() -> int:
    """Return the ID of the user that this process acts for; 0 where users have none."""
    if sys.platform == "win32":
        return 0
    return os.geteuid()
