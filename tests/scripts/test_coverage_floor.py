"""scripts/coverage_floor.py: a measured share below the floor fails, and the floor may only rise."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from script_modules import script

COVERAGE = script("coverage_floor")


@pytest.fixture
def floors(tmp_path: Path) -> Path:
    """Return a repository's file whose floor has risen from 70 to 81.5."""
    place = tmp_path / "floor.txt"
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for each in ("70", "81.5"):
        place.write_text(f"{each}\n")
        for words in (["add", "."], ["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "m"]):
            subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return place


def report(folder: Path, share: float) -> str:
    place = folder / "coverage.json"
    place.write_text(json.dumps({"totals": {"percent_covered": share}}))
    return str(place)


@pytest.mark.parametrize(
    ("floor", "share", "fault"),
    [
        ("81.5", 81.5, None),
        ("81.5", 95.0, None),
        ("81.5", 81.49, "the floor is 81.5"),
        ("90", 95.0, None),
        ("90", 85.0, "the floor is 90"),
        ("81.4", 95.0, "was 81.5 % and may not fall to 81.4"),
        ("70", 95.0, "may not fall"),
    ],
)
def test_comparison(floors: Path, floor: str, share: float, fault: str | None) -> None:
    floors.write_text(floor + "\n")
    answer = COVERAGE.main([report(floors.parent, share), "--floor", str(floors)])
    assert answer == 0 if fault is None else fault in answer
    assert floors.read_text() == floor + "\n"


@pytest.mark.parametrize(("share", "after"), [(85.99, "85\n"), (81.9, "81.5\n"), (99.999, "99\n")])
def test_the_floor_only_rises(floors: Path, share: float, after: str) -> None:
    assert COVERAGE.main([report(floors.parent, share), "--floor", str(floors), "--raise"]) == 0
    assert floors.read_text() == after


@pytest.mark.parametrize("text", ["", "-1", "101", "nan", "many"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"between|convert"):
        COVERAGE.number_in(text)


def test_our_own_floor_has_not_fallen() -> None:
    floor = COVERAGE.number_in(COVERAGE.FLOOR.read_text(encoding="ascii"))
    assert (
        COVERAGE.fault(100.0, floor, COVERAGE.highest_before(COVERAGE.FLOOR.parent, COVERAGE.FLOOR.name))
        is None
    )
    assert COVERAGE.highest_before(Path("/"), "floor.txt") is None
