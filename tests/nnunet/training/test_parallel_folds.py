"""Several folds at a time: who trains what and where, and what remains when one of them fails."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import swin_umamba.child as child_module
from faults.training_process import make_trainers_tiny
from forked import CONTEXT
from nnunet.tiny_training import SHORT
from swin_umamba.errors import DataError, TrainingError, UsageError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.splits import SPLITS_FILE
from swin_umamba.nnunet.training import parallel_folds
from swin_umamba.nnunet.training.folds import CROSS_VALIDATION_FILE, train_folds
from swin_umamba.nnunet.training.options import TrainRequest
from swin_umamba.nnunet.training.parallel_folds import places_for
from swin_umamba.nnunet.training.train import TrainResult, train

TOY: dict[str, Any] = {**SHORT, "pretrained": "none"}
FAILS = "fails"
"""File beside the results with the number of the fold that is killed."""
real_train = parallel_folds._train


@pytest.fixture(autouse=True)
def _fast_start(monkeypatch: pytest.MonkeyPatch, tiny_trainers: None) -> None:
    monkeypatch.setattr(child_module, "_CONTEXT", CONTEXT)
    monkeypatch.setattr(parallel_folds, "_train", train_tiny)
    monkeypatch.delenv(parallel_folds.THREADS, raising=False)


def train_tiny(dataset: Dataset, options: Mapping[str, Any], threads: int | None) -> TrainResult:
    """Train in a process of its own, or die."""
    made_to_fail = dataset.folders.results.parent / FAILS
    if made_to_fail.exists() and made_to_fail.read_text() == str(options["fold"]):
        os.kill(os.getpid(), 9)
    make_trainers_tiny()
    os.environ["SWIN_UMAMBA_BACKEND"] = "chunked"  # no kernels to load
    return real_train(dataset, options, threads)


def test_a_fold_that_is_killed_stops_no_other_and_is_made_up_for(
    planned_dataset: Dataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(parallel_folds.THREADS, "1")  # several would wait for each other beside other tests
    caplog.set_level(logging.INFO, logger="swin_umamba")
    (tmp_path / FAILS).write_text("0")
    with pytest.raises(TrainingError) as caught:
        train_folds(planned_dataset, [0, 1], folds_parallel=2, **TOY)
    assert "1 of 2 folds are missing: fold 0: the process was killed" in str(caught.value)
    assert "the same command with --continue" in str(caught.value)
    model = Path(str(caught.value.where))
    assert not (model / CROSS_VALIDATION_FILE).exists()
    (tmp_path / FAILS).unlink()
    caplog.clear()
    found = train_folds(planned_dataset, [0, 1], folds_parallel=1, continue_training=True)
    said = caplog.messages
    assert "fold 1 is finished already" in said
    assert "fold 0 begins; 0 more to come" in said
    assert [list(found.results), found.results[1].epochs] == [[0, 1], 1]
    options = [json.loads((model / f"fold_{fold}" / "training_options.json").read_text()) for fold in (0, 1)]
    assert options[0] == {**options[1], "fold": 0}
    assert json.loads((model / CROSS_VALIDATION_FILE).read_text())["folds"] == [0, 1]


def test_what_all_read_is_written_before_any_begins(
    planned_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = planned_dataset.preprocessed_folder / SPLITS_FILE
    splits.unlink(missing_ok=True)
    monkeypatch.setattr(parallel_folds, "_train", _needs_splits)
    with pytest.raises(DataError, match="5 folds"):  # one reason for all, and so one message
        train_folds(planned_dataset, [0, 1], folds_parallel=2, **TOY)


def _needs_splits(dataset: Dataset, options: Mapping[str, Any], threads: int | None) -> TrainResult:
    splits = json.loads((dataset.preprocessed_folder / SPLITS_FILE).read_text())
    raise DataError(f"{len(splits)} folds")


@pytest.mark.parametrize(
    ("given", "places"),
    [
        ({}, ()),
        ({"device": "cpu", "folds_parallel": 3}, (None,) * 3),
        ({"device": "cpu", "devices": ("2",)}, ("cpu",) * 2),
        ({"devices": ("cpu",)}, ("cpu",)),
    ],
)
def test_places(given: dict[str, Any], places: tuple[str | None, ...]) -> None:
    assert places_for(TrainRequest(**given)) == places


def test_impossible_places(planned_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="folds_parallel is 0"):
        TrainRequest(folds_parallel=0)
    with pytest.raises(UsageError, match="both say how many"):
        TrainRequest(folds_parallel=2, devices=("2",))
    with pytest.raises(UsageError, match="fold 3 is one fold"):
        train(planned_dataset, fold=3, folds_parallel=2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert places_for(TrainRequest()) == ()
    for given in ({"folds_parallel": 2}, {"devices": ("2",), "device": "cpu"}):
        with pytest.raises(UsageError, match="without torchrun"):
            places_for(TrainRequest(**given))


@pytest.mark.parametrize(("processes", "threads"), [(1, 7), (2, 3), (3, 2), (7, 1), (20, 1)])
def test_cores_are_divided_unless_the_user_has_done_it(
    processes: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(7)), raising=False)
    monkeypatch.delenv(parallel_folds.LOADERS, raising=False)
    assert parallel_folds._shares(processes)[0] == threads
    assert parallel_folds._shares(processes)[1] <= threads
    monkeypatch.setenv(parallel_folds.THREADS, "5")
    monkeypatch.setenv(parallel_folds.LOADERS, "3")
    assert parallel_folds._shares(processes) == (None, None)
