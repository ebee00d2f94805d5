"""Five folds, two at a time: one is killed, all are told to stop, the process that started them is killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from faults.training_process import (
    SMALL,
    children,
    fold_folder,
    root_with_data,
    start_training,
    train,
    wait_for_epoch,
    wait_for_the_end,
)
from swin_umamba.inference.predictor import Predictor
from swin_umamba.weights.checkpoint import load_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes under /proc"),
]

ALL = ("--fold", "0", "1", "2", "3", "4")
SEEDED = (*SMALL, "--seed", "7", "--workers", "0")
TWO = ("--folds-parallel", "2")


@pytest.fixture
def root(planned_folder: Path, tmp_path: Path) -> Path:
    return root_with_data(planned_folder, tmp_path / "disturbed")


def weights(root: Path, fold: int, name: str = "final") -> dict[str, torch.Tensor]:
    checkpoint = load_checkpoint(fold_folder(root, fold) / f"checkpoint_{name}.pth")
    found: dict[str, torch.Tensor] = checkpoint["network_weights"]
    return found


def process_of(root: Path, fold: int) -> int:
    process: int = json.loads((fold_folder(root, fold) / "training.lock").read_text())["process"]
    return process


def test_five_folds_one_of_them_killed_end_like_undisturbed_ones(
    root: Path, planned_folder: Path, tmp_path: Path
) -> None:
    process = start_training(root, *SEEDED, *ALL, *TWO, "--epochs", "6", hold="1:5")
    wait_for_epoch(process, root, 1, fold=1)
    os.kill(process_of(root, 1), signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == 1, said
    assert "error: 1 of 5 folds are missing: fold 1: the process was killed" in said
    assert "the same command with --continue" in said
    assert "\nfold 0: epoch 6/6: " in said
    assert "Traceback" not in said
    code, said = train(root, *SEEDED, *ALL, *TWO, "--continue")
    assert code == 0, said
    assert said.count("is finished already") == 4
    undisturbed = root_with_data(planned_folder, tmp_path / "undisturbed")
    code, said = train(undisturbed, *SEEDED, *ALL, "--epochs", "6")
    assert code == 0, said
    for fold in range(5):
        ours, theirs = weights(root, fold), weights(undisturbed, fold)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours), fold
    ensemble = Predictor.from_folder(fold_folder(root).parent, device="cpu", mirroring=False)
    assert len(ensemble.model.checkpoints) == 5
    image = np.random.default_rng(0).integers(0, 255, (3, 64, 64)).astype(np.float32)
    assert ensemble.predict(image).labels.shape == (64, 64)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_what_ends_the_first_process_ends_all_and_each_saves_its_state(
    root: Path, number: signal.Signals, code: int
) -> None:
    process = start_training(root, *SEEDED, *ALL, *TWO, "--epochs", "100000")
    for fold in (0, 1):
        wait_for_epoch(process, root, 1, fold=fold)
    folds = [process_of(root, fold) for fold in (0, 1)]
    process.send_signal(number)
    assert process.wait() == code, process.errors()
    wait_for_the_end(folds)
    assert not children(process.pid)
    for fold in (0, 1):
        assert load_checkpoint(fold_folder(root, fold) / "checkpoint_latest.pth")["current_epoch"] >= 1
        assert not (fold_folder(root, fold) / "training.lock").exists()
    assert not fold_folder(root, 2).exists()
    if number != signal.SIGKILL:
        assert "what to do: continue with the same command and --continue" in process.errors()


def test_devices_take_the_next_fold_that_waits(root: Path) -> None:
    code, said = train(root, *SEEDED[:4], *SEEDED[6:], *ALL[:3], "--devices", "cpu", "--epochs", "1")
    assert code == 0, said
    assert [line for line in said.splitlines() if "begins on" in line] == [
        "fold 0 begins on cpu; 1 more to come",
        "fold 1 begins on cpu; 0 more to come",
    ]
