"""Rows 12 and 13 of the fault table: a save that is killed, and a save onto a full disk."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from swin_umamba.temporary_files import PREFIX
from swin_umamba.weights.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and limits")

NUMBERS = 1_000_000  # 4 MB
NAME = "checkpoint_latest.pth"

# Saves checkpoint after checkpoint and says which ones are complete.
SAVE_ON_AND_ON = f"""
import itertools, sys, torch
from swin_umamba.weights.checkpoint import save_checkpoint
first = int(sys.argv[2])
for n in itertools.count(first):
    save_checkpoint(sys.argv[1], {{"epoch": n, "weights": torch.full(({NUMBERS},), float(n))}})
    print(n, flush=True)
"""

SAVE_ON_A_FULL_DISK = f"""
import resource, sys, torch
from swin_umamba.errors import OutputError
from swin_umamba.weights.checkpoint import save_checkpoint
from swin_umamba.weights.safetensors_file import save_safetensors
limit = int(sys.argv[2])
weights = torch.ones({NUMBERS})
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    if sys.argv[1].endswith(".safetensors"):
        save_safetensors(sys.argv[1], {{"weights": weights}}, {{}})
    else:
        save_checkpoint(sys.argv[1], {{"weights": weights}})
except OutputError as error:
    print(error)
    sys.exit(1)
"""


def kill_while_saving(path: Path, kills: int) -> None:
    """Kill a saving process at random moments, and look after each at what it has left."""
    moments = random.Random(12)
    newest = 0
    for _ in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", SAVE_ON_AND_ON, str(path), str(newest)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            newest = int(writer.stdout.readline())
            # The leftover of the one killed before is gone since this one's first save.
            leftovers = [each for each in path.parent.iterdir() if each.name.startswith(PREFIX)]
            assert len(leftovers) <= 1, leftovers
            time.sleep(moments.uniform(0, 0.05))
            writer.kill()
            newest = max([newest, *(int(line) for line in writer.stdout)])
        checkpoint = load_checkpoint(path)
        # The rename may have happened without there being time to say so.
        assert checkpoint["epoch"] in (newest, newest + 1)
        assert (checkpoint["weights"] == float(checkpoint["epoch"])).all()
        newest = checkpoint["epoch"]
    # The next save cleans up.
    with subprocess.Popen(
        [sys.executable, "-c", SAVE_ON_AND_ON, str(path), str(newest)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        os.kill(writer.pid, 19)  # SIGSTOP: it may be in its next save
        leftovers = [each.name for each in path.parent.iterdir() if each.name.startswith(PREFIX)]
        assert len(leftovers) <= 1
        writer.kill()


def test_row_12_killed_while_saving(tmp_path: Path) -> None:
    kill_while_saving(tmp_path / NAME, kills=3)


@pytest.mark.slow
def test_row_12_killed_thirty_times_while_saving(tmp_path: Path) -> None:
    kill_while_saving(tmp_path / NAME, kills=30)


def test_row_12_the_next_save_leaves_no_stray_file(tmp_path: Path) -> None:
    """A writer killed in the middle leaves its temporary file; the next save removes it."""
    code = (
        "import os, signal, sys; from swin_umamba.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / NAME
    for command in (
        code,
        "import sys; from swin_umamba.files import write_text; write_text(sys.argv[1], 'x')",
    ):
        subprocess.run([sys.executable, "-c", command, str(path)], check=False)
        strays = [each for each in tmp_path.iterdir() if each.name.startswith(PREFIX)]
        assert len(strays) == (1 if command is code else 0)
    assert path.read_text() == "x"


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("name", [NAME, "model.safetensors"])
def test_row_13_disk_full_during_an_overwrite(tmp_path: Path, name: str, part: float) -> None:
    """No byte beyond a limit can be written, as on a full disk."""
    path = tmp_path / name
    path.write_bytes(b"the old file")
    limit = int(part * 4 * NUMBERS)
    saving = subprocess.run(
        [sys.executable, "-c", SAVE_ON_A_FULL_DISK, str(path), str(limit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert saving.returncode == 1, saving.stderr
    assert "cannot write" in saving.stdout
    assert str(path) in saving.stdout
    assert "free space; nothing was changed" in saving.stdout
    assert path.read_bytes() == b"the old file"
    assert [each.name for each in tmp_path.iterdir()] == [name]
