"""PNG, JPEG and BMP files, written byte by byte from values that are known before."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Sequence

import numpy as np

# PNG's colour types: how many values a pixel has.
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
PNG_VALUES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
# First column, first row, step of columns and of rows of the seven passes of interlaced PNG.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

Chunk = tuple[bytes, bytes]


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


def seen(stored: np.ndarray, orientation: int) -> np.ndarray:
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


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk with its length and checksum."""
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def png_file(
    values: np.ndarray,
    depth: int,
    colour_type: int,
    *,
    interlaced: bool = False,
    filters: Sequence[int] = (0,),
    before: Sequence[Chunk] = (),
    after: Sequence[Chunk] = (),
    pieces: int = 1,
) -> bytes:
    """Return a PNG file.

    Parameters
    ----------
    values
        ``(y, x, values of a pixel)``, whole numbers below ``2**depth``.
    depth, colour_type
        Of the header.
    interlaced
        Whether to store the seven passes.
    filters
        The filter (0 to 4) of each row in turn.
    before, after
        Further chunks, before and after the pixels.
    pieces
        Over how many chunks the pixels are spread.
    """
    height, width, _ = values.shape
    turn = itertools.cycle(filters)
    parts = [values[y0::dy, x0::dx] for x0, y0, dx, dy in _PASSES] if interlaced else [values]
    size = max(1, depth * PNG_VALUES[colour_type] // 8)
    raw = b"".join(_filtered(part, depth, size, turn) for part in parts if part.size)
    packed = zlib.compress(raw)
    step = -(-len(packed) // pieces)
    header = struct.pack(">LLBBBBB", width, height, depth, colour_type, 0, 0, interlaced)
    chunks = [(b"IHDR", header), *before]
    chunks += [(b"IDAT", packed[start : start + step]) for start in range(0, len(packed), step)]
    chunks += [*after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(itertools.starmap(png_chunk, chunks))


def _filtered(values: np.ndarray, depth: int, size: int, turn: itertools.cycle[int]) -> bytes:
    result = bytearray()
    above: list[int] = []
    for row in values.reshape(len(values), -1).tolist():
        bits = "".join(format(value, f"0{depth}b") for value in row)
        line = [int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8)]
        above = above or [0] * len(line)
        kind = next(turn)
        result.append(kind)
        for at, value in enumerate(line):
            a = line[at - size] if at >= size else 0
            b, c = above[at], above[at - size] if at >= size else 0
            result.append((value - (0, a, b, (a + b) // 2, _paeth(a, b, c))[kind]) % 256)
        above = line
    return bytes(result)


def _paeth(a: int, b: int, c: int) -> int:
    return min((a, b, c), key=lambda each: abs(a + b - c - each))


def jpeg_segment(marker: int, body: bytes) -> bytes:
    """Return a marker with its length and content."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


class _Bits:
    """A stream of bits in which a byte of ones is followed by a byte of zeros."""

    def __init__(self) -> None:
        self.text: list[str] = []

    def add(self, value: int, count: int) -> None:
        if count:
            self.text.append(format(value, f"0{count}b"))

    def difference(self, value: int) -> None:
        """Add a difference of DC levels: its category in four bits, then its own bits."""
        category = abs(value).bit_length()
        self.add(category, 4)
        self.add(value if value >= 0 else value + 2**category - 1, category)

    def take(self) -> bytes:
        bits = "".join(self.text)
        bits += "1" * (-len(bits) % 8)
        self.text = []
        return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")


def jpeg_file(
    blocks: Sequence[np.ndarray],
    height: int,
    width: int,
    *,
    sampling: Sequence[tuple[int, int]] = ((1, 1),),
    names: Sequence[int] = (1, 2, 3, 4),
    frame: int = 0xC0,
    bits: int = 8,
    restart: int = 0,
    segments: bytes = b"",
) -> bytes:
    """Return a JPEG file in which every block of 8 x 8 pixels has one value, so that nothing is lost.

    Parameters
    ----------
    blocks
        The values of each component, ``(rows of blocks, columns of blocks)``, as many as all units of the
        picture need.
    height, width
        Of the picture.
    sampling
        Blocks of each component in a unit, across and down.
    names
        Of the components.
    frame
        Marker of the frame: 0xC0 baseline, 0xC1 extended, 0xC2 progressive; others are only named so.
    bits
        Of a value.
    restart
        Units between restart markers; 0 for none.
    segments
        What follows the start of the file.
    """
    components = range(len(blocks))
    across, down = (max(each[axis] for each in sampling) for axis in (0, 1))
    units = -(-height // (8 * down)), -(-width // (8 * across))
    progressive = frame == 0xC2
    # All coefficients are divided by 8; that of a constant block is 8 times its value.
    result = b"\xff\xd8" + segments + jpeg_segment(0xDB, bytes(1) + bytes([8] * 64))
    body = struct.pack(">BHHB", bits, height, width, len(blocks))
    body += b"".join(bytes([names[c], sampling[c][0] << 4 | sampling[c][1], 0]) for c in components)
    result += jpeg_segment(frame, body)
    # Twelve categories of four bits each; and one code of one bit, the end of a block.
    result += jpeg_segment(0xC4, bytes([0, 0, 0, 0, 12, *[0] * 12, *range(12)]))
    result += jpeg_segment(0xC4, bytes([0x10, 1, *[0] * 15, 0]))
    if restart:
        result += jpeg_segment(0xDD, struct.pack(">H", restart))
    scans = [(list(components), 0, 0 if progressive else 63)]
    if progressive:
        scans += [([c], 1, 63) for c in components]
    for members, first, last in scans:
        head = bytes([len(members)]) + b"".join(bytes([names[c], 0]) for c in members)
        result += jpeg_segment(0xDA, head + bytes([first, last, 0]))
        if first:
            # A component alone is stored without the blocks that fill up the last units.
            c = members[0]
            size = [
                -(-length * sampling[c][a] // (8 * most))
                for length, a, most in ((height, 1, down), (width, 0, across))
            ]
            result += _scan([[None]] * (size[0] * size[1]), restart, ends=True)
        else:
            result += _scan(_units(blocks, sampling, units, 2 ** (bits - 1)), restart, ends=not progressive)
    return result + b"\xff\xd9"


def _units(
    blocks: Sequence[np.ndarray], sampling: Sequence[tuple[int, int]], units: tuple[int, int], middle: int
) -> list[list[tuple[int, int] | None]]:
    return [
        [
            (c, int(blocks[c][row * v + y, column * h + x]) - middle)
            for c, (h, v) in zip(range(len(blocks)), sampling, strict=False)
            for y in range(v)
            for x in range(h)
        ]
        for row in range(units[0])
        for column in range(units[1])
    ]


def _scan(units: Sequence[Sequence[tuple[int, int] | None]], restart: int, *, ends: bool) -> bytes:
    stream, result, last, markers = _Bits(), b"", {}, 0
    for number, unit in enumerate(units):
        if restart and number and number % restart == 0:
            result += stream.take() + bytes([0xFF, 0xD0 + markers % 8])
            last, markers = {}, markers + 1
        for block in unit:
            if block is not None:
                c, level = block
                stream.difference(level - last.get(c, 0))
                last[c] = level
            if ends:
                stream.add(0, 1)
    return result + stream.take()


def block_picture(blocks: np.ndarray, height: int, width: int, times: tuple[int, int] = (8, 8)) -> np.ndarray:
    """Return the pixels of a component whose blocks are ``times`` pixels high and wide."""
    return np.kron(blocks, np.ones(times, blocks.dtype))[:height, :width]


def rgb_of(luma: np.ndarray, blue: np.ndarray, red: np.ndarray) -> np.ndarray:
    """Return the colours of JFIF's YCbCr, ``(3, y, x)``, rounded to whole numbers from 0 to 255."""
    y, cb, cr = (each.astype(float) for each in (luma, blue, red))
    colours = [
        y + 1.402 * (cr - 128),
        y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128),
        y + 1.772 * (cb - 128),
    ]
    return np.clip(np.floor(np.stack(colours) + 0.5), 0, 255).astype(np.uint8)


def mpo(first: bytes, second: bytes) -> bytes:
    """Return a file of two JPEG pictures with the index that cameras write."""

    def index(length: int) -> bytes:
        place = first.index(b"\xff\xdb")
        # Offsets count from the byte order in the index, which lies 8 bytes behind its start.
        offset = len(first) + length - (place + 8)
        entries = struct.pack("<LLLHH", 0x030000, len(first) + length, 0, 0, 0)
        entries += struct.pack("<LLLHH", 0x020002, len(second), offset, 0, 0)
        table = struct.pack("<H", 3) + struct.pack("<HHL4s", 0xB000, 7, 4, b"0100")
        table += struct.pack("<HHLL", 0xB001, 4, 1, 2)
        table += struct.pack("<HHLL", 0xB002, 7, len(entries), 8 + 2 + 3 * 12 + 4)
        body = b"MPF\0" + b"II*\0" + struct.pack("<L", 8) + table + bytes(4) + entries
        return first[:place] + jpeg_segment(0xE2, body) + first[place:]

    return index(len(index(0)) - len(first)) + second


def bmp_file(
    pixels: bytes,
    width: int,
    height: int,
    bits: int,
    *,
    header: int = 40,
    compression: int = 0,
    palette: Sequence[tuple[int, int, int]] = (),
    colours: int | None = None,
    masks: Sequence[int] = (),
    gap: int = 0,
    planes: int = 1,
) -> bytes:
    """Return a BMP file.

    Parameters
    ----------
    pixels
        As stored; see :func:`bmp_rows` and :func:`bmp_runs`.
    width, height
        Of the picture; a negative height for rows from the top.
    bits, compression, header, planes
        As the header says; ``header`` is its size.
    palette
        Red, green and blue of each colour.
    colours
        How many colours the header says the palette has; None for as many as it has.
    masks
        In the header, or after it if it is of 40 bytes.
    gap
        Bytes between the palette and the pixels.
    """
    if header == 12:
        body = struct.pack("<LHHHH", 12, width, height, planes, bits)
        table = b"".join(bytes(each[::-1]) for each in palette)
    else:
        colours = len(palette) if colours is None else colours
        body = struct.pack(
            "<LllHHLLllLL",
            header,
            width,
            height,
            planes,
            bits,
            compression,
            len(pixels),
            2835,
            2835,
            colours,
            0,
        )
        body += struct.pack(f"<{len(masks)}L", *masks)
        body += bytes(max(0, header - len(body)))
        table = b"".join(bytes(each[::-1]) + b"\0" for each in palette)
    start = 14 + len(body) + len(table) + gap
    head = struct.pack("<2sLHHL", b"BM", start + len(pixels), 0, 0, start)
    return head + body + table + b"\xa5" * gap + pixels


def bmp_rows(values: np.ndarray, bits: int, *, top_down: bool = False) -> bytes:
    """Return rows of whole numbers ``(y, x)``, each filled up to four bytes; colours are one number."""
    rows = []
    for row in values if top_down else values[::-1]:
        if bits < 8:
            text = "".join(format(int(value), f"0{bits}b") for value in row)
            line = bytes(int(text[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(text), 8))
        else:
            line = b"".join(int(value).to_bytes(bits // 8, "little") for value in row)
        rows.append(line + b"\x5a" * (-len(line) % 4))
    return b"".join(rows)


def bmp_runs(values: np.ndarray, bits: int, *, literal: bool = False, short: bool = False) -> bytes:
    """Return indices ``(y, x)`` run-length coded.

    Parameters
    ----------
    values
        The picture, first row on top.
    bits
        4 or 8.
    literal
        Store as literals what can be (stretches of at least three pixels).
    short
        Leave out zeros at the ends of rows.
    """
    result = bytearray()
    for row in values[::-1].tolist():
        while short and row and row[-1] == 0:
            row.pop()
        at = 0
        while at < len(row):
            if literal and len(row) - at >= 3:
                part = row[at : at + 255]
                if bits == 4:
                    line = bytes(a << 4 | b for a, b in zip(part[::2], [*part[1::2], 0], strict=False))
                else:
                    line = bytes(part)
                result += bytes([0, len(part)]) + line + bytes(len(line) % 2)
            else:
                # Runs of four bits repeat two values in turn.
                pattern = row[at : at + (1 if bits == 8 else 2)]
                both = zip(row[at : at + 255], itertools.cycle(pattern), strict=False)
                part = [value for value, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], both)]
                code = pattern[0] if bits == 8 else pattern[0] << 4 | pattern[-1]
                result += bytes([len(part), code])
            at += len(part)
        result += b"\0\0"
    return bytes(result + b"\0\1")
