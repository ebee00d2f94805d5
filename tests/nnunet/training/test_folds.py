"""Several folds with one call: what is trained, what is kept, and what they give together."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnunet.tiny_training import ONE_STEP
from swin_umamba.errors import TrainingError, UsageError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.splits import SPLITS_FILE
from swin_umamba.nnunet.training import folds as several
from swin_umamba.nnunet.training.folds import CROSS_VALIDATION_FILE, ClassDice, train_folds
from swin_umamba.nnunet.training.train import SUMMARY, TrainResult, train
from swin_umamba.weights.checkpoint import load_checkpoint

SHORT = {**ONE_STEP, "pretrained": "none"}

pytestmark = pytest.mark.usefixtures("tiny_trainers")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The folds that are really trained, in order."""
    numbers: list[int] = []

    def recorded(dataset: Dataset, **options: Any) -> TrainResult:
        numbers.append(options["fold"])
        return train(dataset, **options)

    monkeypatch.setattr(several, "train", recorded)
    return numbers


def test_missing_folds_are_made_up_for_with_the_options_of_the_others(
    planned_dataset: Dataset, trained: list[int]
) -> None:
    alone = train(planned_dataset, fold=1, **SHORT)
    weights = load_checkpoint(alone.fold_folder / "checkpoint_final.pth")["network_weights"]
    with pytest.raises(TrainingError, match="these folds have a training already: 1"):
        train_folds(planned_dataset, [0, 1], **SHORT)
    assert trained == []
    found = train_folds(planned_dataset, [0, 1], continue_training=True)
    assert trained == [0]
    assert found.results[1] == alone
    model = alone.fold_folder.parent
    assert (found.model_folder, found.results[0].fold_folder) == (model, model / "fold_0")
    first = json.loads((model / "fold_0" / "training_options.json").read_text())
    second = json.loads((model / "fold_1" / "training_options.json").read_text())
    assert {**first, "fold": 1} == second
    again = load_checkpoint(alone.fold_folder / "checkpoint_final.pth")["network_weights"]
    assert all(weights[name].equal(again[name]) for name in weights)
    summaries = [json.loads((model / f"fold_{fold}" / SUMMARY).read_text()) for fold in (0, 1)]
    names = {str(value): name for name, value in planned_dataset.description()["labels"].items()}
    stored = json.loads((model / CROSS_VALIDATION_FILE).read_text())
    assert stored["folds"] == [0, 1]
    for value, name in names.items():
        if value != "0":
            dice = [summary["mean"][value]["Dice"] for summary in summaries]
            assert stored["classes"][name]["mean"] == pytest.approx(np.mean(dice))
            assert stored["classes"][name]["deviation"] == pytest.approx(np.std(dice, ddof=1))
    foreground = [summary["foreground_mean"]["Dice"] for summary in summaries]
    assert stored["foreground"]["folds"] == {"0": foreground[0], "1": foreground[1]}
    assert train_folds(planned_dataset, [1, 0], continue_training=True).as_dict()["folds"] == [1, 0]
    assert trained == [0]
    # More epochs are an option that may change, so both go on.
    train_folds(planned_dataset, [0, 1], continue_training=True, epochs=2, skip_validation=True)
    assert trained == [0, 0, 1]


def test_folds_of_different_experiments_are_not_put_together(
    planned_dataset: Dataset, trained: list[int]
) -> None:
    for fold, seed in ((0, 5), (1, 6)):
        train(planned_dataset, **{**SHORT, "fold": fold, "seed": seed, "skip_validation": True})
    with pytest.raises(UsageError, match=r"folds 0 and 1 .* different options: seed is 5 and 6"):
        train_folds(planned_dataset, [0, 1, 2], continue_training=True)
    with pytest.raises(UsageError, match="seed is 5 but the run was started with 6"):
        train_folds(planned_dataset, [2, 1], continue_training=True, seed=5)
    assert trained == []


@pytest.mark.parametrize("folds", [[0, 0], [0, "all"]])
def test_impossible_folds(planned_dataset: Dataset, folds: list[int | str]) -> None:
    with pytest.raises(UsageError, match="give each number once, or all alone"):
        train_folds(planned_dataset, folds)


@pytest.mark.parametrize("continue_training", [False, True])
def test_a_fold_that_the_splits_lack(
    planned_dataset: Dataset, trained: list[int], continue_training: bool
) -> None:
    """Neither alone nor among others, before anything is trained; nor if an earlier version began it."""
    options = {**SHORT, "continue_training": continue_training, "skip_validation": True}
    with pytest.raises(UsageError, match=r"there is no fold 5: the splits have 5\b"):
        train_folds(planned_dataset, [0, 5], **options)
    assert trained == []
    assert not planned_dataset.folders.results.exists()
    splits = planned_dataset.preprocessed_folder / SPLITS_FILE
    five = splits.read_text()
    splits.write_text(json.dumps([*json.loads(five), json.loads(five)[0]]))
    if continue_training:
        fold = train(planned_dataset, **{**options, "fold": 5, "continue_training": False}).fold_folder
    splits.write_text(five)
    with pytest.raises(UsageError, match=r"there is no fold 5: the splits have 5\b"):
        train(planned_dataset, **{**options, "fold": 5, "epochs": 2})
    assert planned_dataset.folders.results.exists() == continue_training
    if continue_training:
        assert load_checkpoint(fold / "checkpoint_final.pth")["current_epoch"] == 1


def test_a_class_that_some_folds_lack() -> None:
    some = ClassDice({0: 0.5, 1: math.nan, 2: 0.7})
    assert (some.mean, some.deviation) == (pytest.approx(0.6), pytest.approx(0.2 / math.sqrt(2)))
    assert some.as_dict()["folds"] == {"0": 0.5, "1": None, "2": 0.7}
    nothing = ClassDice({0: math.nan})
    assert nothing.as_dict() == {"mean": None, "deviation": None, "folds": {"0": None}}
    assert math.isnan(ClassDice({0: 0.5}).deviation)


def test_the_fold_that_fails_is_named(planned_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(dataset: Dataset, **options: Any) -> TrainResult:
        raise TrainingError("no", where=f"fold_{options['fold']}")

    monkeypatch.setattr(several, "train", failing)
    with pytest.raises(TrainingError, match="fold_3"):
        train_folds(planned_dataset, [3, 4], **SHORT)
    assert not list(Path(planned_dataset.folders.results).rglob(CROSS_VALIDATION_FILE))
