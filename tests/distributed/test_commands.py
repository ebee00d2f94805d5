"""``train --devices``, ``torchrun`` and nnU-Net's own command, as a user types them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import forked
from equal_states import assert_equal_states
from faults.training_process import PATIENCE, children
from nnunet.ranks import SMALL, TRAINER, Ranks, fold_folder, weights
from swin_umamba.weights.checkpoint import load_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks under /proc")]

CODE = """
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from nnunet.tiny_training import SIZES
from swin_umamba.nnunet import trainers

MetaLogger.plot_progress_png = lambda self, output_folder: None


class TinyTrainer(trainers.nnUNetTrainerSwinUMambaScratch):
    network_kwargs = SIZES
"""
TINY, DATASET = "TinyTrainer", "Dataset901_Squares"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "swin_umamba"]


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    yield
    forked.end_all()


@pytest.fixture
def root(planned_folder: Path, tmp_path: Path) -> Path:
    for part in ("nnUNet_raw", "nnUNet_preprocessed"):
        shutil.copytree(planned_folder / part, tmp_path / part)
    (tmp_path / "tiny.py").write_text(CODE)
    return tmp_path


def start(root: Path, start_with: Sequence[str], *more: str) -> subprocess.Popen[str]:
    options = [option for option in SMALL if option != "--skip-validation"]
    given = ["train", DATASET, "--root", str(root), "--trainer", f"{root / 'tiny.py'}:{TINY}"]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, *start_with, *given, *options, *more],
        env=os.environ | {"PYTHONPATH": path, "SWIN_UMAMBA_BACKEND": "chunked", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_epochs(root: Path, process: subprocess.Popen[str], number: int) -> None:
    metrics = fold_folder(root, TINY) / "metrics.jsonl"
    deadline = time.monotonic() + PATIENCE
    while not metrics.is_file() or metrics.read_text().count("\n") < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("launcher", ["devices", "torchrun"])
def test_two_processes_train_and_validate(root: Path, launcher: str) -> None:
    begin = TORCHRUN if launcher == "torchrun" else ["-m", "swin_umamba"]
    more = () if launcher == "torchrun" else ("--devices", "2")
    process = start(root, begin, "--epochs", "1", "--json", *more)
    out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    (answer,) = [json.loads(line) for line in out.splitlines()]
    assert answer["epochs"] == 1
    assert "each batch of 4 patches is divided over 2 ranks, 2 on each" in said
    summary = json.loads((fold_folder(root, TINY) / "validation" / "summary.json").read_text())
    splits = json.loads((root / "nnUNet_preprocessed" / DATASET / "splits_final.json").read_text())
    scored = {Path(case["prediction_file"]).stem for case in summary["metric_per_case"]}
    assert scored == set(splits[0]["val"])
    assert summary["foreground_mean"]["Dice"] == answer["validation_dice"]
    trained = weights(root, trainer=TINY)
    shutil.rmtree(fold_folder(root, TINY) / "validation")
    alone = start(root, ["-m", "swin_umamba"], "--continue", "--json")
    out, said = alone.communicate(timeout=PATIENCE)
    assert json.loads(out)["validation_dice"] == answer["validation_dice"], said
    again = json.loads((fold_folder(root, TINY) / "validation" / "summary.json").read_text())
    assert again["metric_per_case"] == summary["metric_per_case"]
    shutil.rmtree(root / "nnUNet_results")
    assert [code for code, _ in Ranks(root, "--epochs", "1").wait()] == [0, 0]
    assert_equal_states(trained, weights(root))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_command_stops_both(root: Path, number: int, code: int) -> None:
    process = start(root, ["-m", "swin_umamba"], "--devices", "2", "--epochs", "100000")
    wait_for_epochs(root, process, 1)
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, said
    assert "continue with the same command and --continue" in said
    assert "Traceback" not in said
    assert (fold_folder(root, TINY) / "checkpoint_latest.pth").is_file()


def test_a_killed_process_ends_the_command(root: Path) -> None:
    process = start(root, ["-m", "swin_umamba"], "--devices", "2", "--epochs", "100000")
    wait_for_epochs(root, process, 1)
    # The first process that multiprocessing starts tracks resources; then the ranks follow.
    ranks = [each for each in sorted(children(process.pid)) if b"spawn_main" in command_of(each)]
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, said
    assert "rank 1 was killed by signal: Killed" in said
    epochs = load_checkpoint(fold_folder(root, TINY) / "checkpoint_latest.pth")["current_epoch"]
    again = start(root, ["-m", "swin_umamba"], "--continue", "--epochs", str(epochs + 1), "--devices", "2")
    _, said = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, said


def command_of(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


def test_nnunets_own_command_refuses_ranks_on_a_cpu(root: Path) -> None:
    code = "from nnunetv2.run.run_training import run_training_entry as main; main()"
    names = {f"nnUNet_{name}": str(root / f"nnUNet_{name}") for name in ("raw", "preprocessed", "results")}
    given = [
        DATASET,
        "2d",
        "0",
        "-tr",
        TRAINER,
        "-p",
        "SwinUMambaPlans",
        "-num_gpus",
        "2",
        "-device",
        "cpu",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *given], env=os.environ | names, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "only implemented for cuda devices" in done.stderr
