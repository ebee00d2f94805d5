"""The blocks of each page, run from top to bottom as by a reader who has data, a model and one terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from documents.blocks import PAGES, ROOT, Block, blocks_of, module_name

SECONDS = 300
NNUNET = {
    "nnUNetv2_train": "from nnunetv2.run.run_training import run_training_entry as m; m()",
    "nnUNetv2_predict": "from nnunetv2.inference.predict_from_raw_data import predict_entry_point as m; m()",
    "nnUNetv2_plan_and_preprocess": "from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints "
    "import plan_and_preprocess_entry as m; m()",
}
ENVIRONMENT = {
    # For nnU-Net's own commands, whose options these are; ours get flags (command_server.py).
    "SWIN_UMAMBA_EPOCHS": "1",
    "SWIN_UMAMBA_ITERATIONS_PER_EPOCH": "1",
    "SWIN_UMAMBA_VALIDATION_ITERATIONS": "1",
    "SWIN_UMAMBA_OVERWRITE": "1",
    "SWIN_UMAMBA_PRETRAINED": "none",
    "SWIN_UMAMBA_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "nnUNet_def_n_proc": "1",
    "nnUNet_n_proc_DA": "0",
    "BROWSER": "true",
    # The second of eight jobs of an array.
    "SLURM_ARRAY_TASK_ID": "2",
    "SLURM_ARRAY_TASK_MIN": "1",
    "SLURM_ARRAY_TASK_MAX": "8",
    "SLURM_ARRAY_TASK_STEP": "1",
    "SLURM_ARRAY_TASK_COUNT": "8",
}


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.language in ("sh", "python") and block.reason is None]


def script_of(blocks: list[Block], folder: Path) -> str:
    """Return what a terminal runs; files that the blocks of Python are lie in ``folder`` then."""
    # What a block has left in the background holds the output open.
    lines = ["trap 'kill $(jobs -p) 2> /dev/null || true' EXIT"]
    for number, block in enumerate(blocks):
        lines.append(f"echo {shlex.quote(f'--- {block}')}")
        if block.language == "sh":
            lines.append(block.text)
            continue
        name = module_name(block)
        (folder / (name or f".block{number}.py")).write_text(block.text)
        if name is None:
            lines.append(f"python .block{number}.py")
    return "\n".join(lines)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.docs
@pytest.mark.skipif(sys.platform == "win32", reason="the blocks are for a shell")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if runnable(page)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_a_page_does_what_it_shows(page: Path, prepared: Path, commands: Path, tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    folder = tmp_path / "home"
    shutil.copytree(prepared, folder)
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks")
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, code in NNUNET.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
        (programs / name).chmod(0o755)
    (programs / "srun").write_text('#!/bin/sh\nexec "$@"\n')  # stands in for Slurm
    (programs / "srun").chmod(0o755)
    port = str(free_port())
    script = script_of(runnable(page), folder).replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    # nnU-Net's own commands import torchvision, which need not fit the torch of this machine.
    shims = ROOT / "src/swin_umamba/nnunet/shim/torchvision_schemas"
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail"],
        input=script,
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PYTEST_"))}
        | ENVIRONMENT
        | {name: str(folder / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        | {
            "PATH": os.pathsep.join([str(commands / "bin"), str(programs), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(shims)]),
            "HOME": str(folder),
            "SERVE_PORT": port,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
