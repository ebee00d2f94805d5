"""Print the notes of a release, the section of its version in CHANGELOG.md; refuse what is not ready.

python scripts/release_notes.py [--tag v1.2.3]
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)


def version_of(root: Path) -> str:
    """Return the version of the package, from the one place that says it."""
    match = VERSION.search((root / "src" / "swin_umamba" / "__init__.py").read_text(encoding="utf-8"))
    assert match is not None
    return match[1]


def notes(changelog: str, version: str) -> tuple[str, str]:
    """Return the date, or what stands in its place, and the text of the section of a version.

    Raises
    ------
    ValueError
        If there is no such section, or nothing in it.
    """
    section = rf"^## {re.escape(version)} - (\S+)\n(.*?)(?=^## |\Z)"
    match = re.search(section, changelog, re.MULTILINE | re.DOTALL)
    if match is None or not match[2].strip():
        raise ValueError(f"CHANGELOG.md has no section `## {version} - DATE` with text")
    return match[1], match[2].strip() + "\n"


def main(arguments: Sequence[str], root: Path = ROOT) -> int | str:
    """Print the notes; return 0, or what is wrong."""
    parser = argparse.ArgumentParser(prog="release_notes.py", description=__doc__)
    parser.add_argument("--tag", help="the tag of the release, which has to be v and the version")
    chosen = parser.parse_args(arguments)
    version = version_of(root)
    if chosen.tag not in (None, f"v{version}"):
        return f"the tag is {chosen.tag}, and the version of the package {version}"
    try:
        date, text = notes((root / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    except ValueError as error:
        return str(error)
    if chosen.tag is not None and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", date):
        return f"CHANGELOG.md has no date for {version} but {date!r}"
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
