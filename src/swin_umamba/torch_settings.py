"""Settings made before PyTorch is imported: for speed, and to keep out other people's code."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from swin_umamba.compiled_code import set_private_caches
from swin_umamba.heap import keep_freed_memory

THREADS = "OMP_NUM_THREADS"
"""Variable of the threads of a process."""


class Setting(NamedTuple):
    """An environment variable, the reason for its value, and variables of users who have settled it."""

    name: str
    value: str
    reason: str
    unless: tuple[str, ...]


_OF_THE_HEAP = tuple(
    Setting(
        name,
        value,
        "glibc gives memory of tens of megabytes back to Linux at once, which clears the pages for the\n"
        "next activation. With MALLOC_MMAP_MAX_ and MALLOC_TRIM_THRESHOLD_ it keeps them.",
        unless=("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"),
    )
    for name, value in (("MALLOC_MMAP_MAX_", "0"), ("MALLOC_TRIM_THRESHOLD_", str(2**62)))
)
SETTINGS = (
    Setting(
        "GOMP_SPINCOUNT",
        "5000",
        "After an operator, PyTorch's threads (GNU OpenMP) look out for the next one for milliseconds; on\n"
        "cores that others use, too, that makes everybody wait. With this they soon sleep.",
        unless=("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"),
    ),
    *_OF_THE_HEAP,
)


def apply_settings() -> None:
    """Set what the user's environment leaves open, before importing PyTorch, as the command line does."""
    given = set(os.environ)
    for setting in SETTINGS:
        if given.isdisjoint(setting.unless):
            os.environ[setting.name] = setting.value
    if all(os.environ.get(setting.name) == setting.value for setting in _OF_THE_HEAP):
        keep_freed_memory()  # glibc has read the variables when this process started
    set_private_caches()
    _keep_children_off_the_current_folder()


def processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_for(processes: int) -> int | None:
    """Return the threads of each of several processes at a time; None if the user has set their number."""
    return None if THREADS in os.environ else max(1, processors() // processes)


def _keep_children_off_the_current_folder() -> None:
    """Keep worker processes from importing modules in the current folder, which may be untrusted.

    ``python -c``, with which ``multiprocessing`` and others start theirs, looks there first, even for
    standard library modules.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    if sys.version_info < (3, 11):  # no such variable; workers get their parent's path later
        from multiprocessing import util

        flags = vars(util)["_args_from_interpreter_flags"]
        if "-I" not in flags():
            vars(util)["_args_from_interpreter_flags"] = lambda: [*flags(), "-I"]
