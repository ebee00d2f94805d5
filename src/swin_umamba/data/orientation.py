"""How a picture is turned: tag 274 of EXIF data and of TIFF files."""

from __future__ import annotations

import logging
import re
import struct
from pathlib import Path

import numpy as np

from swin_umamba.errors import DataError

logger = logging.getLogger(__name__)

ORIENTATION_TAG = 274
# The types of numbers that a field of four bytes holds: bytes, shorts and longs, without and with a sign.
_VALUE = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l"}
# "as an attribute" or <as>an element</as>, in whatever namespace prefix XMP was written.
_IN_XMP = re.compile(rb":Orientation\s*(?:=\s*[\"']|>)\s*(\d+)")


def oriented(data: np.ndarray, orientation: int) -> np.ndarray:
    """Return a picture as it is meant to be seen.

    Parameters
    ----------
    data
        ``(..., y, x)`` as stored.
    orientation
        1 to 8, as EXIF 2.32 and TIFF 6.0 number them: where the stored first row and first column lie in the
        picture that is seen (1: top and left, 3: bottom and right, 6: right and top).

    Returns
    -------
    numpy.ndarray
        ``(..., y, x)``, or with the lengths of y and x exchanged for the orientations 5 to 8. A view.
    """
    if orientation not in range(1, 9):
        raise ValueError(f"orientations are numbered from 1 to 8, not {orientation}")
    if orientation >= 5:
        data = data.swapaxes(-1, -2)
    if orientation in (3, 4, 7, 8):
        data = data[..., ::-1, :]
    return data[..., ::-1] if orientation in (2, 3, 6, 7) else data


def exif_orientation(exif: bytes, path: Path) -> int | None:
    """Return the orientation that EXIF data name, None if they name none.

    EXIF data that cannot be read count as none, as every viewer takes them, with a warning; so do the numbers
    that EXIF reserves. 0 is what some cameras write for "not known".

    Parameters
    ----------
    exif
        A TIFF structure, with or without the name ``Exif`` in front.
    path
        The picture, for messages.
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
    """Return the orientation that a packet of XMP metadata names, None if it names none."""
    found = _IN_XMP.search(packet)
    return int(found[1]) if found else None


def refuse_turned_elsewhere(orientation: int | None, where: str, path: Path) -> None:
    """Refuse a picture that is turned according to something that only some programs look at."""
    if orientation in range(2, 9):
        raise DataError(
            f"{where} say that the picture is turned (orientation {orientation}), its EXIF data do not",
            where=path,
            hint="open it, turn it as it must be, and save it as PNG",
        )
