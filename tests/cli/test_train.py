"""``swin-umamba train``."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from swin_umamba.cli.main import main
from swin_umamba.interrupt import Terminated
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.trainers import find_trainer
from swin_umamba.nnunet.training import folds as several
from swin_umamba.nnunet.training import train as train_step
from swin_umamba.nnunet.training.folds import ClassDice, CrossValidation
from swin_umamba.nnunet.training.train import TrainResult


class FakeTraining:
    """Stands in for ``train``: keeps what it is called with, then returns or raises ``outcome``."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.outcome: TrainResult | BaseException = TrainResult(Path("model/fold_0"), 7, 0.5, 0)

    def __call__(self, dataset: Dataset, **options: Any) -> TrainResult:
        self.options = options
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> FakeTraining:
    fake = FakeTraining()
    monkeypatch.setattr(train_step, "train", fake)
    return fake


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "nnUNet_raw" / "Dataset003_Cells").mkdir(parents=True)
    return ["train", "3", "--root", str(tmp_path)]


def test_only_what_was_given_is_passed_on(training: FakeTraining, command: list[str]) -> None:
    assert main(command) == 0
    assert training.options == {}
    given = "--fold all --epochs 5 --iterations 3 --patch-size 64 96 --learning-rate 1e-3 --npz --continue "
    given += "--adapt-first-convolution --freeze-encoder-epochs 4 --encoder-learning-rate 1e-5"
    assert main([*command, *given.split(), "--pretrained", "none", "--json"]) == 0
    assert training.options == {
        "fold": "all",
        "epochs": 5,
        "iterations_per_epoch": 3,
        "patch_size": (64, 96),
        "learning_rate": 1e-3,
        "encoder_learning_rate": 1e-5,
        "frozen_epochs": 4,
        "adapt_first_convolution": True,
        "npz": True,
        "continue_training": True,
        "pretrained": "none",
    }
    assert main([*command, "--fold", "2"]) == 0
    assert training.options == {"fold": 2}
    for given, expected in (("--tensorboard", True), ("--no-tensorboard", False)):
        assert main([*command, given]) == 0
        assert training.options == {"tensorboard": expected}


def test_a_backbone_alone_has_a_trainer_that_takes_it(
    training: FakeTraining, command: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    backbone = ["--backbone", "vmamba_tiny_s1l8"]
    assert main([*command, *backbone]) == 0
    assert training.options == {"backbone": "vmamba_tiny_s1l8", "trainer": "nnUNetTrainerSwinUMambaD"}
    assert caplog.messages == ["trainer: nnUNetTrainerSwinUMambaD, as the usual one takes no other backbone"]
    assert find_trainer(training.options["trainer"], "vmamba_tiny_s1l8").__name__.endswith("_s1l8")
    caplog.clear()
    assert main([*command, *backbone, "--trainer", "nnUNetTrainerSwinUMambaDD"]) == 0
    assert training.options["trainer"] == "nnUNetTrainerSwinUMambaDD"
    assert caplog.messages == []


def test_output(training: FakeTraining, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(command)
    assert "7 epochs trained; mean validation Dice: 0.5000\nmodel: model" in capsys.readouterr().out
    training.outcome = TrainResult(Path("model/fold_0"), 7, float("nan"), 2)
    main([*command, "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert (printed["validation_dice"], printed["skipped_steps"]) == (None, 2)


@pytest.mark.parametrize(("interrupt", "code"), [(KeyboardInterrupt(), 130), (Terminated(), 143)])
def test_an_interrupt_says_how_to_go_on(
    training: FakeTraining,
    command: list[str],
    interrupt: BaseException,
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    training.outcome = interrupt
    assert main(command) == code
    assert "--continue" in capsys.readouterr().err


def test_a_wrong_option_is_refused_before_anything_happens(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--epochs", "0"]) == 2
    assert "epochs is 0" in capsys.readouterr().err
    assert main([*command, "--fold", "first"]) == 2


def test_several_folds_end_in_a_table(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[Any] = []
    results = {fold: TrainResult(Path(f"model/fold_{fold}"), 7, 0.5 + fold / 10, 0) for fold in (0, 2)}
    classes = {"liver": ClassDice({0: 0.5, 2: 0.7}), "spleen": ClassDice({0: float("nan"), 2: 0.75})}

    def train_folds(dataset: Dataset, folds: list[int], **options: Any) -> CrossValidation:
        called.append((folds, options))
        return CrossValidation(results, classes, ClassDice({0: 0.5, 2: 0.7}))

    monkeypatch.setattr(several, "train_folds", train_folds)
    assert main([*command, "--fold", "0", "2", "--continue"]) == 0
    assert called == [((0, 2), {"continue_training": True})]
    assert capsys.readouterr().out.splitlines() == [
        "Dice    fold 0  fold 2    mean ± deviation",
        "liver   0.5000  0.7000  0.6000 ± 0.1414",
        "spleen    none  0.7500  0.7500 ± none",
        "mean    0.5000  0.7000  0.6000 ± 0.1414",
        "model: model",
    ]
    assert main([*command, "--fold", "0", "2", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [each["fold_folder"] for each in printed["trained"]] == ["model/fold_0", "model/fold_2"]
    assert printed["cross_validation"]["classes"]["spleen"]["folds"] == {"0": None, "2": 0.75}
