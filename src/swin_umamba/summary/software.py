"""The software that writes a report."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from swin_umamba import __version__
from swin_umamba.report.contents import Facts

PACKAGES = ("torch", "nnunetv2", "numpy", "scipy")
SECONDS_FOR_GIT = 10


def software_now() -> Facts:
    """Return a table of the versions of this process."""
    rows = [("swin-umamba", __version__), ("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            rows.append((package, version(package)))
        except PackageNotFoundError:
            rows.append((package, "not installed"))
    state = git_state(Path(__file__).parent)
    return Facts(
        "Software of this report", (*rows, ("git state of swin-umamba", state or "not from a git clone"))
    )


def git_state(folder: Path) -> str | None:
    """Return the commit of the clone that a folder lies in, and whether it has changes; None without git."""
    answers = []
    for arguments in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--", "."]):
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                timeout=SECONDS_FOR_GIT,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        answers.append(done.stdout.strip())
    return f"{answers[0]} with uncommitted changes" if answers[1] else answers[0]
