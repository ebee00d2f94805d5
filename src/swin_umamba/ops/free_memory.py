"""How much memory a device has left."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import torch

_SYSTEM = Path("/proc/meminfo")


def free_memory(device: torch.device) -> int | None:
    """Return how many bytes a device has left; None if that is not known.

    On a CPU it is what Linux takes to be available; other systems have no such file. The limit of a container
    is not in it.
    """
    if device.type == "cuda":
        kept_by_torch = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept_by_torch
    if device.type == "cpu":
        with suppress(OSError, ValueError):
            text = _SYSTEM.read_text(encoding="ascii")
            found = re.search(r"^MemAvailable:\s*(\d+) kB", text, re.MULTILINE)
            return 1024 * int(found[1]) if found else None
    return None
