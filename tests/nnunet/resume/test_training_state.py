"""Random generators and copies of a training state."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nnunet.tiny_training import DAGGER, make_trainer
from swin_umamba.errors import CheckpointError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.resume.training_state import (
    copied_to_cpu,
    random_state,
    restore_random_state,
    seed_everything,
)
from swin_umamba.weights.checkpoint import load_checkpoint, save_checkpoint


def draw() -> tuple[float, float, float, float]:
    # An odd number of normal draws leaves one in NumPy's buffer, which is part of its state.
    return random.random(), np.random.normal(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002


def test_random_generators_go_on_after_a_round_trip_through_a_file(tmp_path: Path) -> None:
    seed_everything(3)
    draw()
    save_checkpoint(tmp_path / "state.pth", {"state": random_state()})
    expected = [draw() for _ in range(3)]
    seed_everything(4)
    restore_random_state(load_checkpoint(tmp_path / "state.pth")["state"])
    assert [draw() for _ in range(3)] == expected


def test_equal_seeds_give_equal_draws() -> None:
    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first


def test_copies_share_nothing() -> None:
    original = {"weights": {"a": torch.zeros(2)}, "log": [[1.0], (torch.ones(1), "text")], "scaler": None}
    copy = copied_to_cpu(original)
    original["weights"]["a"] += 1
    original["log"][0].append(2.0)
    assert torch.equal(copy["weights"]["a"], torch.zeros(2))
    assert copy["log"][0] == [1.0]
    assert copy["log"][1][1] == "text"
    assert copy["scaler"] is None


@pytest.mark.usefixtures("tiny_trainers")
def test_a_run_goes_on_with_its_loss_alone(planned_dataset: Dataset) -> None:
    trainer = make_trainer(planned_dataset, DAGGER, pretrained="none")
    trainer.initialize()
    state = trainer.state(next_epoch=3)
    trainer.loss.loss.dc = torch.compile(trainer.loss.loss.dc, backend="eager")  # is the same loss
    trainer.restore(state)
    assert trainer.current_epoch == 3
    parts = trainer.loss.loss
    trainer.loss.loss = nn.BCEWithLogitsLoss()
    with pytest.raises(
        CheckpointError, match=r"DC_and_CE_loss of .*, and the present one is .*BCEWithLogitsLoss"
    ):
        trainer.restore(state)
    trainer.loss = parts.__call__  # a loss need not be a module
    with pytest.raises(CheckpointError, match="the present one is method"):
        trainer.restore(state)
    del state["swin_umamba"]["loss"]  # of an earlier version
    trainer.restore(state)
