"""PyTorch's own threads for the kernels, where its OpenMP runtime lets them in.

After an operator, PyTorch's threads look out for the next one by looping, on the cores that a pool beside
them would want, and both wait. ``GOMP_parallel`` is what GCC makes of ``#pragma omp parallel``; on Linux,
GNU's, LLVM's and Intel's runtimes all have it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_Task = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@functools.cache
def parallel() -> Callable[[Callable[[], None], int], None] | None:
    """Return a function that calls a task on so many of PyTorch's threads at once; None if there is none.

    The calling thread is one of them, and the function returns when all have. The runtime may give fewer. A
    task must not raise: what it raises in the main thread, as signals do anywhere, is passed on, and all else
    printed and lost.
    """
    if sys.platform != "linux":
        return None
    try:
        # As the library that is loaded, with its dependencies: another OpenMP runtime may be there, too.
        library = ctypes.CDLL("libtorch_cpu.so", mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        function = library.GOMP_parallel
    except (OSError, AttributeError):
        return None
    function.argtypes = [_Task, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None

    def run(task: Callable[[], None], threads: int) -> None:
        callback = _Task(lambda data: task())
        if threading.current_thread() is not threading.main_thread():  # where no signal raises
            function(callback, None, threads, 0)
            return
        with _raised_by_signals() as raised:
            function(callback, None, threads, 0)
        if raised:
            raise raised[0]

    return run


@contextmanager
def _raised_by_signals() -> Iterator[list[BaseException]]:
    """Collect what ctypes would print and forget: a signal may raise before the task can catch anything."""
    raised: list[BaseException] = []
    earlier = sys.unraisablehook

    def keep(unraisable: Any) -> None:
        is_own = threading.current_thread() is threading.main_thread()
        if is_own and "ctypes callback" in (unraisable.err_msg or "") and unraisable.exc_value is not None:
            raised.append(unraisable.exc_value)
        else:
            earlier(unraisable)

    sys.unraisablehook = keep
    try:
        yield raised
    finally:
        sys.unraisablehook = earlier
