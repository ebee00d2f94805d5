"""The schemas are those of the code, and hold what was promised; conftest holds all outputs against them."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from schemas import SCHEMAS, check_contract, validator
from swin_umamba.contracts import json_schemas
from swin_umamba.json_files import SCHEMA

WRITTEN = {name: json.dumps(schema, indent=2) + "\n" for name, schema in sorted(json_schemas().items())}


def test_the_files_are_those_of_the_code() -> None:
    """``REWRITE_SCHEMAS=1`` writes them."""
    if os.environ.get("REWRITE_SCHEMAS"):
        SCHEMAS.mkdir(exist_ok=True)
        for path in SCHEMAS.glob("*.json"):
            path.unlink()
        for name, text in WRITTEN.items():
            (SCHEMAS / f"{name}.json").write_text(text)
    assert {path.stem: path.read_text() for path in SCHEMAS.glob("*.json")} == WRITTEN


@pytest.mark.parametrize("name", WRITTEN)
def test_every_schema_is_valid_and_wants_its_number(name: str) -> None:
    (wrong,) = (
        error for error in validator(name).iter_errors({"schema": SCHEMA + 1}) if error.validator == "const"
    )
    assert list(wrong.path) == ["schema"]


def test_new_missing_and_mistyped_keys_are_noticed() -> None:
    good: dict[str, Any] = {"schema": SCHEMA, "name": "a", "file": "b", "sha256": "c"}
    check_contract("weights-download", good)
    for change in ({"more": 1}, {"file": None}, {"sha256": 1}):
        with pytest.raises(AssertionError):
            check_contract("weights-download", good | change)
    del good["file"]
    with pytest.raises(AssertionError, match="'file' is a required property"):
        check_contract("weights-download", good)
