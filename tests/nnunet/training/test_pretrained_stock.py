"""nnU-Net's own switch -pretrained_weights, and payloads on every way into a training."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.run import run_training as stock_command

from nnunet.tiny_training import PLAIN, SHORT, make_trainer, weights_of
from payload import Payload
from swin_umamba.errors import CheckpointError, UsageError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.training.robust_trainer import RobustTrainer
from swin_umamba.nnunet.training.train import train
from swin_umamba.weights.checkpoint import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.usefixtures("tiny_trainers", "stock_loader")

STEM = "stem.0.weight"


@pytest.fixture
def stock_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put nnU-Net's function back after the test."""
    monkeypatch.setattr(stock_command, "load_pretrained_weights", stock_command.load_pretrained_weights)


def give_to_stock(trainer: RobustTrainer, file: Path) -> None:
    """Do what ``nnUNetv2_train -pretrained_weights FILE`` does with a trainer."""
    stock_command.maybe_load_checkpoint(trainer, False, False, str(file))


def test_the_switch_of_nnunets_command_adapts_too(planned_dataset: Dataset, trained: dict[str, Path]) -> None:
    trainer = make_trainer(planned_dataset, PLAIN, num_channels=1, labels=("background", "all"))
    file = trained[PLAIN] / "fold_0" / "checkpoint_final.pth"
    give_to_stock(trainer, file)
    weights, state = weights_of(trained[PLAIN]), trainer.network.state_dict()
    assert torch.equal(state["stem.1.weight"], weights["stem.1.weight"])
    assert torch.allclose(state[STEM], weights[STEM].sum(dim=1, keepdim=True))
    assert "3 adapted, 8 re-initialised" in Path(trainer.log_file).read_text()
    assert trainer.options.pretrained == str(file)
    assert trainer.frozen_epochs == 10
    trainer.on_train_start()  # does not ask for weights any more
    trainer.close_data_loaders()


def test_the_switch_of_nnunets_command_takes_one_answer(
    planned_dataset: Dataset, trained: dict[str, Path]
) -> None:
    file = trained[PLAIN] / "fold_0" / "checkpoint_final.pth"
    with pytest.raises(UsageError, match="two different initial weights"):
        give_to_stock(make_trainer(planned_dataset, PLAIN, pretrained="none"), file)
    with pytest.raises(UsageError, match="random weights"):
        give_to_stock(make_trainer(planned_dataset, PLAIN + "Scratch"), file)


def test_other_networks_keep_nnunets_own_function(planned_dataset: Dataset) -> None:
    original = stock_command.load_pretrained_weights
    calls: list[tuple[Any, ...]] = []
    stock_command.load_pretrained_weights = lambda *arguments: calls.append(arguments)
    for _ in range(2):  # the second trainer must not wrap the wrapper of the first
        make_trainer(planned_dataset, PLAIN, pretrained="none").initialize()
    other = torch.nn.Linear(1, 1)
    stock_command.load_pretrained_weights(other, "file", verbose=True)
    assert calls == [(other, "file", True)]
    stock_command.load_pretrained_weights = original


@pytest.mark.parametrize("way", ["file", "folder", "stock", "resume", "stock resume"])
def test_a_payload_is_refused_on_every_way_in(
    planned_dataset: Dataset, trained: dict[str, Path], tmp_path: Path, way: str
) -> None:
    canary = tmp_path / "canary"
    checkpoint = deepcopy(load_checkpoint(trained[PLAIN] / "fold_0" / "checkpoint_final.pth"))
    checkpoint["logging"]["payload"] = Payload(os.mkdir, str(canary))
    resumes = way.endswith("resume")
    trainer = make_trainer(planned_dataset, PLAIN, pretrained="none" if resumes else None)
    trainer.continues = resumes
    fold = Path(trainer.output_folder) if resumes else tmp_path / "model" / "fold_0"
    file = fold / "checkpoint_final.pth"
    save_checkpoint(file, checkpoint)
    go_in = {
        "file": lambda: train(planned_dataset, pretrained=str(file), **SHORT),
        "folder": lambda: train(planned_dataset, pretrained=str(fold.parent), **SHORT),
        "stock": lambda: give_to_stock(trainer, file),
        "resume": lambda: train(planned_dataset, continue_training=True),
        "stock resume": lambda: stock_command.maybe_load_checkpoint(trainer, True, False),
    }[way]
    with pytest.raises(CheckpointError, match=r"mkdir.*nothing of it ran"):
        go_in()
    assert not canary.exists()
    torch.load(file, weights_only=False)
    assert canary.exists(), "the payload must be a real one"
