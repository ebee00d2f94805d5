"""Rows 12 and 13 of the fault table: a save that is killed, and a save onto a full disk."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faults.processes import NUMBERS, save_on_a_full_disk, save_on_and_on
from forked import Forked
from swin_umamba.temporary_files import PREFIX
from swin_umamba.weights.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and limits")

NAME = "checkpoint_latest.pth"


def check_for_leftovers(writer: Forked, folder: Path) -> None:
    """Halt a writer, which may be in its next save, and check that there is no other's temporary file."""
    writer.send_signal(signal.SIGSTOP)
    state = ["ps", "-o", "state=", "-p", str(writer.pid)]
    while not subprocess.check_output(state, text=True).startswith("T"):
        time.sleep(0.001)
    leftovers = [each for each in folder.iterdir() if each.name.startswith(PREFIX)]
    assert len(leftovers) <= 1, leftovers


def kill_while_saving(path: Path, kills: int) -> None:
    """Kill a saving process at random moments, and look after each at what it has left."""
    moments = random.Random(12)
    newest = 0
    for _ in range(kills):
        writer = Forked(save_on_and_on, path, newest)
        writer.first_line()
        # The leftover of the one killed before is gone since this one's first save.
        check_for_leftovers(writer, path.parent)
        writer.send_signal(signal.SIGCONT)
        time.sleep(moments.uniform(0, 0.05))
        writer.kill()
        newest = max(int(line) for line in writer.output().splitlines())
        checkpoint = load_checkpoint(path)
        # The rename may have happened without there being time to say so.
        assert checkpoint["epoch"] in (newest, newest + 1)
        assert (checkpoint["weights"] == float(checkpoint["epoch"])).all()
        newest = checkpoint["epoch"]
    # The next save cleans up.
    writer = Forked(save_on_and_on, path, newest)
    writer.first_line()
    check_for_leftovers(writer, path.parent)
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
    saving = Forked(save_on_a_full_disk, path, limit)
    said, complained = saving.communicate()
    assert saving.returncode == 1, complained
    assert "cannot write" in said
    assert str(path) in said
    assert "free space; nothing was changed" in said
    assert path.read_bytes() == b"the old file"
    assert [each.name for each in tmp_path.iterdir()] == [name]
