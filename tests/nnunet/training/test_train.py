"""Train, validate, stop and go on, on six tiny pictures."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from equal_states import TIMES, assert_equal_states
from nnunet.tiny_training import ONE_STEP, make_trainer
from swin_umamba.errors import CheckpointError, DataError, OutputError, TrainingError, UsageError
from swin_umamba.interrupt import Terminated
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.resume.checkpoints import LOCK_FILE, FoldLock
from swin_umamba.nnunet.training.robust_trainer import RobustTrainer
from swin_umamba.nnunet.training.train import TrainResult, train
from swin_umamba.weights.checkpoint import load_checkpoint

SHORT = {**ONE_STEP, "epochs": 2, "iterations_per_epoch": 2, "pretrained": "none"}

pytestmark = pytest.mark.usefixtures("tiny_trainers")


def train_shortly(dataset: Dataset, **options: Any) -> TrainResult:
    return train(dataset, **(SHORT | options))


def train_and_stop(dataset: Dataset, epoch: int, signal_number: int, **options: Any) -> None:
    """Train, and send this process a signal in the first training step of an epoch."""
    original = RobustTrainer.train_step

    def train_step(self: RobustTrainer, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        if self.current_epoch == epoch:
            os.kill(os.getpid(), signal_number)
        return original(self, batch)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(RobustTrainer, "train_step", train_step)
        train_shortly(dataset, **options)


def test_train_names_a_file_in_the_place_of_a_folder(planned_dataset: Dataset) -> None:
    planned_dataset.folders.results.write_text("mine")
    with pytest.raises(OutputError, match="a file, not a folder"):
        train_shortly(planned_dataset)
    assert planned_dataset.folders.results.read_text() == "mine"


@pytest.mark.parametrize(
    "options",
    [{"continue_training": True}, {"trainer": "nnUNetTrainerSwinUMambaD", "pretrained": "nowhere.pth"}],
)
def test_a_failed_start_of_training_leaves_nothing(planned_dataset: Dataset, options: dict[str, Any]) -> None:
    with pytest.raises(TrainingError):
        train_shortly(planned_dataset, **options)
    assert not planned_dataset.folders.results.exists()
    planned_dataset.folders.results.mkdir()
    with pytest.raises(TrainingError):
        train_shortly(planned_dataset, **options)
    assert list(planned_dataset.folders.results.iterdir()) == []


def test_training_and_validation_write_a_complete_model(planned_dataset: Dataset) -> None:
    result = train_shortly(planned_dataset, save_every=1, npz=True)
    fold = result.fold_folder
    assert fold == planned_dataset.folders.results.joinpath(
        "Dataset901_Squares", "nnUNetTrainerSwinUMamba__SwinUMambaPlans__2d", "fold_0"
    )
    assert result.epochs == 2
    assert 0 <= result.validation_dice <= 1
    assert result.skipped_steps == 0
    names = {path.name for path in fold.glob("*.pth")}
    assert names == {f"checkpoint_{name}.pth" for name in ("best", "final", "0", "1")}
    first = load_checkpoint(fold / "checkpoint_0.pth")
    assert first["current_epoch"] == 1
    assert {len(values) for values in first["logging"].values()} == {1}, "written after the epoch was closed"
    final = load_checkpoint(fold / "checkpoint_final.pth")
    assert final["current_epoch"] == 2
    assert final["trainer_name"] == "nnUNetTrainerSwinUMamba"
    assert final["inference_allowed_mirroring_axes"] == (0, 1)
    assert all(torch.isfinite(value).all() for value in final["network_weights"].values())
    assert json.loads((fold / "training_options.json").read_text())["seed"] == 5
    keys = json.loads((planned_dataset.preprocessed_folder / "splits_final.json").read_text())[0]["val"]
    for key in keys:
        assert np.array(PILImage.open(fold / "validation" / f"{key}.png")).shape == (64, 64)
        with np.load(fold / "validation" / f"{key}.npz") as file:
            assert file["probabilities"].shape == (3, 1, 64, 64)
            assert np.allclose(file["probabilities"].sum(axis=0), 1, atol=1e-3)
    summary = json.loads((fold / "validation" / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == len(keys)
    assert summary["mean"].keys() == {"1", "2"}


def test_stopping_and_going_on_equals_not_stopping(planned_dataset: Dataset) -> None:
    straight = train_shortly(planned_dataset, epochs=3).fold_folder
    expected = load_checkpoint(straight / "checkpoint_final.pth")
    with pytest.raises(Terminated):
        train_and_stop(planned_dataset, 1, signal.SIGTERM, epochs=3, overwrite=True)
    assert load_checkpoint(straight / "checkpoint_latest.pth")["current_epoch"] == 1
    train(planned_dataset, continue_training=True)
    resumed = load_checkpoint(straight / "checkpoint_final.pth")
    for checkpoint in (expected, resumed):
        checkpoint["swin_umamba"]["options"].pop("overwrite")
    assert_equal_states(resumed, expected, leave_out=TIMES)
    assert not (straight / "checkpoint_latest.pth").exists()


def test_cudnn_is_deterministic_in_a_seeded_run_that_goes_on_too(
    planned_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    cudnn = torch.backends.cudnn
    # As nnU-Net's own command leaves them, which sets them after it has made the trainer.
    monkeypatch.setattr(cudnn, "benchmark", True)
    monkeypatch.setattr(cudnn, "deterministic", False)
    seen = []

    def recorded(function: Any) -> Any:
        def with_flags(*arguments: Any, **keywords: Any) -> Any:
            seen.append((cudnn.benchmark, cudnn.deterministic))
            return function(*arguments, **keywords)

        return with_flags

    monkeypatch.setattr(RobustTrainer, "train_step", recorded(RobustTrainer.train_step))
    monkeypatch.setattr(RobustTrainer, "_validate", recorded(RobustTrainer._validate))
    train_shortly(planned_dataset, epochs=1, skip_validation=True)
    train_shortly(planned_dataset, epochs=2, continue_training=True, skip_validation=False)
    assert seen == [(False, True)] * 5
    assert (cudnn.benchmark, cudnn.deterministic) == (True, False)


def test_ctrl_c_in_the_first_epoch_leaves_something_to_go_on_from(planned_dataset: Dataset) -> None:
    # A shell starts background jobs, and so perhaps these tests, with Ctrl-C switched off.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_and_stop(planned_dataset, 0, signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert train(planned_dataset, continue_training=True, epochs=1).epochs == 1


def test_a_torn_latest_checkpoint_is_skipped(
    planned_dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    fold = train_shortly(planned_dataset).fold_folder
    (fold / "checkpoint_final.pth").unlink()
    (fold / "checkpoint_latest.pth").write_bytes(b"torn")
    best = load_checkpoint(fold / "checkpoint_best.pth")["current_epoch"]
    with caplog.at_level(logging.INFO):
        assert train(planned_dataset, continue_training=True, epochs=3).epochs == 3
    assert "checkpoint_latest.pth cannot be loaded and is skipped" in caplog.text
    assert f"continuing after epoch {best} of" in caplog.text
    assert f", fold {fold.name.removeprefix('fold_')}, on cpu: {fold}" in caplog.text
    (fold / "checkpoint_final.pth").write_bytes(b"")
    (fold / "checkpoint_best.pth").write_bytes(b"")
    with pytest.raises(CheckpointError, match="none of the checkpoints"):
        train(planned_dataset, continue_training=True)


def test_a_trained_fold_is_neither_replaced_nor_changed_by_accident(planned_dataset: Dataset) -> None:
    fold = train_shortly(planned_dataset, epochs=1).fold_folder
    before = (fold / "checkpoint_final.pth").read_bytes()
    with pytest.raises(TrainingError, match="already has a training"):
        train_shortly(planned_dataset, epochs=1)
    with pytest.raises(UsageError, match="seed is 6 but the run was started with 5"):
        train(planned_dataset, continue_training=True, seed=6)
    assert (fold / "checkpoint_final.pth").read_bytes() == before
    (fold / "checkpoint_777.pth").write_bytes(before)
    train_shortly(planned_dataset, epochs=1, overwrite=True, seed=6)
    assert not (fold / "checkpoint_777.pth").exists(), "a checkpoint of the replaced run could be resumed"


def test_a_run_does_not_go_on_as_another_experiment(planned_dataset: Dataset) -> None:
    fold = train_shortly(planned_dataset, epochs=1, skip_validation=True).fold_folder
    before = (fold / "checkpoint_final.pth").read_bytes()
    plans = planned_dataset.preprocessed_folder / "SwinUMambaPlans.json"
    splits = planned_dataset.preprocessed_folder / "splits_final.json"
    swapped = [{"train": each["val"], "val": each["train"]} for each in json.loads(splits.read_text())]
    for path, text, reason in (
        (plans, plans.read_text().replace('"batch_size": ', '"batch_size": 3'), "batch_size was"),
        (splits, json.dumps(swapped), "the training cases and the validation cases of the fold are not"),
    ):
        good = path.read_text()
        path.write_text(text)
        with pytest.raises(TrainingError, match=reason):
            train(planned_dataset, continue_training=True, epochs=2)
        path.write_text(good)
    assert (fold / "checkpoint_final.pth").read_bytes() == before
    assert train(planned_dataset, continue_training=True, epochs=2).epochs == 2


class SameSecond(datetime):
    """A clock that stands still: logs are called by the second in which a trainer was made."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> SameSecond:
        return cls(2026, 1, 1, tzinfo=tz)


