"""The processes of one host: what they return, and what ends them."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import time
from functools import partial
from multiprocessing.context import SpawnProcess
from typing import Any

import pytest
import torch

from swin_umamba.distributed import launch
from swin_umamba.distributed.launch import run_on_ranks
from swin_umamba.distributed.processes import device_of_rank, joined_processes
from swin_umamba.errors import DataError, TrainingError
from swin_umamba.interrupt import Terminated, terminate_as_interrupt

pytestmark = pytest.mark.slow


def ranks_and_sum(what: str, rank: int) -> tuple[list[int], float, int]:
    with joined_processes(partial(device_of_rank, "cpu")) as processes:
        if processes.rank == rank and what == "raise":
            raise DataError("damaged", where="case7", hint="mend it")
        if processes.rank == rank and what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        logging.getLogger("swin_umamba.test").warning("here")
        total = processes.sum(torch.tensor(processes.rank + 1.0))
        return processes.gather(processes.rank), float(total), torch.get_num_threads()


def test_the_first_rank_returns_what_all_found(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(launch, "threads_for", lambda size: 3)
    assert run_on_ranks(ranks_and_sum, ("", 0), 3) == ([0, 1, 2], 6.0, 3)
    assert sorted(caplog.messages) == ["here", "rank 1: here", "rank 2: here"]


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("what", "error", "message"),
    [("raise", DataError, "damaged"), ("kill", TrainingError, "rank {rank} was killed by signal: Killed")],
)
def test_the_first_error_is_that_of_all(what: str, error: Any, message: str, rank: int) -> None:
    with pytest.raises(error, match=message.format(rank=rank)):
        run_on_ranks(ranks_and_sum, (what, rank), 2)


def test_a_signal_while_the_first_rank_is_started_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    begin, started = SpawnProcess._Popen, []  # type: ignore[attr-defined]

    def told(process: Any) -> Any:
        popen = begin(process)
        started.append(popen)
        os.kill(os.getpid(), signal.SIGTERM)
        return popen

    monkeypatch.setattr(SpawnProcess, "_Popen", staticmethod(told))
    with pytest.raises(Terminated), terminate_as_interrupt():
        run_on_ranks(ranks_and_sum, ("", 0), 2)
    (popen,) = started
    assert popen.returncode == -signal.SIGTERM


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_just_before_a_rank_is_made_leaves_none_untold(
    monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    deferred, calls = launch.interrupts_deferred, itertools.count()

    def late() -> Any:
        if next(calls) == rank:
            os.kill(os.getpid(), signal.SIGTERM)
        return deferred()

    monkeypatch.setattr(launch, "interrupts_deferred", late)
    monkeypatch.setattr(launch, "SECONDS_TO_FOLLOW", 10_000.0)
    with pytest.raises(Terminated), terminate_as_interrupt():
        run_on_ranks(time.sleep, (10_000,), 2)
    assert next(calls) == rank + 1


def test_the_reason_why_a_rank_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AttributeError, match="local object"):
        run_on_ranks(lambda: None, (), 2)
