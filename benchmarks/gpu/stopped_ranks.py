"""A training by two ranks of torchrun that stops when one gets SIGTERM, and resumes: the end of step 8."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gpu.runner import Context
from swin_umamba.weights.checkpoint import load_checkpoint

TESTS = Path(__file__).parents[2] / "tests"
NAME, TRAINER = "Dataset901_Squares", "TinyTrainer"
NEEDS = ("nnunetv2", "pytest")  # the second for the data, which the tests share
SECONDS_TO_END = 20.0
CODE = """
from nnunet.tiny_training import SIZES
from swin_umamba.nnunet import trainers


class TinyTrainer(trainers.nnUNetTrainerSwinUMambaScratch):
    network_kwargs = SIZES
"""


def stop_and_resume(context: Context, cards: int) -> None:
    """Report whether SIGTERM to rank 1 ends both ranks with one checkpoint that the training goes on from.

    With two cards each rank has its own and they talk over NCCL; else both are on the CPU, over gloo.
    """
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        context.fact("a signal to one rank of a training", None, "", f"not run: {', '.join(missing)} missing")
        return
    root = context.folder / ".two_ranks"
    shutil.rmtree(root, ignore_errors=True)
    try:
        _write_data(root)
        _stop_and_resume(context, root, "cuda" if cards > 1 else "cpu")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _write_data(root: Path) -> None:
    from nnunet.planned_data import write_dataset

    write_dataset(root / "nnUNet_raw")
    (root / "tiny.py").write_text(CODE)
    done = subprocess.run(
        [sys.executable, "-m", "swin_umamba", "plan", NAME, "--root", str(root)],
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])


def _environment() -> dict[str, str]:
    path = os.pathsep.join([str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def _start(root: Path, device: str, *more: str) -> subprocess.Popen[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "swin_umamba"]
    given = [
        "train",
        NAME,
        "--root",
        str(root),
        "--trainer",
        f"{root / 'tiny.py'}:{TRAINER}",
        "--device",
        device,
    ]
    small = ["--iterations", "2", "--validation-iterations", "1", "--workers", "0", "--batch-size", "4"]
    with (root / "said").open("w") as said:
        return subprocess.Popen(
            [sys.executable, *launcher, *given, *small, "--seed", "7", "--skip-validation", *more],
            env=_environment(),
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
        )


def _stop_and_resume(context: Context, root: Path, device: str) -> None:
    fold = root / "nnUNet_results" / NAME / f"{TRAINER}__SwinUMambaPlans__2d" / "fold_0"
    running = _start(root, device, "--epochs", "100000")
    metrics = fold / "metrics.jsonl"
    while not (metrics.is_file() and metrics.read_text()):
        if running.poll() is not None:
            said = (root / "said").read_text().strip().splitlines()
            context.must("two ranks train", False, running.returncode, "", said[-1] if said else "")
            return
        time.sleep(0.1)  # the step has a time limit
    ranks = ranks_below(running.pid)
    os.kill(ranks[1], signal.SIGTERM)
    start = time.monotonic()
    while any(is_running(each) for each in ranks.values()) and time.monotonic() < start + 3 * SECONDS_TO_END:
        time.sleep(0.05)
    seconds = time.monotonic() - start
    context.must("SIGTERM to rank 1 ends both ranks", seconds < SECONDS_TO_END, seconds, "s", "below 20 s")
    running.wait()
    saved = [path.name for path in sorted(fold.glob("checkpoint_*.pth"))]
    context.must("there is a checkpoint to resume", "checkpoint_latest.pth" in saved, ", ".join(saved))
    state: dict[str, Any] = load_checkpoint(fold / "checkpoint_latest.pth")
    epochs, own = state["current_epoch"], state["swin_umamba"]
    taken = own["batches_drawn"][0]
    context.must("steps of whole epochs", taken == 2 * epochs, taken, "steps", f"{epochs} epochs")
    others = own["random_states_of_others"]
    differ = len(others) == 1 and not others[0]["torch"].equal(own["random_state"]["torch"])
    context.must("generators of both ranks, different", differ)
    code = _start(root, device, "--continue", "--epochs", str(epochs + 1)).wait()
    lines = metrics.read_text().count("\n")
    right = code == 0 and lines == epochs + 1 and (fold / "checkpoint_final.pth").is_file()
    context.must("two ranks resume and end", right, lines, "epochs", f"exit status {code}")


def ranks_below(launcher: int) -> dict[int, int]:
    """Return the process of each rank that a launcher has started."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            variables = (folder / "environ").read_bytes().split(b"\0") if parent == launcher else []
        except (OSError, ValueError):  # it has just ended
            continue
        for variable in variables:
            name, _, value = variable.partition(b"=")
            if name == b"RANK":
                found[int(value)] = int(folder.name)
    return found


def is_running(process: int) -> bool:
    """Return whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