def test_a_fold_is_trained_by_one_process_at_a_time(
    planned_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnunetv2.training.nnUNetTrainer.nnUNetTrainer.datetime", SameSecond)
    fold = train_shortly(planned_dataset, epochs=1, skip_validation=True).fold_folder
    before = sorted(fold.iterdir())
    assert fold / LOCK_FILE not in before
    assert len([path for path in before if path.name.startswith("training_log_")]) == 1
    with FoldLock(fold).held():
        for options in ({"overwrite": True}, {"continue_training": True, "epochs": 2}):
            with pytest.raises(TrainingError, match="another training of this fold is running"):
                train_shortly(planned_dataset, **options)
        assert sorted({*fold.iterdir()} - {fold / LOCK_FILE}) == before
        assert train_shortly(planned_dataset, epochs=1, overwrite=True, force_unlock=True).epochs == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="torchrun has started 2 processes"):
        make_trainer(planned_dataset, "nnUNetTrainerSwinUMambaScratch")


def test_a_finished_run_is_only_validated_again(
    planned_dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    first = train_shortly(planned_dataset, epochs=1)
    with caplog.at_level(logging.INFO):
        again = train(planned_dataset, continue_training=True)
    assert again == first
    assert "all 1 epochs are trained already" in caplog.text


def test_the_validation_can_be_skipped_and_made_up_for(planned_dataset: Dataset) -> None:
    skipped = train_shortly(planned_dataset, epochs=1, skip_validation=True)
    assert np.isnan(skipped.validation_dice)
    assert (skipped.fold_folder / "checkpoint_final.pth").is_file()
    assert not (skipped.fold_folder / "validation").exists()
    validated = train(planned_dataset, continue_training=True, skip_validation=False)
    assert 0 <= validated.validation_dice <= 1


def test_going_on_from_nothing_is_an_error(planned_dataset: Dataset) -> None:
    with pytest.raises(TrainingError, match="no checkpoint to resume from"):
        train_shortly(planned_dataset, continue_training=True)


def test_training_without_a_plan_says_what_to_run(raw_dataset: Dataset, planned_dataset: Dataset) -> None:
    (planned_dataset.preprocessed_folder / "SwinUMambaPlans_2d").rename(planned_dataset.folders.raw / "gone")
    with pytest.raises(TrainingError, match="swin-umamba plan Dataset901_Squares"):
        train_shortly(planned_dataset)
    (planned_dataset.preprocessed_folder / "SwinUMambaPlans.json").write_text("{}")
    with pytest.raises(DataError, match="plans are damaged"):
        train_shortly(planned_dataset)


def test_too_few_cases_for_folds(planned_dataset: Dataset) -> None:
    folder = planned_dataset.preprocessed_folder / "SwinUMambaPlans_2d"
    for number in (0, 1):
        for path in folder.glob(f"case{number}*"):
            path.unlink()
    with pytest.raises(TrainingError, match="4 training cases are too few"):
        train_shortly(planned_dataset)
    assert train_shortly(planned_dataset, fold="all", epochs=1).fold_folder.name == "fold_all"


def test_a_lack_of_memory_names_the_batch(planned_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(self: RobustTrainer, batch: dict[str, Any]) -> None:
        torch.empty(2**45)

    monkeypatch.setattr(RobustTrainer, "train_step", no_memory)
    with pytest.raises(TrainingError, match=r"batches of 4 patches of 32 x 64 pixels, 131072.00 GiB more"):
        train_shortly(planned_dataset, batch_size=4, patch_size=(32, 64))


def test_a_gpu_full_of_other_programs_says_so(
    planned_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(self: RobustTrainer, batch: dict[str, Any]) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.5 GiB. GPU 0 has")

    monkeypatch.setattr(RobustTrainer, "train_step", no_memory)
    module = "swin_umamba.nnunet.training.gpu_memory"
    for others, said in ((0, False), (3 * 2**30, True)):
        monkeypatch.setattr(f"{module}.memory_of_others", lambda device, others=others: others)
        with pytest.raises(TrainingError, match=r"1\.5 GiB more were asked for") as caught:
            train_shortly(planned_dataset, overwrite=True)
        assert ("3.0 GiB of this GPU" in str(caught.value.hint)) == said
        assert "--batch-size" in str(caught.value.hint)


def test_an_unknown_trainer_brings_the_close_ones(planned_dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="did you mean nnUNetTrainerSwinUMambaD"):
        train_shortly(planned_dataset, trainer="nnUNetTrainerSwinUmambaD")


def test_a_second_gpu_is_the_current_one_from_before_the_first_batch(
    planned_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that pins the memory of batches takes the current one."""
    order: list[str] = []

    @contextmanager
    def recorded(device: torch.device) -> Iterator[None]:
        order.append(f"current {device}")
        yield
        order.append("as before")

    def made(*_: Any) -> Any:
        order.append("trainer")
        raise TrainingError("enough")

    monkeypatch.setattr(torch.cuda, "device", recorded)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr("swin_umamba.nnunet.trainers.find_trainer", lambda *_: made)
    with pytest.raises(TrainingError, match="enough"):
        train_shortly(planned_dataset, device="cuda:1")
    assert order == ["current cuda:1", "trainer"]


def test_stock_output_stays_off_stdout(planned_dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    train_shortly(planned_dataset, epochs=1)
    assert capsys.readouterr().out == ""
