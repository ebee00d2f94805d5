"""EXIF data, and where the standard says that a turned picture is seen."""

from __future__ import annotations

import itertools
import struct

import numpy as np


def exif(orientation: int, order: str = "<", *, kind: int = 3, cut: int | None = None) -> bytes:
    """Return EXIF data with a width, the maker's name and an orientation; ``kind`` is the number's type."""
    value = struct.pack(order + {1: "B3x", 3: "H2x", 4: "L"}[kind], orientation)
    entries = [
        struct.pack(f"{order}HHLL", 256, 4, 1, 640),
        struct.pack(f"{order}HHL", 271, 2, 4) + b"cam\0",
        struct.pack(f"{order}HHL", 274, kind, 1) + value,
        struct.pack(f"{order}HHLL", 305, 4, 1, 7),
    ]
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}L", 8)
    return (head + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4))[:cut]


def as_seen(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Return ``stored`` (..., y, x) pixel by pixel where the table of the EXIF standard says it is seen."""
    *front, rows, columns = stored.shape
    shape = (rows, columns) if orientation < 5 else (columns, rows)
    result = np.empty((*front, *shape), stored.dtype)
    for row, column in itertools.product(range(rows), range(columns)):
        left, top = column, row
        right, bottom = columns - 1 - column, rows - 1 - row
        place = {
            1: (top, left),
            2: (top, right),
            3: (bottom, right),
            4: (bottom, left),
            5: (left, top),
            6: (left, bottom),
            7: (right, bottom),
            8: (right, top),
        }[orientation]
        result[(..., *place)] = stored[..., row, column]
    return result
