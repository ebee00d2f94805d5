"""The schemas in ``docs/schemas/``, and what they say of a value."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"


@cache
def validator(name: str) -> Any:
    """Return the validator of a contract; another package judges than the one that wrote the schemas."""
    from jsonschema import Draft202012Validator

    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def check_contract(name: str, content: Any) -> None:
    """Fail if a value, as JSON, is not as its schema says."""
    wrong = [
        f"{error.json_path}: {error.message}"
        for error in validator(name).iter_errors(json.loads(json.dumps(content)))
    ]
    assert not wrong, f"{name}: {wrong[:5]}"
