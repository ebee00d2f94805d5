"""NRRD files that tests write, well or badly."""

from __future__ import annotations

from pathlib import Path

import numpy as np

VOXELS = np.arange(24, dtype=np.uint8)
FIELDS = {"type": "uint8", "dimension": "3", "sizes": "4 3 2", "encoding": "raw"}


def save(path: Path, content: bytes = VOXELS.tobytes(), *lines: str, **fields: str) -> Path:
    """Write a header with fields (``_`` for a space) and lines, and what follows."""
    written = [f"{key}: {value}" for key, value in {**FIELDS, **fields}.items()]
    path.write_bytes("\n".join(["NRRD0005", *written, *lines, "", ""]).encode() + content)
    return path
