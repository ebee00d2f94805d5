"""End with 1 if this container serves and the server does not answer; other commands are well as they run."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

PORT = 8000
SECONDS = 8.0
"""In which the server answers if it is well."""


def port_of(command: Sequence[str]) -> int | None:
    """Return the port that a command serves on; None if it is another command.

    Parameters
    ----------
    command
        Program and arguments of the container's first process.
    """
    if "serve" not in command:
        return None
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if word == "--port":
            return int(following)
        if word.startswith("--port="):
            return int(word.partition("=")[2])
    return PORT


def is_well(command: Sequence[str]) -> bool:
    """Return whether the server answers, or there is none."""
    port = port_of(command)
    if port is None:
        return True
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    first = Path("/proc/1/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    sys.exit(0 if is_well(first) else 1)
