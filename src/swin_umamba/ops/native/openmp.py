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
from collections.abc import Callable

_Task = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@functools.cache
def parallel() -> Callable[[Callable[[], None], int], None] | None:
    """Return a function that calls a task on so many of PyTorch's threads at once; None if there is none.

    The calling thread is one of them, and the function returns when all have. The runtime may give fewer. A
    task must not raise: its exception would be printed and lost.
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
        function(_Task(lambda data: task()), None, threads, 0)

    return run
