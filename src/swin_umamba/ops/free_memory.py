"""The free memory of a device."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import torch

from swin_umamba.heap import give_back_freed_memory

_SYSTEM = Path("/proc/meminfo")
_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
# Folder below that of all groups, files of the limit and of the usage, and the prefix in memory.stat of sums
# over all groups below: for version 2 and version 1.
_VERSIONS = {
    "": (".", "memory.max", "memory.current", ""),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
}


def free_memory(device: torch.device) -> int | None:
    """Return how many bytes a device has left; None if unknown.

    On a CPU it is what Linux considers available, or what the limits of a container or a scheduler's job
    (control groups) leave, whichever is less; other systems have no such files.
    """
    if device.type == "cuda":
        kept_by_torch = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept_by_torch
    if device.type == "cpu":
        give_back_freed_memory()
        return min((*_of_system(), *_of_groups()), default=None)
    return None


def memory_of_others(device: torch.device) -> int:
    """Return about how many bytes of a GPU other programs hold; 0 where that cannot be told.

    PyTorch's own context, below 1 GiB, counts as theirs, since it cannot be told apart.
    """
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return max(0, total - free - torch.cuda.memory_reserved(device))


def _of_system() -> Iterator[int]:
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _text(_SYSTEM), re.MULTILINE)
    if found:
        yield 1024 * int(found[1])


def _of_groups() -> Iterator[int]:
    """Yield what each control group of this process has left, if it has a limit."""
    for line in _text(_OWN_GROUPS).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for name in controllers.split(","):
            if name in _VERSIONS:
                folder, limit, taken, prefix = _VERSIONS[name]
                # A container may see only its own groups, at the top, under the path of the whole machine.
                parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
                for depth in range(len(parts) + 1):
                    yield from _of_group(_GROUPS.joinpath(folder, *parts[:depth]), limit, taken, prefix)


def _of_group(group: Path, limit: str, taken: str, prefix: str) -> Iterator[int]:
    with suppress(ValueError):  # no such file, or no limit ("max")
        most, used = int(_text(group / limit)), int(_text(group / taken))
        # Cached files count as used, but are dropped when memory is needed.
        cached = re.findall(
            rf"^{prefix}(?:in)?active_file (\d+)$", _text(group / "memory.stat"), re.MULTILINE
        )
        yield max(0, min(most, most - used + sum(map(int, cached))))


def _text(path: Path) -> str:
    with suppress(OSError, ValueError):
        return path.read_text(encoding="utf-8")
    return ""
