"""Hamamatsu's NDPI: pages that are one JPEG stream each, in which restart markers begin what serves as tiles.

No document describes the format; what is known stands in OpenSlide's and tifffile's documentation.
"""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np

from swin_umamba.data.tiff_layout import Layout, layout_of
from swin_umamba.data.tiff_pixels import Segments
from swin_umamba.data.tiff_tags import Page

NDPI = 65420
_LENS, _FOCUS, _STARTS, _HIGH = 65421, 65424, 65426, 65432
_MOST_STARTS = 2**24
_MOST_HEADER = 2**16
_EXPORT = "export it as a tiled TIFF"
_END = b"\xff\xd9"


def ndpi_pages(pages: list[Page]) -> list[Page]:
    """Return the pages of the slide, the largest first: no macro, no map, the plane of focus 0."""
    kept = [
        page
        for page in pages
        if (lens := page.array(_LENS)).size and lens[0] > 0 and not page.array(_FOCUS).any()
    ]
    if not kept:
        raise pages[0].unsupported("files of Hamamatsu without a slide are", _EXPORT)
    return sorted(kept, key=lambda page: -page.number_of(256, 0))


def restart_tiles(page: Page) -> tuple[Layout, Segments | None]:
    """Return how a page is stored, and its tiles; None instead of them if it has no restart markers.

    Raises
    ------
    DataError
        The positions of restart markers do not fit the page.
    """
    layout = layout_of(page)
    if _STARTS not in page:
        return layout, None
    starts = page.array(_STARTS, most=_MOST_STARTS).astype(np.int64)
    if _HIGH in page:
        high = page.array(_HIGH, most=_MOST_STARTS).astype(np.int64)
        if len(high) != len(starts):
            raise page.damaged("its lists of restart markers differ in length")
        starts += high << 32
    place, length = page.number_of(273, 0), page.number_of(279, 0)
    size = page.file.seek(0, 2)
    if (
        not len(starts)
        or not 0 < starts[0] <= _MOST_HEADER
        or not 8 <= place < place + length <= size
        or (np.diff(starts, append=length) < 2).any()
    ):
        raise page.damaged("pixels are missing: its restart markers lie outside of its pixels")
    page.file.seek(place)
    header, height, width = _tile_header(page, page.file.read(int(starts[0])))
    layout = replace(layout, tiled=True, tile=(height, width))
    _, rows, columns = layout.grid
    if rows * columns != len(starts) or layout.width % width:
        raise page.unsupported("files of Hamamatsu whose restart markers form no tiles are", _EXPORT)

    def completed(stored: bytes) -> bytes:
        # A restart marker, or the end of the whole stream, stands where this one ends.
        if stored[-2:-1] != b"\xff" or not (0xD0 <= stored[-1] <= 0xD7 or stored[-1] == 0xD9):
            raise ValueError("it does not end with a marker")
        return header + stored[:-2] + _END

    return layout, Segments(starts + place, np.diff(starts, append=length), completed)


def _tile_header(page: Page, header: bytes) -> tuple[bytes, int, int]:
    """Return the head of a JPEG stream made that of one tile, and the rows and columns of a tile."""
    position, interval, frame, unit = 2, 0, 0, (0, 0)
    while position + 4 <= len(header) and header[:2] == b"\xff\xd8" and header[position] == 0xFF:
        marker, (length,) = header[position + 1], struct.unpack_from(">H", header, position + 2)
        body = header[position + 4 : position + 2 + length]
        if marker == 0xDD and len(body) == 2:
            interval = int.from_bytes(body, "big")
        elif marker == 0xC0 and len(body) >= 6 and len(body) == 6 + 3 * body[5]:
            frame = position + 5
            factors = body[7::3]
            unit = 8 * max(each & 15 for each in factors), 8 * max(each >> 4 for each in factors)
        position += 2 + length
        if marker == 0xDA:
            break
    else:
        position = -1
    height, width = unit[0], unit[1] * interval
    if position != len(header) or not frame or not 0 < width < 2**16:
        raise page.damaged("its JPEG stream has no head that tells its tiles")
    return header[:frame] + struct.pack(">HH", height, width) + header[frame + 4 :], height, width
