"""Signals during training: to the training itself, and to one of the processes that augment its data."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from faults.training_process import (
    PATIENCE,
    SMALL,
    children,
    fold_folder,
    root_with_data,
    start_training,
    train,
    wait_for_epoch,
    wait_for_the_end,
)
from swin_umamba.weights.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes under /proc")

ENDLESS = (*SMALL, "--epochs", "100000", "--seed", "7")


@pytest.fixture
def root(planned_folder: Path, tmp_path: Path) -> Path:
    return root_with_data(planned_folder, tmp_path)


def goes_on(root: Path) -> None:
    latest = load_checkpoint(fold_folder(root) / "checkpoint_latest.pth")["current_epoch"]
    assert latest >= 1
    code, said = train(root, "--continue", "--epochs", str(latest + 1), "--workers", "0")
    assert code == 0, said
    assert f"continuing after epoch {latest} of" in said
    assert load_checkpoint(fold_folder(root) / "checkpoint_final.pth")["current_epoch"] == latest + 1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_training_told_to_stop_saves_and_says_how_to_go_on(
    root: Path, number: signal.Signals, code: int
) -> None:
    process = start_training(root, *ENDLESS, "--workers", "2")
    wait_for_epoch(process, root, 1)
    workers = children(process.pid)
    assert len(workers) == 3
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, said
    assert "what to do: continue with the same command and --continue" in said
    assert "Traceback" not in said
    wait_for_the_end(workers)
    goes_on(root)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGKILL, "Killed"),
        pytest.param(signal.SIGSEGV, "Segmentation", marks=pytest.mark.slow),
    ],
)
def test_a_worker_that_dies_stops_the_training(root: Path, number: signal.Signals, reason: str) -> None:
    process = start_training(root, *ENDLESS, "--workers", "2")
    wait_for_epoch(process, root, 1)
    workers = children(process.pid)
    os.kill(workers[0], number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, said
    assert f"a process that loads and augments data has died: process {workers[0]} was killed" in said
    assert f"killed by signal: {reason}" in said
    assert "--continue" in said
    assert "fewer --workers" in said
    assert "Traceback" not in said
    wait_for_the_end(workers)
    goes_on(root)
