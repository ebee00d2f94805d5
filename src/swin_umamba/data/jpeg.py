"""JPEG: the markers are parsed here, and the decoder gets the first picture without its metadata."""

from __future__ import annotations

import io
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from swin_umamba.data.orientation import exif_orientation, oriented, refuse_turned_elsewhere, xmp_orientation
from swin_umamba.data.picture_checks import check_pixels, damaged, not_supported
from swin_umamba.errors import DataError

logger = logging.getLogger(__name__)

_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_JFIF, _EXIF_OR_XMP, _ADOBE = 0xE0, 0xE1, 0xEE
_APPLICATION = range(0xE0, 0xF0)
_COMMENT = 0xFE
# Start of frame; the excluded markers in this range introduce tables.
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_HUFFMAN = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive
_FRAME_KINDS = {0xC3: "lossless", 0xC9: "arithmetic", 0xCA: "arithmetic", 0xCB: "lossless", 0xF7: "JPEG-LS"}
_HIERARCHICAL = 0xDE
# Within compressed pixels FF is followed by 0, a restart marker or another FF; anything else ends them.
_AFTER_PIXELS = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_EXIF = b"Exif\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
# Progressive pictures have about ten. Each takes as long to decode as the whole picture.
_MAX_SCANS = 100


@dataclass
class _Jpeg:
    """What a file says about its first picture."""

    frame: bytes = b""
    frame_kind: int = 0
    scans: int = 0
    exif: bytes | None = None
    xmp: bytes = b""
    pixels: list[bytes] = field(default_factory=list)  # segments for the decoder


def read_jpeg(path: Path, content: bytes, *, limit: int) -> np.ndarray:
    """Read the contents of a JPEG file; see ``read_picture``.

    Anything after the first picture, such as a preview or the other eye's, is ignored.

    Returns
    -------
    numpy.ndarray
        ``(channels, y, x)``, uint8; 1 channel, or red, green and blue; oriented according to EXIF.

    Raises
    ------
    DataError
        The file is damaged, an unsupported kind of JPEG, too large, or not a JPEG picture.
    """
    jpeg = _take_apart(path, content)
    _check_frame(path, jpeg, limit)
    orientation = None if jpeg.exif is None else exif_orientation(jpeg.exif, path)
    if orientation is None:
        refuse_turned_elsewhere(xmp_orientation(jpeg.xmp), "its XMP metadata", path)
    from PIL import Image as PillowImage

    try:
        with PillowImage.open(io.BytesIO(b"".join(jpeg.pixels)), formats=["JPEG"]) as picture:
            data = np.asarray(picture)
    except Exception as error:
        raise damaged(path, f"the picture is damaged: {error}") from error
    return oriented(data[None] if data.ndim == 2 else data.transpose(2, 0, 1), orientation or 1)


def jpeg_shape(path: Path, content: bytes, limit: int) -> tuple[int, ...]:
    """Return the shape of what ``read_jpeg`` would return, but not upright, from the headers.

    It raises the same errors.
    """
    jpeg = _take_apart(path, content)
    _check_frame(path, jpeg, limit)
    height, width = (int.from_bytes(jpeg.frame[at : at + 2], "big") for at in (1, 3))
    return (jpeg.frame[5], height, width)


def _take_apart(path: Path, content: bytes) -> _Jpeg:
    if not content.startswith(b"\xff\xd8"):
        raise DataError(
            "the file is not a JPEG picture", where=path, hint="convert it to JPEG, or copy it again"
        )
    jpeg = _Jpeg(pixels=[b"\xff\xd8"])
    position = 2
    while True:
        found = _MARKER.search(content, position)
        start = found.start() if found else len(content)
        if skipped := content[position:start].strip(b"\xff"):
            # As every decoder does: some programs count their segments wrongly.
            logger.warning("%s: skipped %d bytes at %d, of no segment", path, len(skipped), position)
        position = start
        if len(content) < position + 4 and content[position : position + 2] != b"\xff\xd9":
            raise damaged(path, f"the picture is cut off at byte {len(content)}, before its end marker")
        marker = content[position + 1]
        if marker == _END:
            jpeg.pixels.append(b"\xff\xd9")
            return jpeg
        end = position + 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        body = content[position + 4 : end]
        if marker == _SCAN:
            jpeg.scans += 1
            found = _AFTER_PIXELS.search(content, end)
            end = found.start() if found else len(content)
        elif marker == _START:
            raise damaged(path, f"a second picture begins within the first, at byte {position}")
        elif marker in _FRAMES and not jpeg.frame:
            jpeg.frame, jpeg.frame_kind = body, marker
        elif marker in _FRAMES or marker == _HIERARCHICAL:
            raise not_supported(path, "JPEG pictures of several frames")
        elif marker == _EXIF_OR_XMP and body.startswith(_EXIF) and jpeg.exif is None:
            jpeg.exif = body
        elif marker == _EXIF_OR_XMP and body.startswith(_XMP):
            jpeg.xmp += body
        if marker in (_JFIF, _ADOBE) or marker not in (*_APPLICATION, _COMMENT):
            jpeg.pixels.append(content[start:end])
        position = end


def _check_frame(path: Path, jpeg: _Jpeg, limit: int) -> None:
    """Refuse unsupported kinds, and too many pixels."""
    if len(jpeg.frame) < 6 or not jpeg.scans:
        raise damaged(path, "the picture has no pixels")
    bits, channels = jpeg.frame[0], jpeg.frame[5]
    height, width = (int.from_bytes(jpeg.frame[at : at + 2], "big") for at in (1, 3))
    if jpeg.frame_kind not in _HUFFMAN:
        kind = _FRAME_KINDS.get(jpeg.frame_kind, f"kind {jpeg.frame_kind:#x}")
        raise not_supported(path, f"JPEG pictures of the {kind} process")
    if bits != 8:
        raise not_supported(path, f"JPEG pictures of {bits} bits", "convert the picture to 16-bit PNG")
    if channels not in (1, 3):
        kind = "CMYK" if channels == 4 else f"{channels} channels"
        hint = "convert the picture to RGB with a program that knows its colour profile"
        raise not_supported(path, f"{kind} pictures", hint)
    if not height:
        raise not_supported(path, "JPEG pictures that say their height at the end")
    if not width:
        raise damaged(path, "the picture has no pixels")
    check_pixels(path, height * width, limit)
    if jpeg.scans > _MAX_SCANS:
        raise not_supported(path, f"JPEG pictures of {jpeg.scans} scans")
