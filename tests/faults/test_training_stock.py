"""nnU-Net's own command with our trainers: atomic saves, safe loading, and what it resumes from."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from faults.fault_files import cut
from faults.training_process import DATASET_NAME, PATIENCE, TESTS, TRAINER, fold_folder, wait_for_epoch
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.shell import shell_variables
from swin_umamba.weights.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow

# What the shim of ``swin-umamba env`` exports, with a tiny network.
TINY_TRAINER = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from nnunet.tiny_training import SIZES
from swin_umamba.nnunet import trainers

{TRAINER} = type({TRAINER!r}, (trainers.{TRAINER},), {{"network_kwargs": SIZES}})
"""
OPTIONS = {
    "SWIN_UMAMBA_ITERATIONS_PER_EPOCH": "1",
    "SWIN_UMAMBA_VALIDATION_ITERATIONS": "1",
    "SWIN_UMAMBA_SEED": "5",
    "SWIN_UMAMBA_BACKEND": "chunked",
    "nnUNet_n_proc_DA": "0",
}


class Command:
    """``nnUNetv2_train`` of the tiny data set."""

    def __init__(self, dataset: Dataset, shim: Path) -> None:
        shim.mkdir()
        self.started: list[subprocess.Popen[str]] = []
        (shim / "tiny_trainers.py").write_text(TINY_TRAINER)
        folders = dataset.folders
        self.root = folders.results.parent
        # What ``swin-umamba env`` prints, which also helps against a torchvision built for another torch.
        exported = {variable.name: variable.value for variable in shell_variables()}
        self.environment = os.environ | exported | OPTIONS
        self.environment |= {"nnUNet_extTrainer": str(shim), "nnUNet_raw": str(folders.raw)}
        self.environment |= {
            "nnUNet_preprocessed": str(folders.preprocessed),
            "nnUNet_results": str(folders.results),
        }

    def start(self, *arguments: str, epochs: int) -> subprocess.Popen[str]:
        code = "from nnunetv2.run.run_training import run_training_entry; run_training_entry()"
        given = (DATASET_NAME, "2d", "0", "-tr", TRAINER, "-p", "SwinUMambaPlans", "-device", "cpu")
        process = subprocess.Popen(
            [sys.executable, "-c", code, *given, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment | {"SWIN_UMAMBA_EPOCHS": str(epochs)},
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, epochs: int) -> tuple[int, str]:
        process = self.start(*arguments, epochs=epochs)
        _, said = process.communicate(timeout=PATIENCE)
        return process.returncode, said


@pytest.fixture
def command(planned_dataset: Dataset, tmp_path: Path) -> Iterator[Command]:
    command = Command(planned_dataset, tmp_path / "shim")
    yield command
    for process in command.started:
        process.kill()


def test_rows_12_14_and_15_through_the_stock_command(command: Command, tmp_path: Path) -> None:
    fold = fold_folder(command.root)
    best, latest = fold / "checkpoint_best.pth", fold / "checkpoint_latest.pth"
    # Killed at any moment, whatever is under the final name loads.
    process = command.start(epochs=100000)
    wait_for_epoch(process, command.root, 2)
    time.sleep(0.3)
    process.kill()
    process.communicate()
    trained = load_checkpoint(best)["current_epoch"]
    assert trained >= 1
    # A torn latest is skipped with a warning.
    latest.write_bytes(best.read_bytes())
    cut(latest, 2 / 3)
    code, said = command.run("--c", epochs=trained + 1)
    assert code == 0, said
    assert "checkpoint_latest.pth cannot be loaded and is skipped" in said
    final = fold / "checkpoint_final.pth"
    assert load_checkpoint(final)["current_epoch"] == trained + 1
    assert recorded_epochs(fold) == list(range(1, trained + 2))
    # With nothing but torn ones it does not start again.
    best.unlink()
    cut(final, 1 / 2)
    torn = final.read_bytes()
    code, said = command.run("--c", epochs=trained + 2)
    assert code != 0
    assert "none of the checkpoints can be loaded" in said
    assert final.read_bytes() == torn
    # Code in a checkpoint does not run.
    marker = tmp_path / "it ran"
    torch.save({"current_epoch": 1, "network_weights": Payload(marker)}, final, pickle_module=pickle)
    code, said = command.run("--c", epochs=trained + 2)
    assert code != 0
    assert "which weights never need; nothing of it ran" in said
    assert not marker.exists()


def test_sigterm_through_the_stock_command(command: Command) -> None:
    process = command.start(epochs=100000)
    wait_for_epoch(process, command.root, 1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0, said
    fold = fold_folder(command.root)
    latest = load_checkpoint(fold / "checkpoint_latest.pth")["current_epoch"]
    log = "".join(path.read_text() for path in fold.glob("training_log_*.txt"))
    assert "resume with --continue (nnUNetv2_train: --c)" in log
    code, said = command.run("--c", epochs=latest + 1)
    assert code == 0, said
    assert load_checkpoint(fold / "checkpoint_final.pth")["current_epoch"] == latest + 1
    assert recorded_epochs(fold) == list(range(1, latest + 2))
    starts = json.loads((fold / "software.json").read_text())["starts"]
    assert [start["first_epoch"] for start in starts] == [1, latest + 1]


def recorded_epochs(fold: Path) -> list[int]:
    return [json.loads(line)["epoch"] for line in (fold / "metrics.jsonl").read_text().splitlines()]


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)
