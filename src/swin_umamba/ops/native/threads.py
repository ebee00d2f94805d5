"""Threads for kernels that run without the interpreter lock: PyTorch's own, or a small pool.

Numba's own threading layers are safe neither under ``fork`` nor from several Python threads at once. Here the
kernels are serial and a call hands out numbered work items; what an item computes does not depend on the
thread.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

# Numba imports it when it first sees an array. Inside denormals_flushed, NumPy for Python 3.10 would warn
# that the smallest subnormal number is zero.
import numpy.ma  # noqa: F401
import torch

from swin_umamba.ops.native import openmp


class _Pool:
    """The process's helper threads, started when first needed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.executor: ThreadPoolExecutor | None = None
        self.size = 0

    def run(self, task: Callable[[], None], threads: int) -> None:
        """Call ``task`` on so many threads, of which the calling one is the first, or on fewer."""
        futures: list[Future[None]] = []
        try:
            executor = self._get(threads - 1)
            for _ in range(threads - 1):
                futures.append(executor.submit(task))
        except RuntimeError:
            # The interpreter is shutting down, the system has no thread left, or another call has just
            # enlarged the pool: this thread does what the others cannot.
            pass
        task()
        for future in futures:
            if not future.cancel():
                future.result()

    def _get(self, size: int) -> ThreadPoolExecutor:
        with self.lock:
            if self.executor is None or self.size < size:
                if self.executor is not None:
                    self.executor.shutdown(wait=False)  # calls under way keep their threads to the end
                self.executor = ThreadPoolExecutor(size, thread_name_prefix="swin-umamba-scan")
                self.size = size
            return self.executor


_pool = _Pool()
_forked = False


def _after_fork() -> None:
    global _pool, _forked
    _pool, _forked = _Pool(), True


# Threads do not survive a fork: one that is gone may still hold a lock, and OpenMP waits for it forever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run_items(work: Callable[[int], None], items: int) -> None:
    """Call ``work(i)`` once for each i below ``items``, on as many threads as PyTorch may use.

    The calling thread takes part and can finish everything by itself, so that a busy pool delays no call and
    calls may come from any thread. The first exception of an item is raised after the threads have stopped.
    """
    threads = min(torch.get_num_threads(), items)
    numbers = itertools.count()  # next() on it is atomic
    errors: list[BaseException] = []

    def take_items() -> None:
        try:
            with denormals_flushed():
                while (item := next(numbers)) < items:
                    work(item)
        except BaseException as error:
            errors.append(error)

    if threads <= 1:
        take_items()
    else:
        run = None if _forked else openmp.parallel()
        (run or _pool.run)(take_items, threads)
    if errors:
        raise errors[0]


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Treat numbers below 1.2e-38 as zero on this thread while the block runs.

    Where the input is zero, states decay until they are denormal, which makes operations 20 times slower than
    on any other number and changes no result that float32 could show.
    """
    # PyTorch can set the mode but not report it; half of the smallest normal number reveals it.
    smallest_normal = sys.float_info.min
    flushed_before = smallest_normal / 2 == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed_before)


def sum_in_order(terms: torch.Tensor) -> torch.Tensor:
    """Sum over the first dimension, one term after another, overwriting ``terms``.

    ``torch.sum`` may split a long sum among its threads, which changes the rounding; NumPy does not.
    """
    if len(terms) == 0:
        return torch.zeros(terms.shape[1:])
    total, *rest = terms.numpy()
    for term in rest:
        total += term
    return terms[0]
