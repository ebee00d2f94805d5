"""Short trainings of a tiny network in processes of their own, so that a test can kill them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from forked import Forked

TESTS = Path(__file__).parents[1]
DATASET_NAME = "Dataset901_Squares"
TRAINER = "nnUNetTrainerSwinUMambaScratch"
PATIENCE = 600.0
"""Seconds after which what hangs is given up: far more than anything takes, however busy the machine is."""
HOLD = "TESTS_HOLD_EPOCH"
"""Names an epoch, from 0, or ``FOLD:EPOCH``, that a training does not begin until a signal comes, so that
a test that is halted itself does not miss the moment."""
SMALL = ("--iterations", "2", "--validation-iterations", "1", "--device", "cpu", "--skip-validation")


def root_with_data(planned: Path, root: Path) -> Path:
    """Return a new root with a copy of the planned data set of another."""
    shutil.copytree(planned / "nnUNet_preprocessed", root / "nnUNet_preprocessed")
    (root / "nnUNet_raw").symlink_to(planned / "nnUNet_raw")
    return root


def fold_folder(root: Path, fold: int = 0) -> Path:
    """The folder that a training below ``root`` writes to."""
    return root / "nnUNet_results" / DATASET_NAME / f"{TRAINER}__SwinUMambaPlans__2d" / f"fold_{fold}"


def start_training(root: Path, *arguments: str, threads: int = 1, hold: str = "") -> Forked:
    """Start ``swin-umamba train`` of fold 0, perhaps to be held."""
    given = ["train", DATASET_NAME, "--root", str(root), "--trainer", TRAINER, *arguments]
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        HOLD: hold,
        "SWIN_UMAMBA_BACKEND": "chunked",
        "SWIN_UMAMBA_EXTENSIONS": str(TESTS / "faults" / "tiny_trainers.py"),  # for processes of its own
    }
    return Forked(_train, given, environment=environment)


def train(root: Path, *arguments: str, threads: int = 1) -> tuple[int, str]:
    """Run ``swin-umamba train`` to its end; return its exit code and what it said."""
    process = start_training(root, *arguments, threads=threads)
    _, said = process.communicate(timeout=PATIENCE)
    return process.returncode, said


def wait_for_epoch(process: Forked | subprocess.Popen[str], root: Path, epoch: int, *, fold: int = 0) -> None:
    """Wait until the training has closed ``epoch`` epochs and is in the next one."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        logs = list(fold_folder(root, fold).glob("training_log_*.txt"))
        if any(re.search(rf"Epoch {epoch}\s*$", log.read_text(), re.MULTILINE) for log in logs):
            return
        time.sleep(0.01)
    raise AssertionError("the training does not get there")


def children(process: int) -> list[int]:
    """The processes that ``process`` has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def wait_for_the_end(processes: Iterable[int]) -> None:
    """Wait until processes have ended, whether or not anybody has asked for their exit codes."""
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        while _runs(process):
            assert time.monotonic() < deadline, "it goes on"
            time.sleep(0.01)


def _runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def make_trainers_tiny() -> None:
    """Let all trainers of this process have tiny networks, and draw no curves, which takes a second."""
    from nnunetv2.training.logging.nnunet_logger import MetaLogger

    from nnunet.tiny_training import SIZES
    from swin_umamba.nnunet import trainers
    from swin_umamba.nnunet.training.robust_trainer import RobustTrainer

    begin = RobustTrainer.on_epoch_start

    def held(self: RobustTrainer) -> None:
        fold, _, epoch = os.environ.get(HOLD, "").rpartition(":")
        if epoch and self.current_epoch == int(epoch) and fold in ("", str(self.fold)):
            time.sleep(PATIENCE)
        begin(self)

    RobustTrainer.on_epoch_start = held  # type: ignore[method-assign]
    MetaLogger.plot_progress_png = lambda self, output_folder: None
    for name in trainers.__all__:
        trainers.TRAINERS[name] = type(name, (getattr(trainers, name),), {"network_kwargs": SIZES})


def _train(arguments: list[str]) -> int:
    """Run ``swin-umamba`` in its own process, with tiny networks."""
    from swin_umamba.cli.main import main

    # A shell starts background jobs, and so perhaps these tests, with Ctrl-C switched off.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    make_trainers_tiny()
    return main(arguments)
