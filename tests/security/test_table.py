"""Each row of the table "What we do not trust" of SECURITY.md names a file of attacks of this folder."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent
PLACE = "tests/security/"


def test_each_row_names_its_attacks_and_no_attack_is_without_a_row() -> None:
    text = (FOLDER.parents[1] / "SECURITY.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## What we do not trust$(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    lines = [line for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[:2] == [["from outside", "what is done", f"attacks in `{PLACE}`"], ["---"] * 3]
    assert all(len(row) == 3 and all(row) for row in rows)
    named = [row[2].strip("`") for row in rows[2:]]
    assert sorted(named) == sorted(path.name for path in FOLDER.glob("test_*.py") if path != Path(__file__))
