"""PNG: every chunk is checked here, and the decoders get only those that make up the pixels."""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from swin_umamba.data.image import DEFLATE_MAX_RATIO
from swin_umamba.data.orientation import exif_orientation, oriented, refuse_turned_elsewhere, xmp_orientation
from swin_umamba.data.picture_checks import (
    MAX_PIXELS,
    check_pixels,
    damaged,
    drop_alpha,
    not_supported,
    refuse_transparent,
)
from swin_umamba.errors import DataError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
# Values per pixel and possible bit depths of each colour type.
_VALUES = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGBA: 4}
_DEPTHS = {_GREY: (1, 2, 4, 8, 16), _PALETTE: (1, 2, 4, 8)}
_DEEP = (8, 16)
_ANIMATED = b"fdAT"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_XMP = b"XML:com.adobe.xmp"
# How EXIF was stored, mainly by ImageMagick, before PNG had a place for it.
_OLD_EXIF = b"Raw profile type exif"
_HEXADECIMAL = re.compile(rb"(?:[0-9a-fA-F]{2})+")
_MAX_TEXT = 2**20
# Chunks that make no program change the pixels or refuse to open the file.
_HARMLESS = {b"IHDR", b"IDAT", b"IEND", b"pHYs", b"tIME", b"sRGB", b"gAMA", b"cHRM", b"sBIT", b"bKGD"}
_COPIED = {(8, _GREY), (16, _GREY), (8, _RGB)}


@dataclass
class _Png:
    """Contents of a file."""

    kinds: set[bytes] = field(default_factory=set)
    bodies: dict[bytes, bytes] = field(default_factory=dict)  # chunks whose contents matter here
    texts: list[tuple[bytes, bytes]] = field(default_factory=list)  # keyword and text
    pixels: list[memoryview] = field(default_factory=list)  # whole chunks

    @property
    def depth(self) -> int:
        """Bits per value."""
        return self.bodies[b"IHDR"][8]

    @property
    def colour_type(self) -> int:
        """Meaning of the values of a pixel."""
        return self.bodies[b"IHDR"][9]


def read_png(path: Path, content: bytes, *, indexed: bool, limit: int) -> np.ndarray:
    """Read the contents of a PNG file; see ``read_picture``. If indexed, one transparent colour is ignored.

    Returns
    -------
    numpy.ndarray
        ``(channels, y, x)``, 1 or 3 channels of uint8 or uint16, oriented according to EXIF.

    Raises
    ------
    DataError
        The file is damaged, an animation, transparent, too large, or not a PNG picture.
    """
    png = _take_apart(path, content)
    _check_header(path, png, len(content), limit)
    if _ANIMATED in png.kinds:
        raise DataError(
            "the picture is an animation, which is not supported",
            where=path,
            hint="save its frames as separate files",
        )
    data = _decoded(path, png)
    if png.colour_type == _PALETTE:
        data = data if indexed else _colours(path, png, data[0])
    elif png.colour_type in (_GREY_ALPHA, _RGBA):
        data = drop_alpha(path, data)
    elif b"tRNS" in png.bodies and not indexed:
        _check_transparent_colour(path, png, data)
    return oriented(data, _orientation(path, png))


