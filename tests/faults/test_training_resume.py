"""Rows 14 and 16 of the fault table: a torn latest checkpoint, and going on as if nothing had happened."""

from __future__ import annotations

import logging
import signal
from pathlib import Path

import pytest

from equal_states import TIMES, assert_equal_states
from faults.fault_files import cut, flip_bit
from faults.training_process import (
    PATIENCE,
    SMALL,
    TRAINER,
    fold_folder,
    root_with_data,
    start_training,
    train,
    wait_for_epoch,
)
from swin_umamba.errors import CheckpointError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.training import train as train_step
from swin_umamba.weights.checkpoint import load_checkpoint

# Beside the times, what the two runs were called differently.
LEFT_OUT = TIMES | {"init_args", "options"}
SEEDED = (*SMALL, "--seed", "7", "--deterministic")


@pytest.mark.usefixtures("tiny_trainers")
def test_row_14_torn_latest_beside_a_good_best(
    planned_dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    short = {"iterations_per_epoch": 1, "validation_iterations": 1, "skip_validation": True}
    result = train_step.train(planned_dataset, trainer=TRAINER, epochs=1, device="cpu", workers=0, **short)
    fold = result.fold_folder
    final, latest, best = (fold / f"checkpoint_{name}.pth" for name in ("final", "latest", "best"))
    assert load_checkpoint(best)["current_epoch"] == 1
    final.rename(latest)
    whole = latest.read_bytes()

    def go_on(epochs: int) -> None:
        train_step.train(planned_dataset, trainer=TRAINER, continue_training=True, epochs=epochs)

    cut(latest, 2 / 3)
    with caplog.at_level(logging.INFO):
        go_on(2)
    assert (
        "checkpoint_latest.pth cannot be loaded and is skipped: the file is damaged: it is cut" in caplog.text
    )
    assert "continuing after epoch 1 of" in caplog.text
    assert load_checkpoint(final)["current_epoch"] == 2
    # One bit is enough: torch itself would load the wrong weights without a word.
    for path in (final, best):
        path.unlink()
    latest.write_bytes(whole)
    flip_bit(latest, 0.4)
    with pytest.raises(CheckpointError, match=r"none of the checkpoints can be loaded.*Bad CRC-32"):
        go_on(3)
    assert [path.name for path in fold.glob("*.pth")] == [latest.name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "threads"),
    [(("0", "0"), 1), (("2", "0"), 2)],
)
def test_row_16_four_epochs_equal_two_and_two(
    planned_folder: Path, tmp_path: Path, workers: tuple[str, str], threads: int
) -> None:
    """One is stopped by SIGTERM in its third epoch; the other one may have another number of workers."""
    states = []
    for name, stopped in (("straight", False), ("stopped", True)):
        root = root_with_data(planned_folder, tmp_path / name)
        first = workers[0] if stopped else workers[1]
        arguments = (*SEEDED, "--workers", first, "--epochs", "4")
        if not stopped:
            code, said = train(root, *arguments, threads=threads)
            assert code == 0, said
        else:
            process = start_training(root, *arguments, threads=threads, hold="3")
            wait_for_epoch(process, root, 2)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE)
            assert process.returncode == 143, said
            trained = load_checkpoint(fold_folder(root) / "checkpoint_latest.pth")["current_epoch"]
            assert 2 <= trained < 4
            code, said = train(root, "--continue", threads=threads)
            assert code == 0, said
        states.append(load_checkpoint(fold_folder(root) / "checkpoint_final.pth"))
    assert states[0]["current_epoch"] == 4
    assert_equal_states(states[1], states[0], leave_out=LEFT_OUT)


@pytest.mark.slow
def test_deterministic_training_repeats(planned_folder: Path, tmp_path: Path) -> None:
    """Two runs in several threads and processes give the same bits; another seed does not."""
    states = []
    for name, seed in (("first", "7"), ("second", "7"), ("third", "8")):
        root = root_with_data(planned_folder, tmp_path / name)
        arguments = (*SMALL, "--epochs", "1", "--workers", "2", "--deterministic", "--seed", seed)
        code, said = train(root, *arguments, threads=2)
        assert code == 0, said
        states.append(load_checkpoint(fold_folder(root) / "checkpoint_final.pth"))
    assert_equal_states(states[0], states[1], leave_out=LEFT_OUT)
    with pytest.raises(AssertionError):
        assert_equal_states(states[0]["network_weights"], states[2]["network_weights"])
