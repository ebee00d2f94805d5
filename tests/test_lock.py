"""Locks: held by one process, given back, stale after its death."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import pytest

from swin_umamba import lock
from swin_umamba.lock import HeldByAnother, Lock

LOCK_FILE = "work.lock"
HOLDER = """
import sys, time
from pathlib import Path
from swin_umamba.lock import Lock
with Lock(Path(sys.argv[1]) / "work.lock").held():
    print("held", flush=True)
    time.sleep(600)
"""


def refused(folder: Path) -> bool:
    try:
        with Lock(folder / LOCK_FILE).held():
            return False
    except HeldByAnother:
        return True


def test_a_lock_is_held_and_given_back(tmp_path: Path) -> None:
    own = Lock(tmp_path / LOCK_FILE)
    with own.held():
        with own.held():
            assert json.loads((tmp_path / LOCK_FILE).read_text())["process"] == os.getpid()
        reason = f"process {os.getpid()} on .*since 2"
        with pytest.raises(HeldByAnother, match=reason), Lock(tmp_path / LOCK_FILE).held():
            pass
    assert not list(tmp_path.iterdir())
    assert not refused(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are told by /proc")
def test_a_process_that_is_killed_leaves_a_stale_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert refused(tmp_path)
        holder.send_signal(signal.SIGKILL)
    assert (tmp_path / LOCK_FILE).exists()
    assert not refused(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are told by /proc")
def test_a_killed_process_whose_exit_code_nobody_has_asked_for_holds_no_lock(tmp_path: Path) -> None:
    """As of one whose parent is halted, or was killed in a container without an init process."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{holder.pid}/stat").exists()
        assert not refused(tmp_path)


@pytest.mark.parametrize(
    ("holder", "minutes", "stale"),
    [
        ({"started": "another process had this number"}, 0, True),
        ({"started": "another process had this number"}, 99, True),
        ({"host": "elsewhere"}, 9, False),
        ({"host": "elsewhere"}, 11, True),
        ({"started": None}, 9, False),
        ({"started": None}, 11, True),
        ({"process": "7"}, 9, False),
    ],
)
def test_what_makes_a_lock_stale(tmp_path: Path, holder: dict[str, Any], minutes: int, stale: bool) -> None:
    path = tmp_path / LOCK_FILE
    path.write_text(json.dumps(lock._this_process() | holder))
    touched = time.time() - 60 * minutes
    os.utime(path, (touched, touched))
    assert refused(tmp_path) != stale


@pytest.mark.parametrize("content", ["", '{"host": "els', "[1]", "[" * 5000])
def test_half_a_lock_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK_FILE).write_text(content)
    assert not refused(tmp_path)


def test_a_full_disk_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_part(content: object, file: TextIO) -> None:
        file.write('{"host": ')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(lock.json, "dump", write_part)
        with pytest.raises(OSError, match="No space left"), Lock(tmp_path / "lock").held():
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_can_be_forced(tmp_path: Path) -> None:
    with Lock(tmp_path / LOCK_FILE).held(), Lock(tmp_path / LOCK_FILE).held(force=True):
        assert refused(tmp_path)


def test_the_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SECONDS_BETWEEN_BEATS", 0.01)
    monkeypatch.setattr(lock, "_heart", lock._Heart())
    with Lock(tmp_path / LOCK_FILE).held():
        os.utime(tmp_path / LOCK_FILE, (1, 1))
        deadline = time.monotonic() + 300
        while (tmp_path / LOCK_FILE).stat().st_mtime == 1:
            assert time.monotonic() < deadline, "no sign of life"
            time.sleep(0.01)