def png_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of what ``read_png`` would return, not upright, from the header; see ``Format``."""
    with path.open("rb") as file:
        content = file.read(len(_SIGNATURE) + 25)
    header = content[16:29]
    if not content.startswith(_SIGNATURE) or content[8:29] + content[29:] != _chunk(b"IHDR", header):
        raise damaged(path, "the file does not begin with the header of a PNG picture")
    width, height, colour_type = _check_values(path, header, path.stat().st_size, MAX_PIXELS)
    return (3 if colour_type in (_RGB, _PALETTE, _RGBA) else 1, height, width)


def stands_alone(path: Path) -> bool:
    """Return whether every program sees the pixels of a readable PNG file as this package does.

    It does not if programs differ in how they read such pixels (palettes, alpha, few bits, 16-bit colours),
    or if anything else in the file reorients the picture or makes pixels transparent.
    """
    png = _take_apart(path, path.read_bytes())
    return png.kinds <= _HARMLESS and (png.depth, png.colour_type) in _COPIED


def _take_apart(path: Path, content: bytes) -> _Png:
    """Verify the checksum of every chunk and sort them."""
    if not content.startswith(_SIGNATURE):
        raise DataError(
            "the file is not a PNG picture", where=path, hint="convert it to PNG, or copy it again"
        )
    png = _Png()
    view = memoryview(content)
    position = len(_SIGNATURE)
    while b"IEND" not in png.kinds:
        end = position + 12 + int.from_bytes(view[position : position + 4], "big")
        if end > len(content):
            raise damaged(path, f"the picture is cut off at byte {len(content)} of at least {end}")
        kind = bytes(view[position + 4 : position + 8])
        body = view[position + 8 : end - 4]
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise damaged(path, f"the checksum of chunk {kind!r} at byte {position} is wrong")
        if kind == b"IDAT":
            png.pixels.append(view[position:end])
        elif kind in _TEXTS:
            png.texts.append(_text(kind, bytes(body)))
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf"):
            png.bodies.setdefault(kind, bytes(body))
        elif kind[:1].isupper() and kind != b"IEND":
            # Apple's own variant, which starts with CgBI, is the best known.
            raise not_supported(path, f"PNG pictures that need the chunk {kind!r}")
        png.kinds.add(kind)
        position = end
    return png


def _check_header(path: Path, png: _Png, file_bytes: int, limit: int) -> None:
    """Refuse what is not a picture, and what the file cannot hold, before memory is allocated."""
    header = png.bodies.get(b"IHDR", b"")
    _, _, colour_type = _check_values(path, header, file_bytes, limit)
    if not png.pixels:
        raise damaged(path, "the picture has no pixels")
    if colour_type == _PALETTE:
        palette = png.bodies.get(b"PLTE", b"")
        if not palette or len(palette) % 3 or len(palette) > 3 * 256:
            raise damaged(path, f"the palette has {len(palette)} bytes")


def _check_values(path: Path, header: bytes, file_bytes: int, limit: int) -> tuple[int, int, int]:
    """Return width, height and colour type of the header after checking them."""
    if len(header) != 13:
        raise damaged(path, "the picture has no header")
    width, height, depth, colour_type, *methods = struct.unpack(">IIBBBBB", header)
    if colour_type not in _VALUES or depth not in _DEPTHS.get(colour_type, _DEEP):
        raise damaged(path, f"PNG has no pixels of {depth} bits and colour type {colour_type}")
    if methods[:2] != [0, 0] or methods[2] > 1:
        raise not_supported(path, f"PNG pictures of the methods {methods}")
    if not width or not height:
        raise damaged(path, "the picture has no pixels")
    check_pixels(path, width * height, limit)
    claimed = height * (width * depth * _VALUES[colour_type] // 8)
    if claimed > DEFLATE_MAX_RATIO * file_bytes:
        raise damaged(path, f"the header describes {claimed} bytes of pixels, which the file does not hold")
    return width, height, colour_type


def _decoded(path: Path, png: _Png) -> np.ndarray:
    """Return the values as stored, ``(channels, y, x)``; for palette pictures, the indices."""
    needed = (b"IHDR", b"PLTE") if png.colour_type == _PALETTE else (b"IHDR",)
    first = [_chunk(kind, png.bodies[kind]) for kind in needed]
    content = b"".join([_SIGNATURE, *first, *png.pixels, _chunk(b"IEND", b"")])
    try:
        if png.depth == 16 and png.colour_type != _GREY:
            # Pillow would return 8 bits.
            from imagecodecs import png_decode

            data = png_decode(content)
        else:
            from PIL import Image as PillowImage

            with PillowImage.open(io.BytesIO(content), formats=["PNG"]) as picture:
                data = np.asarray(picture)
    except Exception as error:
        # On damaged bytes, the decoders raise many kinds of errors (struct, value, syntax).
        raise damaged(path, f"the picture is damaged: {error}") from error
    if png.colour_type == _GREY and png.depth in (2, 4):
        # Pillow stretches them to 0 to 255, which would turn class 1 into class 85 or 17.
        data = data // (255 // (2**png.depth - 1))
    data = data.astype(np.uint16 if png.depth == 16 else np.uint8, copy=False)
    return data[None] if data.ndim == 2 else data.transpose(2, 0, 1)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _colours(path: Path, png: _Png, indices: np.ndarray) -> np.ndarray:
    palette = np.frombuffer(png.bodies[b"PLTE"], np.uint8).reshape(-1, 3)
    if indices.max() >= len(palette):
        raise damaged(path, f"the picture uses colour {indices.max()}, but its palette has {len(palette)}")
    opaque = np.full(len(palette), True)
    alphas = np.frombuffer(png.bodies.get(b"tRNS", b""), np.uint8)[: len(palette)]
    opaque[: len(alphas)] = alphas == 255
    refuse_transparent(path, int(np.count_nonzero(~opaque[indices])))
    colours: np.ndarray = palette.T[:, indices]
    return colours


def _check_transparent_colour(path: Path, png: _Png, data: np.ndarray) -> None:
    """Refuse a picture that uses the grey value or colour that it declares transparent."""
    if len(png.bodies[b"tRNS"]) != 2 * len(data):
        raise damaged(path, f"the transparent colour has {len(png.bodies[b'tRNS'])} bytes")
    key = np.frombuffer(png.bodies[b"tRNS"], ">u2") & (2**png.depth - 1)
    refuse_transparent(path, int(np.count_nonzero((data == key[:, None, None]).all(axis=0))))


def _orientation(path: Path, png: _Png) -> int:
    if b"eXIf" in png.bodies:
        found = exif_orientation(png.bodies[b"eXIf"], path)
        if found is not None:
            return found
    for keyword, text in png.texts:
        if keyword == _XMP:
            refuse_turned_elsewhere(xmp_orientation(text), "its XMP metadata", path)
        elif keyword == _OLD_EXIF:
            # A line with the name, one with the length, then hexadecimal digits.
            digits = b"".join(text.split()[2:])
            exif = bytes.fromhex(digits.decode("ascii", "replace")) if _HEXADECIMAL.fullmatch(digits) else b""
            refuse_turned_elsewhere(exif_orientation(exif, path), "the notes of ImageMagick in it", path)
    return 1


def _text(kind: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Return the keyword and text of a chunk; an empty text if it cannot be decompressed."""
    keyword, _, text = body.partition(b"\0")
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed, text = text[:1] == b"\1", text[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif packed:
        text = text[1:]
    if not packed or keyword not in (_XMP, _OLD_EXIF):
        return keyword, text
    try:
        return keyword, zlib.decompressobj().decompress(text, _MAX_TEXT)
    except zlib.error:
        return keyword, b""
