"""The blocks of each page, run from top to bottom as by a reader who has data, a model and one terminal."""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from documents.blocks import PAGES, ROOT, Block, blocks_of, module_name
from documents.conftest import PARTS

SECONDS = 1800
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
PORTS = itertools.count(20_000 + 1000 * WORKER + os.getpid() % 800)
"""Each process that runs tests has its own; the system hands out those from 32768 on."""
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
    lines = []
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
    """Return a port that neither the system nor another test gives to anybody meanwhile."""
    while True:
        port = next(PORTS)
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port


def run(script: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run a script of bash until it ends, and end what it has left running; return its code and output."""
    (folder.parent / "page.sh").write_text(script)
    output = folder.parent / "output.txt"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            ["bash", "-e", "-o", "pipefail", str(folder.parent / "page.sh")],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            code = 124
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return code, output.read_text(encoding="utf-8", errors="replace")


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
    script = script.replace("8786", str(free_port()))
    # nnU-Net's own commands import torchvision, which need not fit the torch of this machine.
    shims = ROOT / "src/swin_umamba/nnunet/shim/torchvision_schemas"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PYTEST_"))
    }
    environment |= ENVIRONMENT | {name: str(folder / name) for name in PARTS}
    environment |= {
        "PATH": os.pathsep.join(
            [str(commands / "bin"), str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
        ),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(shims)]),
        "HOME": str(folder),
        "SERVE_PORT": port,
    }
    code, said = run(script, folder, environment)
    assert code == 0, said[-8000:]
