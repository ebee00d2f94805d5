"""Whether the batches that wait for the training fit into the shared memory."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nnunet.tiny_training import DAGGER, make_trainer
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.training import shared_memory
from swin_umamba.nnunet.training.shared_memory import bytes_of_batch, free_shared_memory, warn_if_too_small


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A shared memory of any size."""
    state = SimpleNamespace(free=0)
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda folder: state)
    return state


@pytest.mark.parametrize(("size", "warned"), [(999, True), (1000, False), (2**30, False)])
def test_a_warning_where_they_do_not_fit(
    size: int, warned: bool, free: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    free.free = size
    warn_if_too_small(100, 10)
    assert bool(caplog.records) == warned
    assert ("--shm-size" in caplog.text and "--ipc=host" in caplog.text) == warned


def test_systems_without_such_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared_memory, "_FOLDER", tmp_path / "nowhere")
    assert free_shared_memory() is None
    warn_if_too_small(2**60, 1)
    assert not caplog.records


@pytest.mark.usefixtures("tiny_trainers")
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_training_warns_before_it_starts(
    workers: int, planned_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimate is that of the batch which then comes, and processes make as many as it counts."""
    trainer = make_trainer(planned_dataset, DAGGER, pretrained="none", workers=workers)
    trainer.initialize()
    module = "swin_umamba.nnunet.training.batches"
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(f"{module}.warn_if_too_small", lambda *sizes: told.append(sizes))
    made: list[Any] = []
    monkeypatch.setattr(f"{module}.iter", lambda loader: made.append(loader) or loader, raising=False)
    trainer.get_dataloaders()
    ((size, batches),) = told
    assert batches == sum((each.num_workers * (each.prefetch_factor or 0)) for each in made)
    batch = made[1].dataset[0]
    tensors = [batch["data"], *batch["target"]]
    assert all(isinstance(each, torch.Tensor) for each in tensors)
    real = sum(each.numel() * each.element_size() for each in tensors)
    assert real <= size <= 1.5 * real


def test_an_estimate_by_hand() -> None:
    assert bytes_of_batch(8, 3, 1, (512, 512)) == math.ceil(8 * 512 * 512 * 4 * (3 + 4 / 3))
