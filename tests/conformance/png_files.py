"""PNG files, written byte by byte from values that are known before."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from conformance.combinations import Combination
from conformance.exif import exif
from conformance.picture import ORIENTATIONS, Made, sizes_of, turned

# PNG's colour types: how many values a pixel has.
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
PNG_VALUES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
# First column, first row, step of columns and of rows of the seven passes of interlaced PNG.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

Chunk = tuple[bytes, bytes]


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk with its length and checksum."""
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def with_right_checksums(content: bytes | bytearray) -> bytes:
    """Return a file with the checksums that the chunks should have, as far as they follow each other."""
    result, position = bytearray(content), 8
    while position + 12 <= len(result):
        end = position + 8 + int.from_bytes(result[position : position + 4], "big")
        if end + 4 > len(result):
            break
        result[end : end + 4] = struct.pack(">L", zlib.crc32(result[position + 4 : end]))
        position = end + 4
    return bytes(result)


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


PNG_PIXELS = {
    **{f"grey {bits}": (GREY, bits) for bits in (1, 2, 4, 8, 16)},
    **{f"palette {bits}": (PALETTE, bits) for bits in (1, 2, 4, 8)},
    **{f"RGB {bits}": (RGB, bits) for bits in (8, 16)},
    **{f"grey and alpha {bits}": (GREY_ALPHA, bits) for bits in (8, 16)},
    **{f"RGB and alpha {bits}": (RGBA, bits) for bits in (8, 16)},
}
PNG_FEATURES = {
    "pixels": tuple(PNG_PIXELS),
    "rows": ("in order", "interlaced"),
    "filters": ("none", "all in turn"),
    "orientation": ORIENTATIONS,
    "transparency": ("none", "of a colour that does not occur", "of some pixels"),
    "other chunks": ("none", "colour profile", "gamma and Display P3", "text and size of a pixel"),
}
OTHER_CHUNKS: dict[str, Sequence[Chunk]] = {
    "none": (),
    "colour profile": ((b"iCCP", b"mine\0\0" + b"no profile"),),
    "gamma and Display P3": (
        (b"gAMA", b"\0\1\x86\xa0"),
        (b"cICP", bytes([12, 13, 0, 1])),
        (b"sBIT", b"\1" * 4),
    ),
    "text and size of a pixel": ((b"tEXt", b"Title\0" + b"x" * 3000), (b"pHYs", b"\0\0\x0b\x13" * 2 + b"\1")),
}


def png_exists(combination: Combination) -> bool:
    has_alpha = "alpha" in combination["pixels"]
    return not (has_alpha and combination["transparency"] == "of a colour that does not occur")


def make_png(combination: Combination) -> Made:
    generator, height, width = sizes_of(combination)
    colour_type, depth = PNG_PIXELS[combination["pixels"]]
    transparency = combination["transparency"]
    values = generator.integers(0, 2**depth, (height, width, PNG_VALUES[colour_type]))
    before, after = list(OTHER_CHUNKS[combination["other chunks"]]), []
    image = labels = values[..., :1]
    if colour_type == PALETTE:
        palette = generator.integers(0, 256, (2**depth, 3))
        before.append((b"PLTE", bytes(palette.ravel().tolist())))
        image = palette[values[..., 0]]
    elif colour_type in (RGB, RGBA):
        image = values[..., :3]
    if transparency != "none":
        used = transparency == "of some pixels"
        if colour_type == PALETTE:
            free = values[0, 0, 0] if used else (values.max() + 1) % 2**depth
            values[values == free] = values[0, 0, 0] if used else (free + 1) % 2**depth
            image = palette[values[..., 0]]
            before.append((b"tRNS", bytes([255] * int(free) + [0])))
        elif colour_type in (GREY, RGB):
            key = values[0, 0].copy()
            if not used:
                values[(values == key).all(axis=-1)] = (key + 1) % 2**depth
            before.append((b"tRNS", key.astype(">u2").tobytes()))
    if colour_type in (GREY_ALPHA, RGBA):
        values[..., -1] = 2**depth - 1
        if transparency != "none":
            values[-1, -1, -1] -= 1
    if combination["orientation"] != "not said":
        # Of either byte order, before or after the pixels, with or without a name.
        chunk = b"Exif\0\0" * bool(generator.integers(2)) + exif(
            combination["orientation"], "<>"[generator.integers(2)]
        )
        (before if generator.integers(2) else after).append((b"eXIf", chunk))
    content = png_file(
        values,
        depth,
        colour_type,
        interlaced=combination["rows"] == "interlaced",
        filters=(0,) if combination["filters"] == "none" else (1, 2, 3, 4, 0),
        before=before,
        after=after,
        pieces=int(generator.integers(1, 4)),
    )
    dtype = np.uint16 if depth == 16 else np.uint8
    picture = np.ascontiguousarray(image.transpose(2, 0, 1), dtype)
    indices = np.ascontiguousarray(labels.transpose(2, 0, 1), dtype)
    refused = transparency == "of some pixels"
    keyed = colour_type in (GREY, PALETTE)
    return (
        content,
        ".png",
        turned(
            (
                None if refused else picture,
                indices if keyed or (colour_type == GREY_ALPHA and not refused) else None,
                "transparent",
            ),
            combination["orientation"],
        ),
    )
