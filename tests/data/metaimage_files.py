"""MetaImages that tests write, well or badly."""

from __future__ import annotations

from pathlib import Path

import numpy as np

VOXELS = np.arange(24, dtype=np.uint8)
FIELDS = {"ObjectType": "Image", "NDims": "3", "DimSize": "4 3 2", "ElementType": "MET_UCHAR"}


def save(path: Path, content: bytes = VOXELS.tobytes(), place: str = "LOCAL", **fields: str) -> Path:
    """Write a header with fields, ElementDataFile and what follows."""
    lines = [f"{key} = {value}\n" for key, value in {**FIELDS, **fields, "ElementDataFile": place}.items()]
    path.write_bytes("".join(lines).encode() + content)
    return path
