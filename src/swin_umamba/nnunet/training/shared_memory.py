"""The shared memory (``/dev/shm``) through which batches come from the processes that make them."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

CURE = "start the container with --shm-size=8g or --ipc=host, or train with --workers 0"

_FOLDER = Path("/dev/shm")  # of Linux
_BYTES_PER_VALUE = 4
_ALL_RESOLUTIONS = 4 / 3  # of the targets: each has a quarter of the pixels of the one before, at most


def free_shared_memory() -> int | None:
    """Return the free shared memory in bytes; None if the system keeps it elsewhere."""
    try:
        return shutil.disk_usage(_FOLDER).free
    except OSError:
        return None


def bytes_of_batch(batch_size: int, channels: int, target_channels: int, patch_size: Sequence[int]) -> int:
    """Return about how many bytes a batch of patches takes, with targets for deep supervision."""
    values = batch_size * math.prod(patch_size) * (channels + _ALL_RESOLUTIONS * target_channels)
    return math.ceil(_BYTES_PER_VALUE * values)


def warn_if_too_small(batch_bytes: int, batches: int) -> None:
    """Warn if the shared memory does not hold the batches that wait for the training.

    Containers often have 64 MB of it. A process that finds no room is killed by the signal SIGBUS, as late as
    the first write to it.

    Parameters
    ----------
    batch_bytes
        Size of a batch, see ``bytes_of_batch``.
    batches
        Number of batches that are made ahead.
    """
    free = free_shared_memory()
    if free is not None and free < batch_bytes * batches:
        logger.warning(
            "/dev/shm has %.2f GiB free, and %d batches that wait in it for the training take %.2f GiB, so "
            "that processes that load data may be killed: %s",
            free / 2**30,
            batches,
            batch_bytes * batches / 2**30,
            CURE,
        )
