"""What a training leaves beside its checkpoints, also one that was interrupted or killed."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunetv2.training.logging.nnunet_logger import MetaLogger

from nnunet.record.event_reading import read_events
from nnunet.tiny_training import SHORT
from swin_umamba.errors import OutputError, UsageError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.record.event_files import TAGS
from swin_umamba.nnunet.training.robust_trainer import RobustTrainer
from swin_umamba.nnunet.training.train import train
from swin_umamba.weights.checkpoint import load_checkpoint

NAME = "nnUNetTrainerSwinUMambaDScratch"

pytestmark = pytest.mark.usefixtures("tiny_trainers")


def train_shortly(dataset: Dataset, **options: Any) -> Path:
    return train(dataset, trainer=NAME, **(SHORT | options)).fold_folder


def stop_in(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt every training step of an epoch, counted from 1."""
    original = RobustTrainer.train_step

    def train_step(self: RobustTrainer, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        if self.current_epoch == epoch - 1:
            raise KeyboardInterrupt
        return original(self, batch)

    monkeypatch.setattr(RobustTrainer, "train_step", train_step)


def lines(fold: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (fold / "metrics.jsonl").read_text().splitlines()]


def first_epochs(fold: Path) -> list[int]:
    return [start["first_epoch"] for start in json.loads((fold / "software.json").read_text())["starts"]]


def fold_of(dataset: Dataset) -> Path:
    return dataset.folders.results / dataset.name / f"{NAME}__SwinUMambaPlans__2d" / "fold_0"


def assert_agrees_with_the_checkpoint(fold: Path) -> None:
    log = load_checkpoint(fold / "checkpoint_final.pth")["logging"]
    for name, key in (
        ("train_loss", "train_losses"),
        ("pseudo_dice", "mean_fg_dice"),
        ("learning_rate", "lrs"),
    ):
        assert [line[name] for line in lines(fold)] == pytest.approx(log[key])
    for line, values in zip(lines(fold), log["dice_per_class_or_region"], strict=True):
        assert line["pseudo_dice_per_class"] == pytest.approx(
            dict(zip(("bright", "dark"), values, strict=True))
        )


def test_an_interrupted_training_has_one_line_for_each_epoch(
    planned_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = fold_of(planned_dataset)
    with monkeypatch.context() as context:
        stop_in(2, context)
        with pytest.raises(KeyboardInterrupt):
            train_shortly(planned_dataset, epochs=3)
    assert [line["epoch"] for line in lines(fold)] == [1]
    train(planned_dataset, trainer=NAME, continue_training=True)
    assert [line["epoch"] for line in lines(fold)] == [1, 2, 3]
    assert first_epochs(fold) == [1, 2]
    assert [line["skipped_steps"] for line in lines(fold)] == [0, 0, 0]
    assert_agrees_with_the_checkpoint(fold)
    assert not (fold / "tensorboard").exists()
    # Validating once more is not a start of a training.
    train(planned_dataset, trainer=NAME, continue_training=True, skip_validation=False)
    assert first_epochs(fold) == [1, 2]
    train_shortly(planned_dataset, overwrite=True)
    assert [line["epoch"] for line in lines(fold)] == [1]
    assert first_epochs(fold) == [1]


def test_a_killed_training_has_one_line_and_one_event_for_each_epoch(planned_dataset: Dataset) -> None:
    """The newest checkpoint that is left is one of epoch 1; three epochs are recorded, and half a fourth."""
    fold = train_shortly(planned_dataset, epochs=3, save_every=1, tensorboard=True)
    for name in ("final", "best", "1", "2"):
        (fold / f"checkpoint_{name}.pth").unlink()
    with open(fold / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 4, ')
    old = lines_that_are_whole(fold)
    train(planned_dataset, trainer=NAME, continue_training=True)
    new = lines(fold)
    assert [line["epoch"] for line in new] == [1, 2, 3]
    assert new[0] == old[0]
    assert new[1]["finished"] > old[2]["finished"]
    assert_agrees_with_the_checkpoint(fold)
    events = read_events(fold / "tensorboard")
    for name, tag in TAGS.items():
        assert events[tag] == [(line["epoch"], pytest.approx(line[name])) for line in new], tag
    for name in ("bright", "dark"):
        expected = [(line["epoch"], pytest.approx(line["pseudo_dice_per_class"][name])) for line in new]
        assert events[f"pseudo_dice_of_class/{name}"] == expected


def lines_that_are_whole(fold: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (fold / "metrics.jsonl").read_text().splitlines()[:-1]]


def test_event_files_can_be_switched_and_a_fresh_run_removes_them(planned_dataset: Dataset) -> None:
    fold = train_shortly(planned_dataset, tensorboard=True)
    train(planned_dataset, trainer=NAME, continue_training=True, epochs=2, tensorboard=False)
    assert [step for step, _ in read_events(fold / "tensorboard")["seconds"]] == [1]
    train_shortly(planned_dataset, overwrite=True)
    assert not (fold / "tensorboard").exists()
    assert json.loads((fold / "training_options.json").read_text())["tensorboard"] is False


def test_without_tensorboard_nothing_is_written(
    planned_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r"swin-umamba\[tensorboard\]"):
        train_shortly(planned_dataset, tensorboard=True)
    monkeypatch.setenv("SWIN_UMAMBA_TENSORBOARD", "1")
    with pytest.raises(UsageError, match="SWIN_UMAMBA_TENSORBOARD=0"):
        train_shortly(planned_dataset)
    assert not planned_dataset.folders.results.exists()


def test_a_record_that_cannot_be_written_stops_the_training_before_its_first_step(
    planned_dataset: Dataset,
) -> None:
    fold = train_shortly(planned_dataset)
    (fold / "metrics.jsonl").unlink()
    (fold / "metrics.jsonl").mkdir()
    with pytest.raises(OutputError, match="cannot write the file"):
        train(planned_dataset, trainer=NAME, continue_training=True, epochs=2)
    with pytest.raises(OutputError, match="cannot write the file"):
        train_shortly(planned_dataset, overwrite=True)
    assert load_checkpoint(fold / "checkpoint_final.pth")["current_epoch"] == 1
    shutil.rmtree(fold / "metrics.jsonl")
    train(planned_dataset, trainer=NAME, continue_training=True, epochs=2)
    assert [line["epoch"] for line in lines(fold)] == [1, 2]


def test_the_picture_of_nnunet_is_drawn_after_each_epoch(
    planned_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda self, folder: drawn.append(folder))
    fold = train_shortly(planned_dataset, epochs=2)
    assert drawn == [str(fold)] * 2
