"""The folder that holds uploads and their results for as long as they are needed."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from pathlib import Path

from swin_umamba.serve.problems import Busy

logger = logging.getLogger(__name__)

PREFIX = "swin-umamba-serve-"
TRIES_TO_DELETE = 100
SECONDS_BETWEEN_TRIES = 0.05


class PrivateFolder:
    """A temporary folder that only this user can read; it is deleted at the end of the ``with`` block.

    Parameters
    ----------
    upload_bytes
        Limit for all uploads together; :meth:`reserve` refuses more.
    share
        Fraction of it that the uploads of one client may use.

    Attributes
    ----------
    path
        The folder.
    """

    def __init__(self, upload_bytes: int, share: float = 1.0) -> None:
        self._lock = threading.Lock()
        self._free = upload_bytes
        self._most_of_client = int(upload_bytes * share)
        self._reserved: dict[Path, int] = {}
        self._clients: dict[Path, str] = {}
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()  # mode 0700

    def __enter__(self) -> PrivateFolder:
        """Return the folder."""
        return self

    def __exit__(self, *error: object) -> None:
        """Delete all of it, though a job that has not ended in time may still be writing there."""
        for _ in range(TRIES_TO_DELETE):
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                return
            time.sleep(SECONDS_BETWEEN_TRIES)
        logger.error("uploads and results cannot be deleted: remove %s", self.path)

    def new(self, client: str = "") -> Path:
        """Return a new, empty folder for a client, with a random name."""
        folder = Path(tempfile.mkdtemp(dir=self.path))
        self._clients[folder] = client
        return folder

    def reserve(self, folder: Path, size: int) -> None:
        """Count ``size`` bytes of uploads for a folder of :meth:`new`.

        Raises
        ------
        Busy
            If all uploads together, or those of the folder's client, would exceed their limit.
        """
        with self._lock:
            client = self._clients[folder]
            taken = sum(each for place, each in self._reserved.items() if self._clients[place] == client)
            if size > self._most_of_client - taken:
                raise Busy("your other uploads use all of your space", hint="wait for their results")
            if size > self._free:
                raise Busy("other uploads use all of the space", hint="try again in a moment")
            self._free -= size
            self._reserved[folder] = self._reserved.get(folder, 0) + size

    def release(self, folder: Path) -> None:
        """Release the reserved space of a folder whose uploads are deleted."""
        with self._lock:
            self._free += self._reserved.pop(folder, 0)

    def remove(self, folder: Path) -> None:
        """Delete a folder of :meth:`new`."""
        shutil.rmtree(folder, ignore_errors=True)
        self.release(folder)
        self._clients.pop(folder, None)
