"""The GPU check from its command line, without a GPU: one step, and the rehearsal, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpu_parts import BENCHMARKS  # isort: skip
import gpu_check

# Begins the third step, and does not end it.
HELD = """
import dataclasses, sys, time
sys.path[:0] = sys.argv[1:4]
import gpu_check
from gpu.steps import STEPS

STEPS[3] = dataclasses.replace(STEPS[3], run=lambda context: time.sleep(3600))
sys.exit(gpu_check.main(sys.argv[4:]))
"""
COMMAND = [sys.executable, str(BENCHMARKS / "gpu_check.py"), "--rehearse", "--output"]


def test_one_step_is_rehearsed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, which has imported all of it; the step runs in one of its own."""
    pytest.importorskip("triton", reason="Triton is not installed")
    path = list(sys.path)
    try:
        assert gpu_check.main(["--rehearse", "--only", "1", "--output", str(tmp_path)]) == 0
    finally:
        sys.path[:] = path
    content = json.loads((tmp_path / "rehearsal" / "gpu_check.json").read_text())
    assert content["rehearsal"] is True
    assert content["steps"]["1"]["status"] == "passed"
    assert "REHEARSAL" in (tmp_path / "rehearsal" / "gpu_check.md").read_text()
    assert "1. Card, driver, memory, cache: passed" in capsys.readouterr().out


@pytest.mark.slow
def test_the_rehearsal_goes_on_after_it_was_killed(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    written = tmp_path / "rehearsal" / "gpu_check.json"
    places = [str(BENCHMARKS), *(str(BENCHMARKS.parent / name) for name in ("src", "tests"))]
    running = subprocess.Popen(
        [sys.executable, "-c", HELD, *places, *COMMAND[2:], str(tmp_path)],
        env=os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    end = time.monotonic() + 1000
    try:
        while not (written.exists() and '"3"' in written.read_text()):
            assert running.poll() is None, "it ended by itself"
            assert time.monotonic() < end, "it does not get there"
            time.sleep(0.05)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    steps = json.loads(written.read_text())["steps"]
    assert [steps[number]["status"] for number in ("1", "2")] == ["passed", "passed"]
    assert steps["3"]["status"] == "not run"
    assert steps["3"]["reason"] == "began, and was stopped"
    resumed = subprocess.run(
        [*COMMAND, str(tmp_path), "--resume"], capture_output=True, text=True, check=False
    )
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "2. Every kernel compiles: done before" in resumed.stdout
    content = json.loads(written.read_text())
    assert {step["status"] for step in content["steps"].values()} == {"passed"}, resumed.stdout
    assert len(content["steps"]) == 11
    speeds = [each for each in content["steps"]["10"]["findings"] if each["kind"] == "speed"]
    assert speeds
    assert all(each["value"] is None for each in speeds)
