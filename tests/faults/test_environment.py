"""Row 25: machines that lack things, and names that are mistyped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from faults.fault_files import DATASET_NAME, Command, write_dataset

# What lies beside torch: each file replaces the package of its name and fails as the real one does.
BROKEN = {
    "torchvision": 'raise RuntimeError("operator torchvision::nms does not exist")',
    "triton": 'raise ImportError("No module named triton")',
    "timm": 'raise RuntimeError("operator torchvision::nms does not exist")',
}
USE = """
import torch
from swin_umamba import create_model, selective_scan
torch.manual_seed(0)
sizes = dict(depths=(1, 1, 1, 1), features_per_stage=(8, 8, 16, 16))
network = create_model("swin_umamba", 1, 2, **sizes)
y = network(torch.randn(1, 1, 32, 32))
y = y[0] if isinstance(y, (list, tuple)) else y
assert y.shape == (1, 2, 32, 32) and y.isfinite().all()
y.sum().backward()
from swin_umamba.nnunet.trainers import find_trainer
print(find_trainer("nnUNetTrainerSwinUMambaD").__name__)
"""

NOW_WITH_A_FOLDER = "---- now with a folder"
DOWNLOAD_TWICE = f"""
import os, sys
from swin_umamba.cli.main import main
command = ["weights", "download", "vmamba_tiny_v0cls"]
first = main(command)
print({NOW_WITH_A_FOLDER!r}, file=sys.stderr, flush=True)
os.environ["SWIN_UMAMBA_CACHE"] = sys.argv[1]
print(first, main(command), end="")
"""


def bare_environment(tmp_path: Path) -> dict[str, str]:
    """An environment with broken neighbours, no compiler on the path and a home that nobody can write to."""
    for name, content in BROKEN.items():
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "__init__.py").write_text(content)
    (tmp_path / "bin").mkdir()
    kept = {name: value for name, value in os.environ.items() if name in ("OMP_NUM_THREADS", "LANG")}
    home = "/proc" if sys.platform == "linux" else str(tmp_path / "absent" / "home")
    return kept | {"PATH": str(tmp_path / "bin"), "PYTHONPATH": str(tmp_path / "broken"), "HOME": home}


def python(tmp_path: Path, *arguments: str, network: bool = True) -> subprocess.CompletedProcess[str]:
    without = [shutil.which("unshare") or "unshare", "--map-root-user", "--net"]
    return subprocess.run(
        [*([] if network else without), sys.executable, *arguments],
        env=bare_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_row_25_the_faults_are_there(tmp_path: Path) -> None:
    for name in BROKEN:
        assert python(tmp_path / name, "-c", f"import {name}").returncode != 0
    write = "from pathlib import Path; (Path.home() / '.cache').mkdir(parents=True)"
    assert python(tmp_path / "home", "-c", write).returncode != 0


@pytest.mark.slow
def test_row_25_networks_and_trainers_work_on_a_bare_machine(tmp_path: Path) -> None:
    done = python(tmp_path, "-c", USE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "nnUNetTrainerSwinUMambaD\n", done.stderr


def test_row_25_weights_without_a_network(tmp_path: Path) -> None:
    if sys.platform != "linux" or subprocess.run(["unshare", "--map-root-user", "--net", "true"]).returncode:
        pytest.skip("no network can be taken away here")
    done = python(tmp_path, "-c", DOWNLOAD_TWICE, str(tmp_path), network=False)
    assert done.stdout == "1 1", done.stderr
    assert "Traceback" not in done.stderr
    first, _, second = done.stderr.partition(NOW_WITH_A_FOLDER)
    assert "SWIN_UMAMBA_CACHE" in first, "the home folder is the first fault"
    assert "the download failed" in second
    assert "in a browser and save it as" in second


@pytest.mark.parametrize(
    ("arguments", "close"),
    [
        (("train", DATASET_NAME, "--trainer", "nnUNetTrainerSwinUMamb"), "nnUNetTrainerSwinUMamba"),
        (("weights", "download", "vmamba_tiny_v0cl"), "vmamba_tiny_v0cls"),
    ],
)
def test_row_25_mistyped_names(
    arguments: tuple[str, ...], close: str, command: Command, tmp_path: Path
) -> None:
    write_dataset(tmp_path)
    if arguments[0] == "train":
        assert command("plan", DATASET_NAME, "--root", tmp_path, "--workers", 1).code == 0
        arguments += ("--root", str(tmp_path))
    done = command(*arguments)
    assert done.code == 2
    assert close in done.err


def test_row_25_a_mistyped_network() -> None:
    from swin_umamba import create_model
    from swin_umamba.errors import UsageError

    with pytest.raises(UsageError) as caught:
        create_model("swin_umanba_d", 1, 2)
    assert "swin_umamba_d" in str(caught.value.hint)
