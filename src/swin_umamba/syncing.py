"""Have the disk hold the entries of folders, at once or for several files together."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swin_umamba.errors import OutputError

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
