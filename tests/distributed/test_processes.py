"""The device of each rank, and what a process alone does."""

from __future__ import annotations

import pytest
import torch

from swin_umamba.distributed.agreement import Agreement
from swin_umamba.distributed.processes import (
    Processes,
    current_processes,
    device_of_rank,
    is_first_process,
    joined_processes,
)
from swin_umamba.errors import DataError, UsageError
from swin_umamba.ops import backend

CPU = torch.device("cpu")


def test_each_rank_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(backend, "_require_cuda", lambda name, index: None)
    assert [device_of_rank("auto", rank, 3).index for rank in range(3)] == [0, 1, 2]
    assert device_of_rank("cpu", 1, 3) == CPU
    assert device_of_rank("cuda:1", 0, 1) == torch.device("cuda:1")
    with pytest.raises(UsageError, match="2 processes cannot share the device cuda:1"):
        device_of_rank("cuda:1", 0, 2)


def test_apple_has_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(UsageError, match="cannot share the device mps"):
        device_of_rank("mps", 0, 2)


def test_a_process_alone() -> None:
    with joined_processes(lambda local, size: CPU) as processes:
        assert processes == Processes(0, 1, CPU) == current_processes(CPU)
        processes.barrier()
        assert processes.gather("a") == ["a"]
        assert processes.sum(torch.ones(2)).tolist() == [1, 1]
        agreement = Agreement(processes)
        assert agreement.before_step(lambda: 7) == 7
        agreement.settle()
        with pytest.raises(DataError, match="damaged"):
            agreement.before_step(_fails)
    assert is_first_process()


def _fails() -> None:
    raise DataError("damaged")
