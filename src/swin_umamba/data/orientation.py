"""Orientation of a picture: tag 274 of EXIF data and of TIFF files."""

from __future__ import annotations

import logging
import re
import struct
from pathlib import Path

import numpy as np

from swin_umamba.errors import DataError

logger = logging.getLogger(__name__)

ORIENTATION_TAG = 274
# Number types that fit into a field of four bytes: bytes, shorts and longs, unsigned and signed.
_VALUE = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l"}
# "as an attribute" or <as>an element</as>, with whatever namespace prefix the XMP uses.
_IN_XMP = re.compile(rb":Orientation\s*(?:=\s*[\"']|>)\s*(\d+)")


def oriented(data: np.ndarray, orientation: int) -> np.ndarray:
    """Return a picture as it is meant to be seen.

    Parameters
    ----------
    data
        ``(..., y, x)`` as stored.
    orientation
        1 to 8, as numbered by EXIF 2.32 and TIFF 6.0: where the stored first row and first column appear in
        the displayed picture (1: top and left, 3: bottom and right, 6: right and top).

    Returns
    -------
    numpy.ndarray
        View of the data, ``(..., y, x)``; orientations 5 to 8 swap the lengths of y and x.
    """
    if orientation not in range(1, 9):
        raise ValueError(f"orientations are numbered from 1 to 8, not {orientation}")
    if orientation >= 5:
        data = data.swapaxes(-1, -2)
    if orientation in (3, 4, 7, 8):
        data = data[..., ::-1, :]
    return data[..., ::-1] if orientation in (2, 3, 6, 7) else data


def exif_orientation(exif: bytes, path: Path) -> int | None:
    """Return the orientation given by EXIF data, None if they give none.

    Unreadable EXIF data count as none, as in every viewer, with a warning; so do numbers that EXIF reserves.
    Some cameras write 0 for "unknown".

    Parameters
    ----------
    exif
        TIFF structure, with or without the leading name ``Exif``.
    path
        Path of the picture, for messages.
    """
    exif = exif.removeprefix(b"Exif\0").removeprefix(b"\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        logger.warning("%s: the EXIF data cannot be read; the picture is taken as it is stored", path)
        return None
    try:
        (start,) = struct.unpack_from(f"{order}L", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(f"{order}HHL", exif, entry)
            if tag == ORIENTATION_TAG:
                (value,) = struct.unpack_from(order + _VALUE.get(kind, "L"), exif, entry + 8)
                if kind in _VALUE and number == 1 and 0 <= value <= 8:
                    return value or None
                logger.warning(
                    "%s: EXIF names no orientation but %d numbers of type %d, the first %d; the picture is "
                    "taken as it is stored",
                    path,
                    number,
                    kind,
                    value,
                )
                return None
    except struct.error:
        logger.warning("%s: the EXIF data are cut off; the picture is taken as it is stored", path)
    return None


def xmp_orientation(packet: bytes) -> int | None:
    """Return the orientation given by a packet of XMP metadata, None if it gives none."""
    found = _IN_XMP.search(packet)
    return int(found[1]) if found else None


def refuse_turned_elsewhere(orientation: int | None, where: str, path: Path) -> None:
    """Refuse a picture that is reoriented by metadata that only some programs read."""
    if orientation in range(2, 9):
        raise DataError(
            f"{where} say that the picture is turned (orientation {orientation}), its EXIF data do not",
            where=path,
            hint="open it, turn it as it must be, and save it as PNG",
        )
