"""Changing what stands in a file of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def changed_json(path: Path) -> Iterator[Any]:
    """Let a block change what a file holds, and write it back."""
    content = json.loads(path.read_text())
    yield content
    path.write_text(json.dumps(content))
