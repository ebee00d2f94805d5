"""Rows 18 and 19: downloads that go wrong, and two of them at once, one killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.processes import fetch
from forked import Forked
from swin_umamba.errors import CheckpointError
from swin_umamba.weights.download import fetch_weights
from weights.file_server import FileServer
from weights.served_weights import CONTENT, NAME, files, record

pytestmark = pytest.mark.usefixtures("served")


def test_row_18_a_short_body_is_gone_on_with(server: FileServer, cache: Path) -> None:
    with pytest.raises(CheckpointError, match="bytes are kept"):
        fetch_weights(record(server.address("short")))
    assert files(cache) == {f".partial-{NAME}"}
    assert fetch_weights(record(server.address("good"))).read_bytes() == CONTENT
    assert server.requests[1][1] is not None
    assert files(cache) == {NAME}


def waiting(processes: list[Forked]) -> list[Forked]:
    """Return which of the processes say that another one downloads."""
    return [process for process in processes if "Waiting for another process" in process.errors()]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < end, "the other processes are not getting on"
        time.sleep(0.02)


def test_row_19_processes_at_once(server: FileServer, cache: Path, tmp_path: Path) -> None:
    """One downloads and is killed; of two that wait, one continues where it stopped, one is served."""
    processes = [Forked(fetch, record(server.address("half"))) for _ in range(3)]
    try:
        wait_for(lambda: len(waiting(processes)) == 2)
        partial = cache / f".partial-{NAME}"
        wait_for(lambda: partial.exists() and partial.stat().st_size > 0)
        assert files(cache) == {partial.name}
        (first,) = (process for process in processes if process not in waiting(processes))
        first.kill()
        kept = partial.stat().st_size
        wait_for(lambda: len(server.requests) == 2)
        assert server.requests[1] == ("half", f"bytes={kept}-")
        server.release.set()
        codes = sorted(process.wait(600) for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert codes == [-signal.SIGKILL, 0, 0]
    assert len(server.requests) == 2
    assert files(cache) == {NAME}
    assert (cache / NAME).read_bytes() == CONTENT
