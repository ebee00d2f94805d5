"""Write hashes/*.txt: of each file that `make test` installs, version and hash, for this Python and system.

Run it with Python 3.11 on Linux x86_64, for which scripts/dev.py takes hashes, after a change of dependencies
or of constraints.txt. There are three files, installed one after the other: what builds packages from source,
torch, whose build for the CPU has an index of its own, and all others.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "hashes"
OWN_FILE = {"setuptools": "build", "torch": "torch"}
HEADING = "# Written by scripts/lock_hashes.py for CPython 3.11 on Linux x86_64 with glibc.\n"


def normal(name: str) -> str:
    """Return the name of a package as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(report: dict[str, Any]) -> dict[str, list[str]]:
    """Return the lines of each file from an installation report of pip.

    Parameters
    ----------
    report
        What `pip install --report` writes (version 1 of its format).

    Returns
    -------
    dict
        Names of the files, without their suffix, to lines like `numpy==2.4.6 --hash=sha256:...`.

    Raises
    ------
    ValueError
        If a package comes from an index without a SHA-256.
    """
    lines: dict[str, list[str]] = {"build": [], "torch": [], "all": []}
    for each in report["install"]:
        if "dir_info" in each["download_info"]:
            continue  # this package itself
        name, version = normal(each["metadata"]["name"]), each["metadata"]["version"]
        digest = each["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if digest is None:
            raise ValueError(f"pip tells no SHA-256 of {name} {version}")
        lines[OWN_FILE.get(name, "all")].append(f"{name}=={version} --hash=sha256:{digest}")
    return {name: sorted(each) for name, each in lines.items()}


def main() -> None:
    """Ask pip what it would install, and write the files."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--ignore-installed"]
    wanted = ["-c", "constraints.txt", "setuptools>=77", "torch", "torchvision", ".[test-all]"]
    report = subprocess.run(
        [*pip, "--dry-run", "--report", "-", *wanted], cwd=ROOT, check=True, stdout=subprocess.PIPE
    ).stdout
    FOLDER.mkdir(exist_ok=True)
    for name, lines in locked(json.loads(report)).items():
        (FOLDER / f"{name}.txt").write_text(HEADING + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
