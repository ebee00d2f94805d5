"""Caches of compiled code. Their content is executed, so nobody else must be able to write to them."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import stat
import sys
import tempfile
from collections import defaultdict
from functools import cache
from pathlib import Path

from swin_umamba.files import cache_folder
from swin_umamba.opening import own_number

logger = logging.getLogger(__name__)

# Variables with the cache folders from which libraries load code. Without the first, PyTorch uses a folder
# with a predictable name in the shared folder for temporary files, which anybody can create before us.
VARIABLES = {"TORCHINDUCTOR_CACHE_DIR": "torchinductor", "TRITON_CACHE_DIR": "triton"}
_ALWAYS_SET = ("TORCHINDUCTOR_CACHE_DIR",)


def set_private_caches() -> None:
    """Before their import, make PyTorch and Triton keep compiled code where only this user can write."""
    for variable, name in VARIABLES.items():
        given = os.environ.get(variable)
        if given:
            place = _made(Path(given))
            if place is not None and is_private(place):
                os.environ[variable] = str(place)  # a link in it could be turned later
                continue
            warn_of(Path(given))
        if given or variable in _ALWAYS_SET:
            os.environ[variable] = str(private_folder(name) or _of_this_process())


def private_folder(name: str) -> Path | None:
    """Return this user's folder for compiled code, created if missing; None if others can write to it.

    Parameters
    ----------
    name
        Name of the library.
    """
    try:
        folder = _made(cache_folder() / "compiled" / name)
    except RuntimeError:  # a user without a home folder
        return None
    return folder if folder is not None and is_private(folder) else None


def warn_of(folder: Path) -> None:
    """Warn once that a cache is not used."""
    if str(folder) not in _warned:
        _warned.add(str(folder))
        logger.warning(
            "Other users can write to the cache of compiled code in %s: it is not used, but one in %s",
            folder,
            cache_folder() / "compiled",
        )


def is_private(folder: Path) -> bool:
    """Return whether only this user and the administrator can put code into a folder.

    The folder, its content at any depth including the targets of links, and all parent folders must belong to
    one of the two, and others must not be able to write to them. A parent may be a shared folder in which
    nobody can change the files of others (mode 1777). A folder that does not exist yet is judged by its
    parents.
    """
    if sys.platform == "win32":
        return True
    # Only folders that passed are searched, since others may have put endless content into the rest.
    unseen, seen = {Path(os.path.realpath(folder))}, set[Path]()
    while unseen:
        place = unseen.pop()
        seen.add(place)
        if not _is_closed(place) or not all(
            _is_closed(each, above=True) for each in place.parents if each not in seen
        ):
            return False
        try:
            entries = list(os.scandir(place))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return False
        if not all(_is_closed(Path(entry.path)) for entry in entries):
            return False
        unseen |= {
            Path(os.path.realpath(entry.path))
            for entry in entries
            if entry.is_symlink() or entry.is_dir(follow_symlinks=False)
        } - seen
    return True


def _made(folder: Path) -> Path | None:
    """Return a link-free folder, created for this user with its parents; None if that fails."""
    folder = Path(os.path.realpath(folder))
    try:
        for place in (*reversed(folder.parents), folder):
            if not place.is_dir():
                place.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return None
    return folder


def _of_this_process() -> Path:
    """Return a new folder that is removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="swin-umamba-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


_warned: set[str] = set()


def _is_closed(path: Path, *, above: bool = False) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    if status.st_uid not in (0, own_number()):
        return False
    if above and status.st_mode & stat.S_ISVTX:
        return True
    if stat.S_ISLNK(status.st_mode):  # the mode of a link has no meaning
        return True
    if not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return True
    # Access rights of single users (ACL) appear as those of the group.
    return not status.st_mode & stat.S_IWOTH and _is_own_group(status) and not _has_acl(path)


def _has_acl(path: Path) -> bool:
    try:
        return sys.platform == "linux" and "system.posix_acl_access" in os.listxattr(path)
    except OSError:
        return False


def _is_own_group(status: os.stat_result) -> bool:
    """Return whether only this user and the administrator are in a group.

    Many systems create a group for each user, with the user's name.
    """
    if sys.platform == "win32":
        return True
    import grp
    import pwd

    try:
        group = grp.getgrgid(status.st_gid)
    except KeyError:
        return status.st_gid == 0
    try:
        user = pwd.getpwuid(own_number())
    except KeyError:  # as in many containers
        return status.st_gid == 0 and set(group.gr_mem) <= {"root"}
    if not set(group.gr_mem) <= {"root", user.pw_name}:
        return False
    # Users whose primary group it is, as in an institute, are not listed among its members.
    return status.st_gid == 0 or (
        (group.gr_name, status.st_gid) == (user.pw_name, user.pw_gid)
        and _users_by_first_group()[status.st_gid] <= {user.pw_uid}
    )


@cache
def _users_by_first_group() -> defaultdict[int, set[int]]:
    import pwd

    users: defaultdict[int, set[int]] = defaultdict(set)
    if sys.platform != "win32":
        for each in pwd.getpwall():
            users[each.pw_gid].add(each.pw_uid)
    return users
