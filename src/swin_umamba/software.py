"""The software and machine behind a result: versions, state of the source code, processor."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from swin_umamba import __version__

PACKAGES = ("torch", "nnunetv2", "numpy", "scipy", "numba")
SECONDS_FOR_GIT = 10


@dataclass(frozen=True)
class GitState:
    """State of a clone.

    Attributes
    ----------
    commit
        Hash of the commit, 40 hexadecimal digits (64 in a repository with SHA-256).
    changed
        Whether there are uncommitted changes in the folder of the file in question.
    """

    commit: str
    changed: bool


def software_versions() -> dict[str, str | None]:
    """Return the versions of swin-umamba, Python and the computing packages; None if not installed."""
    versions: dict[str, str | None] = {"swin-umamba": __version__, "Python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def source_state() -> GitState | None:
    """Return the state of the clone that this package runs from; None if it does not run from one."""
    file = Path(__file__).resolve()
    return git_state(file, file.parents[2]) if file.parents[1].name == "src" else None


def git_state(file: Path, root: Path) -> GitState | None:
    """Return the state of the clone that a file belongs to.

    None if git does not track the file, is missing, refuses the folder, or takes longer than ten seconds. A
    file that merely lies in a clone, as in a virtual environment there, does not belong to it.

    Parameters
    ----------
    file
        A file of the clone, as an absolute path.
    root
        Folder of the clone. Git does not look above it: it runs programs named in a clone's settings, which
        another user may have written if we happen to be installed in a folder they gave away.
    """
    git = _git()
    if git is None or os.pathsep in str(root.parent):  # it would split a list of folders
        return None
    deadline = time.monotonic() + SECONDS_FOR_GIT
    # Variables such as GIT_DIR, which git sets for its hooks, would lead to another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_CEILING_DIRECTORIES"] = str(root.parent)
    answers = []
    for arguments in (
        ["ls-files", "--error-unmatch", "--", file.name],
        ["rev-parse", "HEAD"],
        ["status", "--porcelain", "--", "."],
    ):
        try:
            done = subprocess.run(
                [git, "--no-optional-locks", "-C", str(file.parent), *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env=environment,
                timeout=max(0.0, deadline - time.monotonic()),
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        answers.append(done.stdout.strip())
    return GitState(answers[1], changed=bool(answers[2]))


def _git() -> str | None:
    """Return the path of git; None if it is missing, or found only in the current folder."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    found = shutil.which("git", path=os.pathsep.join(filter(os.path.isabs, folders)) or os.devnull)
    return found if found is not None and os.path.isabs(found) else None  # Windows looks there first


def processor_name() -> str:
    """Return the model of the processor, as far as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()
