"""Processes that we start are spawned: a fork copies locks that threads hold at that moment, and may hang.

Two that others start for us are forked where the system does so by default: of PyTorch's data loader, and of
nnU-Net's list of cases. What holds threads or locks of ours is told then (`os.register_at_fork`).
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import swin_umamba

SOURCE = Path(swin_umamba.__file__).parent
FORKING = {"fork", "forkpty", "register_at_fork", "set_start_method"}
STARTING = {"Process", "Pool", "Queue", "Pipe", "Manager", "Event", "Lock"}
"""Of the module `multiprocessing`, what starts or serves processes as the system does by default."""


def faults(text: str) -> Iterator[str]:
    """Yield each expression by which a process might be forked."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "os" and node.attr in FORKING - {"register_at_fork"}:
                yield ast.unparse(node)
            if node.value.id == "multiprocessing" and node.attr in STARTING | FORKING:
                yield ast.unparse(node)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called == "get_context" and ast.unparse(node.args[0] if node.args else node) != "'spawn'":
                yield ast.unparse(node)
            if called == "ProcessPoolExecutor" and not any(
                each.arg == "mp_context" for each in node.keywords
            ):
                yield ast.unparse(node)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("os.fork()", 1),
        ("multiprocessing.Process(target=f)", 1),
        ("multiprocessing.get_context('fork')", 1),
        ("multiprocessing.get_context()", 1),
        ("ProcessPoolExecutor(2)", 1),
        ("futures.ProcessPoolExecutor(2, initializer=f)", 1),
        ("multiprocessing.set_start_method('fork')", 1),
        ("multiprocessing.get_context('spawn').Process(target=f)", 0),
        ("ProcessPoolExecutor(2, mp_context=context)", 0),
        ("multiprocessing.parent_process()", 0),
        ("os.register_at_fork(after_in_child=f)", 0),
    ],
)
def test_what_is_found(text: str, number: int) -> None:
    assert len(list(faults(text))) == number


def test_no_process_that_we_start_is_forked() -> None:
    found = {
        path.relative_to(SOURCE).as_posix(): list(faults(path.read_text(encoding="utf-8")))
        for path in SOURCE.rglob("*.py")
    }
    assert {place: each for place, each in found.items() if each} == {}


SPAWNED = """
import multiprocessing
import numpy as np

from swin_umamba.nnunet.training.batches import BatchStream, SeededBatches


class Numbers:
    def __next__(self):
        return {"data": np.random.rand(3)}


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    drawn = []
    for workers in (0, 1):
        stream = BatchStream(SeededBatches(Numbers(), (7,)), first=2, workers=workers, pin_memory=False)
        drawn.append(np.stack([next(stream)["data"] for _ in range(3)]))
        stream.close()
    assert np.array_equal(*drawn) and len(np.unique(drawn[0])) == 9
    print("equal")
"""


@pytest.mark.slow
def test_batches_are_the_same_where_all_processes_are_spawned(tmp_path: Path) -> None:
    # As on Windows and macOS, where PyTorch's data loader does not fork.
    program = tmp_path / "program.py"
    program.write_text(SPAWNED)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "equal\n"
