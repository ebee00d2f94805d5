"""Compare the measured coverage with the floor, which may only rise: python scripts/coverage_floor.py REPORT.

REPORT is what `coverage json` writes. With --raise, the floor becomes what was measured, if that is more.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLOOR = ROOT / ".github" / "coverage-floor.txt"


def number_in(text: str) -> float:
    """Return the percentage that a floor's file holds.

    Raises
    ------
    ValueError
        If it is no number from 0 to 100.
    """
    value = float(text)
    if not 0 <= value <= 100:
        raise ValueError(f"a share of lines is between 0 and 100 percent, not {value}")
    return value


def highest_before(repository: Path, name: str) -> float | None:
    """Return the highest floor in the history of a repository; None without a history.

    Parameters
    ----------
    repository
        A clone. A shallow one tells what it has.
    name
        Place of the floor's file in it.
    """
    done = subprocess.run(
        ["git", "log", "--format=", "--patch", "--unified=0", "--", name],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    values = re.findall(r"^\+([0-9.]+)\s*$", done.stdout, re.MULTILINE)
    return max(map(number_in, values), default=None)


def fault(measured: float, floor: float, before: float | None) -> str | None:
    """Say what is wrong with a measured share, or a floor; None if nothing is."""
    if before is not None and floor < before:
        return f"the floor was {before} % and may not fall to {floor} %"
    if measured < floor:
        return f"the tests reach {measured:.2f} % of the lines, and the floor is {floor} %"
    return None


def main(arguments: Sequence[str]) -> int | str:
    """Compare, and raise the floor if asked to; return 0, or what is wrong."""
    parser = argparse.ArgumentParser(prog="coverage_floor.py", description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--floor", type=Path, default=FLOOR)
    parser.add_argument("--raise", dest="higher", action="store_true")
    chosen = parser.parse_args(arguments)
    measured = float(json.loads(chosen.report.read_text(encoding="utf-8"))["totals"]["percent_covered"])
    floor = number_in(chosen.floor.read_text(encoding="ascii"))
    before = highest_before(chosen.floor.parent, chosen.floor.name)
    wrong = fault(measured, floor, before)
    if wrong:
        return wrong
    print(f"the tests reach {measured:.2f} % of the lines; the floor is {floor} %")
    # Rounded down: what varies from run to run is no fall.
    if chosen.higher and math.floor(measured) > floor:
        chosen.floor.write_text(f"{math.floor(measured)}\n", encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
