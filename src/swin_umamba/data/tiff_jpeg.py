"""Strips and tiles of TIFF files that are streams of JPEG (TIFF Technical Note 2) or JPEG 2000.

Aperio's scanners write the latter.
"""

from __future__ import annotations

import struct

import numpy as np

from swin_umamba.data.dicom.codestreams import jpeg_2000_header
from swin_umamba.data.tiff_colours import ycbcr_to_rgb
from swin_umamba.data.tiff_layout import APERIO_YCBCR, RECOMPRESS, Layout
from swin_umamba.data.tiff_tags import Page

_STANDALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_HUFFMAN = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_JFIF, _ADOBE = 0xE0, 0xEE
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_RGB = "RGB"


def decode_jpeg(
    page: Page, stream: bytes, tables: bytes, shape: tuple[int, int, int], kind: str
) -> np.ndarray:
    """Return the pixels of a strip or tile, ``(rows, columns, samples)`` of uint8.

    Parameters
    ----------
    page
        Page to name in messages.
    stream, tables
        The strip or tile, and tag 347 with the tables shared by the streams of a page.
    shape
        Shape given by the tags. A last strip may have fewer rows.
    kind
        ``grey``, ``RGB`` or ``YCbCr``, according to tag 262. YCbCr becomes RGB.

    Raises
    ------
    DataError
        The stream is damaged, does not have the shape in the tags, or is an unsupported kind of JPEG.
    """
    import imagecodecs

    rows = _check_frame(page, stream, shape, kind)
    # A decoder would fill truncated data with grey. Within compressed pixels, no 0xFF precedes an 0xD9.
    if _END not in stream[stream.find(_SCAN) :]:
        raise page.damaged("pixels are missing: a JPEG stream is cut off before its end marker")
    # The tag determines the components, as in libtiff; a decoder alone would guess from their markers.
    spaces = {"grey": (None, None), _RGB: (_RGB, _RGB), "YCbCr": ("YCBCR", _RGB)}[kind]
    pixels = imagecodecs.jpeg8_decode(
        stream, tables=tables or None, colorspace=spaces[0], outcolorspace=spaces[1]
    )
    if pixels.dtype != np.uint8 or pixels.size != rows * shape[1] * shape[2]:
        raise page.damaged(f"a JPEG stream holds pixels of shape {pixels.shape}")
    return pixels.reshape(rows, *shape[1:])


def _check_frame(page: Page, stream: bytes, shape: tuple[int, int, int], kind: str) -> int:
    """Compare the stream with the tags before a decoder allocates memory for it; return its rows."""
    position = 2
    markers_say = None
    while stream[:2] == b"\xff\xd8":
        while stream[position : position + 2] == b"\xff\xff":
            position += 1
        marker = int.from_bytes(stream[position + 1 : position + 2], "big")
        marker = marker if stream[position : position + 1] == b"\xff" else 0
        body = stream[
            position + 4 : position + 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
        ]
        if marker in _FRAMES:
            break
        if len(stream) < position + 4 or marker in (0, 0xD9, 0xDA):
            raise page.damaged("a JPEG stream has no frame")
        if marker == _JFIF and body.startswith(b"JFIF"):
            markers_say = markers_say or "YCbCr"
        if marker == _ADOBE and body.startswith(b"Adobe") and len(body) >= 12:
            markers_say = {0: _RGB, 1: "YCbCr"}.get(body[11], "YCCK")
        position += 2 if marker in _STANDALONE else 4 + len(body)
    else:
        raise page.damaged("a strip or tile is not a JPEG stream")
    bits, height, width, samples = body[0], body[1:3], body[3:5], body[5] if len(body) > 5 else 0
    rows, columns = int.from_bytes(height, "big"), int.from_bytes(width, "big")
    if marker not in _HUFFMAN or bits != 8:
        raise page.unsupported(f"files with JPEG of {bits} bits and process {marker - 0xC0} are", RECOMPRESS)
    if kind != "grey" and markers_say not in (None, kind):
        raise page.unsupported(
            f"files with JPEG colours called {kind} by a tag and {markers_say} inside are", RECOMPRESS
        )
    if columns != shape[1] or samples != shape[2] or not 0 < rows <= shape[0]:
        raise page.damaged(
            f"a JPEG stream holds {rows} x {columns} pixels of {samples} samples, the tags say "
            f"{shape[0]} x {shape[1]} of {shape[2]}"
        )
    return rows


def decode_jpeg_2000(page: Page, layout: Layout, stream: bytes) -> np.ndarray:
    """Return the pixels of a strip or tile, ``(rows, columns, samples)`` in the dtype of the layout.

    Compression 33003 holds YCbCr (of JFIF) that becomes RGB, all others RGB or grey.

    Raises
    ------
    DataError
        The stream is damaged, or does not have the shape in the tags.
    """
    import imagecodecs

    try:
        found = jpeg_2000_header(stream)
    except (ValueError, struct.error) as error:
        if "thinned out" in str(error):
            raise page.unsupported("files with JPEG 2000 of thinned-out colours are", RECOMPRESS) from error
        raise page.damaged(f"a JPEG 2000 stream cannot be read: {error}") from error
    shape = layout.tile[0], layout.tile[1], layout.samples
    if (found.rows, found.columns, found.samples) != shape or found.bits != layout.bits or found.signed:
        raise page.damaged(
            f"a JPEG 2000 stream holds {found.rows} x {found.columns} pixels of {found.samples} samples of "
            f"{found.bits} bits, the tags say {shape[0]} x {shape[1]} of {shape[2]} of {layout.bits}"
        )
    # A decoder would leave out what is missing, and the pixels would be coarse or grey.
    if _END not in stream[-4:]:
        raise page.damaged("pixels are missing: a JPEG 2000 stream is cut off before its end marker")
    pixels = np.asarray(imagecodecs.jpeg2k_decode(stream), layout.dtype).reshape(shape)
    if layout.compression == APERIO_YCBCR:
        pixels = np.moveaxis(ycbcr_to_rgb(np.moveaxis(pixels, -1, 0)), 0, -1)
    return pixels
