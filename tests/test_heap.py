"""Freed memory is kept from one large array to the next, and given back when asked for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from swin_umamba.heap import _function

CODE = """
import resource
import numpy as np
from pathlib import Path
from swin_umamba import heap
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
def cleared():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**26, np.uint8)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize()
print(cleared(), cleared())
heap.keep_freed_memory()
cleared()
print(cleared(), cleared())
before = resident()
heap.give_back_freed_memory()
print(before - resident())
"""


@pytest.mark.skipif(_function("mallopt") is None, reason="not glibc")
def test_pages_are_cleared_once() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment["NUMPY_MADVISE_HUGEPAGE"] = "0"
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=environment
    )
    default, kept, (given_back,) = (list(map(int, line.split())) for line in done.stdout.splitlines())
    assert min(default) > 2**25  # of 2**26, if Linux takes large pages for some nevertheless
    assert max(kept) < 2**20
    assert given_back > 2**25


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_a_library_without_the_function() -> None:
    assert _function("no_such_function") is None
