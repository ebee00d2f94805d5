"""What the benchmarks share: how they speak, and what the system knows of processes."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NNUNET = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as run; run()"


def say(text: str = "") -> None:
    """Print for the reader; stdout is kept for the JSON."""
    print(text, file=sys.stderr)


def parser_of(text: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help begins with the text of a benchmark."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def load_of_machine() -> float:
    """Return the load average of the last minute; NaN where the system keeps none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def memory_status(name: str) -> int:
    """Return a size that Linux knows of this process, such as ``VmRSS``, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(rf"^{name}:\s*(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


def forget_peak_of_memory() -> int:
    """Let Linux's high-water mark ``VmHWM`` start anew; return the resident memory before."""
    before = memory_status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return before


def measured_in_child(script: str, *arguments: object) -> Any:
    """Return what a script prints as JSON with ``--child`` and these arguments, in a process of its own."""
    command = [sys.executable, script, "--child", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def timed_command(name: str, arguments: Sequence[str]) -> tuple[float, Any]:
    """Run Python with arguments, silently, where nnU-Net finds our trainers.

    Returns
    -------
    seconds, used
        Wall time from start to end, and the system's account of the process (``resource.getrusage``).
    """
    from swin_umamba.nnunet.shell import shell_variables

    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **{each.name: each.value for each in shell_variables()}},
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{name} has failed")
    return time.perf_counter() - start, used
