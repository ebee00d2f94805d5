"""Short trainings of a tiny network in processes of their own, so that a test can kill them.

As a program: ``training_process.py ROOT ARGUMENTS``, which runs ``swin-umamba ARGUMENTS`` with tiny networks.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
DATASET_NAME = "Dataset901_Squares"
TRAINER = "nnUNetTrainerSwinUMambaScratch"
SMALL = ("--iterations", "2", "--validation-iterations", "1", "--device", "cpu", "--skip-validation")


def fold_folder(root: Path) -> Path:
    """The folder that a training below ``root`` writes to."""
    return root / "nnUNet_results" / DATASET_NAME / f"{TRAINER}__SwinUMambaPlans__2d" / "fold_0"


def start_training(root: Path, *arguments: str, threads: int = 1) -> subprocess.Popen[str]:
    """Start ``swin-umamba train`` of fold 0."""
    given = ("train", DATASET_NAME, "--root", str(root), "--trainer", TRAINER, *arguments)
    return subprocess.Popen(
        [sys.executable, __file__, *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads), "SWIN_UMAMBA_BACKEND": "chunked"},
    )


def train(root: Path, *arguments: str, threads: int = 1) -> tuple[int, str]:
    """Run ``swin-umamba train`` to its end; return its exit code and what it said."""
    process = start_training(root, *arguments, threads=threads)
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def wait_for_epoch(process: subprocess.Popen[str], root: Path, epoch: int) -> None:
    """Wait until the training has closed ``epoch`` epochs and is in the next one."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        logs = list(fold_folder(root).glob("training_log_*.txt"))
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


def shrink_trainers() -> None:
    """Give the trainers a tiny network, and let them draw no curves, which takes longer than an epoch."""
    sys.path.insert(0, str(TESTS))
    from nnunetv2.training.logging.nnunet_logger import MetaLogger

    from nnunet.tiny_training import SIZES
    from swin_umamba.nnunet import trainers

    MetaLogger.plot_progress_png = lambda self, output_folder: None
    for name in trainers.__all__:
        trainers.TRAINERS[name] = type(name, (getattr(trainers, name),), {"network_kwargs": SIZES})


if __name__ == "__main__":
    import signal

    from swin_umamba.cli.main import main

    # A shell starts background jobs, and so perhaps these tests, with Ctrl-C switched off.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    shrink_trainers()
    sys.exit(main())
