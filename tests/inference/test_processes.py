"""Processes that work on items: how many there are, and what is said of those that die."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from swin_umamba.inference import processes
from swin_umamba.inference.processes import run_in_processes

ITEMS = ["a", "b", "c", "d"]


def make_work(marks: Path, number: int) -> Callable[[str], int]:
    """Return what answers with the number of its process; the first process dies before."""
    try:
        (marks / "died").touch(exist_ok=False)
    except FileExistsError:
        return partial(answer, number)
    os._exit(7)


def answer(number: int, item: str) -> int:
    return number


@pytest.mark.slow
def test_no_more_processes_than_processors_bear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "processors", lambda: 1)
    monkeypatch.setattr(processes, "PROCESSES_OF_A_PROCESSOR", 2)
    with caplog.at_level(logging.WARNING):
        found = dict(run_in_processes(lambda number: partial(make_work, tmp_path, number), ITEMS, 1000))
    assert sorted(found) == ITEMS
    assert set(found.values()) <= {0, 1}
    assert "2 processes instead of 1000, for 1 processors" in caplog.text
    assert "a process died while it loaded the model (exit code 7); another is started" in caplog.text
