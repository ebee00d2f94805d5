"""What glibc, the C library of most Linux systems, does with memory that has been freed.

By default it gives blocks of tens of megabytes, as activations are, back to Linux at once, which clears every
page of them when the next operator asks for such a block. That takes up to a third of a training step on a
CPU, and two thirds of joining the tiles of many classes.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> None:
    """Keep freed memory in this process for what follows, if glibc allocates it.

    Threads that run already may go on as before: call it before PyTorch is imported.
    """
    set_option = _function("mallopt", ctypes.c_int, ctypes.c_int)
    if set_option is not None:
        set_option(M_MMAP_MAX, 0)
        set_option(M_TRIM_THRESHOLD, -1)  # never


def give_back_freed_memory() -> None:
    """Give memory that is kept back to the system, if glibc has allocated it: others may need it."""
    trim = _function("malloc_trim", ctypes.c_size_t)
    if trim is not None:
        trim(0)


@cache
def _function(name: str, *argtypes: type[Any]) -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    found = getattr(ctypes.CDLL(None), name, None)  # musl has none
    if found is not None:
        found.argtypes = argtypes
    return found
