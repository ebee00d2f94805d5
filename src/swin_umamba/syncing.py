"""Rename files, and have the disk hold the entries of folders: at once, or for several files together."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swin_umamba.errors import OutputError

WAITS_FOR_READERS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between two tries to rename a file that somebody reads, on Windows."""

_postponed = threading.local()


@contextmanager
def folders_synced_together() -> Iterator[None]:
    """Sync the folders of files that this thread writes in the block once each, at its end.

    Raises
    ------
    OutputError
        If one cannot be synced.
    """
    folders: dict[Path, None] = {}
    _postponed.folders = folders
    try:
        yield
    finally:
        del _postponed.folders
        for folder in folders:
            try:
                sync_folder(folder)
            except FileNotFoundError:
                pass  # a temporary one, removed since
            except OSError as error:
                what = f"cannot sync the folder: {error.strerror or error}"
                raise OutputError(what, where=folder, hint="check the disk") from error


def sync_folder(folder: Path) -> None:
    """Sync a folder's entries to disk, so that a rename in it survives a power cut."""
    if os.name == "nt":
        return  # Windows cannot open a folder for syncing
    if (postponed := getattr(_postponed, "folders", None)) is not None:
        postponed[folder] = None
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(old: Path, new: Path) -> None:
    """Rename a file or folder, in place of another file if there is one.

    Windows refuses while another process has one of them open, as a reader of the old content or a scanner
    for viruses has for a moment: there, it is tried again for some seconds.

    Raises
    ------
    OSError
        If the system refuses for good.
    """
    if sys.platform == "win32":
        for wait in WAITS_FOR_READERS:
            try:
                os.replace(old, new)
                return
            except PermissionError:
                time.sleep(wait)
    os.replace(old, new)
