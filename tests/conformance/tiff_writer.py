"""A writer of TIFF files of all kinds, from TIFF 6.0 and its technical notes alone."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image as PillowImage

BYTE, ASCII, SHORT, LONG, RATIONAL, FLOAT, LONG8 = 1, 2, 3, 4, 5, 11, 16
_FORMAT = {BYTE: "B", SHORT: "H", LONG: "I", FLOAT: "f", LONG8: "Q"}
NUMBERS = {"none": 1, "LZW": 5, "JPEG": 7, "deflate": 8, "PackBits": 32773, "Zstandard": 50000}


@dataclass
class Page:
    """A directory to be: tags with their type and values, and strips or tiles."""

    tags: dict[int, tuple[int, Any]]
    segments: list[bytes]
    tiled: bool = False
    inner: list[Page] = field(default_factory=list)


def tiff_file(pages: Sequence[Page], order: str = "<", big: bool = False) -> bytes:
    """Return a TIFF file with these pages."""
    out = io.BytesIO()
    mark = b"II" if order == "<" else b"MM"
    out.write(mark + struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 0) if big else (42, 0))))
    link = 8 if big else 4
    for page in pages:
        place, following = _write_page(out, page, order, big)
        _patch(out, link, order, big, place)
        link = following
    return out.getvalue()


def _write_page(out: io.BytesIO, page: Page, order: str, big: bool) -> tuple[int, int]:
    """Return where a directory lies, and where the place of the next one is to be written."""
    inner = [_write_page(out, each, order, big)[0] for each in page.inner]
    offsets = []
    for segment in page.segments:
        offsets.append(out.tell())
        out.write(segment + b"\0" * (len(segment) % 2))
    tags = dict(page.tags)
    tags[324 if page.tiled else 273] = (LONG8 if big else LONG, offsets)
    tags[325 if page.tiled else 279] = (LONG, [len(segment) for segment in page.segments])
    if inner:
        tags[330] = (LONG8 if big else LONG, inner)
    entries = []
    for tag, (kind, values) in sorted(tags.items()):
        stored, count = _packed(kind, values, order)
        room = 8 if big else 4
        if len(stored) > room:
            place = out.tell()
            out.write(stored + b"\0" * (len(stored) % 2))
            stored = struct.pack(order + ("Q" if big else "I"), place)
        entries.append(
            struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, count) + stored.ljust(room, b"\0")
        )
    start = out.tell()
    out.write(struct.pack(order + ("Q" if big else "H"), len(entries)) + b"".join(entries))
    following = out.tell()
    out.write(bytes(8 if big else 4))
    return start, following


def _packed(kind: int, values: Any, order: str) -> tuple[bytes, int]:
    if kind == ASCII:
        text = values.encode() + b"\0"
        return text, len(text)
    values = [values] if isinstance(values, (int, float, tuple)) else list(values)
    if kind == RATIONAL:
        return b"".join(struct.pack(order + "II", *value) for value in values), len(values)
    return struct.pack(f"{order}{len(values)}{_FORMAT[kind]}", *values), len(values)


def _patch(out: io.BytesIO, place: int, order: str, big: bool, value: int) -> None:
    out.seek(place)
    out.write(struct.pack(order + ("Q" if big else "I"), value))
    out.seek(0, 2)


@dataclass(frozen=True)
class Coding:
    """How pixels become bytes."""

    bits: int = 8
    order: str = "<"
    compression: str = "none"
    predictor: int = 1
    planar: bool = False
    tile: tuple[int, int] | None = None
    rows: int | None = None
    reversed_bits: bool = False
    jpeg: dict[str, Any] = field(default_factory=dict)


def page_of(stored: np.ndarray, photometric: int, coding: Coding, **more: tuple[int, Any]) -> Page:
    """Return the page of stored values (y, x, samples); ``more`` has tags such as ``t338=(SHORT, 2)``."""
    length, width, samples = stored.shape
    kind = {"u": 1, "i": 2, "f": 3}[stored.dtype.kind]
    tags: dict[int, tuple[int, Any]] = {
        256: (LONG, width),
        257: (SHORT, length),
        258: (SHORT, [coding.bits] * samples),
        259: (SHORT, NUMBERS[coding.compression]),
        262: (SHORT, photometric),
        277: (SHORT, samples),
        284: (SHORT, 2 if coding.planar else 1),
        339: (SHORT, [kind] * samples),
    }
    if coding.predictor != 1:
        tags[317] = (SHORT, coding.predictor)
    if coding.reversed_bits:
        tags[266] = (SHORT, 2)
    height, across = coding.tile or (coding.rows or length, width)
    tags |= {322: (SHORT, across), 323: (SHORT, height)} if coding.tile else {278: (LONG, height)}
    segments = []
    for plane in np.moveaxis(stored, -1, 0)[..., None] if coding.planar else [stored]:
        for y in range(0, length, height):
            for x in range(0, width, across):
                part = plane[y : y + height, x : x + across]
                if coding.tile:  # what lies outside of the image is filled with anything
                    part = np.pad(
                        part, ((0, height - part.shape[0]), (0, across - part.shape[1]), (0, 0)), mode="edge"
                    )
                segments.append(_segment(part, photometric, coding))
    if coding.compression == "JPEG":
        tables = _tables(segments[0])
        tags[347] = (BYTE, b"\xff\xd8" + tables + b"\xff\xd9")
        segments = [segment.replace(tables, b"", 1) for segment in segments]
    tags |= {int(name[1:]): value for name, value in more.items()}
    return Page(tags, segments, coding.tile is not None)


def _segment(part: np.ndarray, photometric: int, coding: Coding) -> bytes:
    if coding.compression == "JPEG":
        return jpeg_stream(part, photometric, coding.jpeg)
    rows, columns, samples = part.shape
    if coding.predictor == 2:
        numbers = part.view(f"u{part.itemsize}")
        part = np.diff(numbers, axis=1, prepend=np.zeros((rows, 1, samples), numbers.dtype)).view(part.dtype)
    if coding.predictor == 3 and part.dtype.kind == "f":
        high_first = part.astype(part.dtype.newbyteorder(">")).reshape(rows, columns * samples).view(np.uint8)
        planes = high_first.reshape(rows, columns * samples, part.itemsize).transpose(0, 2, 1)
        row = planes.reshape(rows, columns * part.itemsize, samples)
        plain = np.diff(row, axis=1, prepend=np.zeros((rows, 1, samples), np.uint8)).tobytes()
    elif coding.bits % 8:
        flat = part.reshape(rows, columns * samples, 1).astype(np.uint32)
        bits = (flat >> np.arange(coding.bits)[::-1].astype(np.uint32) & 1).astype(np.uint8)
        plain = np.packbits(bits.reshape(rows, -1), axis=1).tobytes()
    else:
        plain = part.astype(part.dtype.newbyteorder(coding.order)).tobytes()
    pressed = {
        "none": bytes,
        "deflate": zlib.compress,
        "LZW": lzw,
        "PackBits": packbits,
        "Zstandard": zstandard,
    }
    stored = pressed[coding.compression](plain)
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in stored) if coding.reversed_bits else stored


def lzw(plain: bytes) -> bytes:
    """Compress as section 13 of TIFF 6.0 says: codes of 9 to 12 bits, which widen one code early."""
    bits: list[str] = []
    table: dict[bytes, int] = {}

    def put(code: int) -> None:
        size = len(table) + 258
        bits.append(f"{code:0{9 if size < 512 else 10 if size < 1024 else 11 if size < 2048 else 12}b}")

    put(256)
    string = b""
    for value in plain:
        longer = string + bytes([value])
        if len(longer) == 1 or longer in table:
            string = longer
            continue
        put(table[string] if len(string) > 1 else string[0])
        table[longer] = len(table) + 258
        string = longer[-1:]
        if len(table) + 258 == 4095:
            put(256)
            table.clear()
    put(table[string] if len(string) > 1 else string[0])
    table[b""] = 0  # the decoder adds an entry here
    put(257)
    text = "".join(bits)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


def packbits(plain: bytes) -> bytes:
    """Compress runs and copy the rest, 128 bytes at most each."""
    out, place = bytearray(), 0
    while place < len(plain):
        run = 1
        while run < 128 and plain[place : place + run + 1] == plain[place : place + 1] * (run + 1):
            run += 1
        if run > 1:
            out += bytes([257 - run, plain[place]])
        else:
            run = min(len(plain) - place, 5)
            out += bytes([run - 1]) + plain[place : place + run]
        place += run
    return bytes(out)


def zstandard(plain: bytes) -> bytes:
    """Return a frame of RFC 8878 of blocks that are stored, or one byte repeated."""
    blocks = [plain[start : start + 100] for start in range(0, len(plain), 100)]
    out = struct.pack("<IBI", 0xFD2FB528, 0b10100000, len(plain))
    for number, block in enumerate(blocks, start=1):
        same = len(set(block)) == 1
        out += (len(block) << 3 | same << 1 | (number == len(blocks))).to_bytes(3, "little")
        out += block[:1] if same else block
    return out


def jpeg_stream(part: np.ndarray, photometric: int, options: dict[str, Any]) -> bytes:
    """Return a stream of Pillow's; of YCbCr, ``part`` holds red, green and blue."""
    buffer = io.BytesIO()
    picture = PillowImage.fromarray(part[..., 0] if part.shape[-1] == 1 else part)
    picture.save(buffer, "JPEG", quality=100, **{"subsampling": 0, "keep_rgb": photometric == 2, **options})
    return buffer.getvalue()


def _tables(stream: bytes) -> bytes:
    """Return the tables at the head of a stream of Pillow's, all together."""
    place, found = 2, b""
    while stream[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
        if stream[place + 1] == 0xDB:
            found += stream[place:end]
        place = end
    return found
