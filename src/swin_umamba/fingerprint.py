"""Fingerprints of the sources of derived files, compared before the files are used.

A fingerprint reveals nothing about its source, so files that contain it can be shared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from swin_umamba.files import file_sha256


def fingerprint_of(value: Any) -> str:
    """Return the SHA-256 of plain data, independent of the order of dicts, and of lists or tuples."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def fingerprint_of_files(paths: Iterable[Path]) -> str:
    """Return the fingerprint of the content of files and folders, in their order but without their names.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    return fingerprint_of([_of_file(path) for path in paths])


def _of_file(path: Path) -> Any:
    if not path.is_dir():
        return file_sha256(path)
    return [file_sha256(file) for file in sorted(path.rglob("*")) if file.is_file()]
