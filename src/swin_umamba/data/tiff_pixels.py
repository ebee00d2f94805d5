"""The pixels of one page of a TIFF file: strips and tiles, decompressed and assembled.

Sources: TIFF 6.0 (Adobe, 1992); TIFF Technical Notes 1 to 3 (Adobe) for floating-point predictors and JPEG.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from swin_umamba.data.tiff_jpeg import decode_jpeg, decode_jpeg_2000
from swin_umamba.data.tiff_layout import (
    DEFLATE,
    FLOATING_POINT,
    HORIZONTAL,
    JPEG,
    JPEG_2000,
    LZW,
    MAX_RATIO,
    NONE,
    OLD_DEFLATE,
    PACKBITS,
    PACKED_BITS,
    RECOMPRESS,
    RGB,
    YCBCR,
    ZSTD,
    Layout,
)
from swin_umamba.data.tiff_tags import Page

Region = tuple[tuple[int, int], tuple[int, int]]
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Segments:
    """Where the strips or tiles of a page are.

    Attributes
    ----------
    offsets, lengths
        First byte and number of bytes of each, int64.
    completed
        Makes a stream that can be decoded of what is stored; None if it is one.
    """

    offsets: np.ndarray
    lengths: np.ndarray
    completed: Callable[[bytes], bytes] | None = None


def segments_of(page: Page, layout: Layout) -> Segments:
    """Return the offsets and lengths of all strips or tiles, which must exist and be able to hold the pixels.

    Raises
    ------
    DataError
        Pixels are missing, or there are too few bytes for so many pixels.
    """
    planes, rows, columns = layout.grid
    count = planes * rows * columns
    needed = np.repeat([layout.rows_of(row) * layout.row_bytes for row in range(rows)], columns)
    needed = np.tile(needed, planes)
    offsets = page.array(324 if 324 in page else 273, most=count)
    lengths = page.array(325 if 325 in page else 279, most=count)
    if not len(lengths) and layout.compression == NONE:
        lengths = needed
    if len(offsets) != count or len(lengths) != count or "f" in (offsets.dtype.kind, lengths.dtype.kind):
        raise page.damaged(f"pixels are missing: it lists {len(offsets)} of {count} tiles or strips")
    size = page.file.seek(0, 2)
    # As Python integers, 64-bit offsets cannot overflow when added.
    for start, length, least in zip(offsets.tolist(), lengths.tolist(), needed.tolist(), strict=True):
        # Lengths of uncompressed strips are sometimes too large; only their pixels count.
        end = start + (min(length, least) if layout.compression == NONE else length)
        if start < 8 or length < 1 or end > size:
            raise page.damaged(f"pixels are missing: a tile or strip lies at byte {start} of {size}")
        if length > 8 * layout.tile[0] * layout.row_bytes + 2**16 and layout.compression != NONE:
            raise page.damaged(f"a tile or strip of {least} bytes claims {length} compressed ones")
        if least > length * MAX_RATIO[layout.compression]:
            if layout.compression in (JPEG, ZSTD, *JPEG_2000):
                most = MAX_RATIO[layout.compression]
                raise page.unsupported(
                    f"files compressed more than {most} times by Zstandard or JPEG are", RECOMPRESS
                )
            raise page.damaged(f"pixels are missing: {length} bytes stand for {least}")
    return Segments(offsets.astype(np.int64), lengths.astype(np.int64))


def read_samples(
    page: Page, layout: Layout, region: Region | None = None, segments: Segments | None = None
) -> np.ndarray:
    """Return the stored values of a page, ``(samples, y, x)`` in the dtype of the layout.

    Parameters
    ----------
    page, layout
        The page, and how it is stored.
    region
        First row and the one after the last, and the same of columns; None for the whole page. Only the
        strips or tiles that it touches are read.
    segments
        Where they are, as ``segments_of`` or another module says; None to look.

    Raises
    ------
    DataError
        The pixels are damaged.
    """
    segments = segments or segments_of(page, layout)
    (top, bottom), (left, right) = region or ((0, layout.length), (0, layout.width))
    out = np.empty((layout.samples, bottom - top, right - left), layout.dtype)
    tables = page.content(347) if layout.compression == JPEG else b""
    planes, rows, columns = layout.grid
    height, width = layout.tile
    for plane, row, column in product(
        range(planes),
        range(top // height, (bottom - 1) // height + 1),
        range(left // width, (right - 1) // width + 1),
    ):
        index = (plane * rows + row) * columns + column
        tile = _read_segment(page, layout, segments, index, tables).transpose(2, 0, 1)
        # Where the tile lies in the region, and the region in the tile.
        y, x = row * height - top, column * width - left
        part = out[plane : plane + layout.tile_samples, max(y, 0) : y + height, max(x, 0) : x + width]
        inside = tile[:, max(-y, 0) :, max(-x, 0) :]
        part[...] = inside[:, : part.shape[1], : part.shape[2]]
    return out


def _read_segment(page: Page, layout: Layout, segments: Segments, index: int, tables: bytes) -> np.ndarray:
    """Return a strip or tile, ``(rows, columns, samples)``."""
    start, length = int(segments.offsets[index]), int(segments.lengths[index])
    page.file.seek(start)
    whole = layout.tile[0] * layout.row_bytes
    stored = page.file.read(min(length, whole) if layout.compression == NONE else length)
    try:
        if segments.completed is not None:
            stored = segments.completed(stored)
        row = index // layout.grid[2] % layout.grid[1]
        return _decoded(page, layout, stored, tables, layout.rows_of(row))
    except (RuntimeError, ValueError, zlib.error) as error:  # imagecodecs' errors are RuntimeErrors
        raise page.damaged(f"tile or strip {index + 1} cannot be decompressed: {error}") from error


def _decoded(page: Page, layout: Layout, stored: bytes, tables: bytes, rows: int) -> np.ndarray:
    """Return a strip or tile, ``(rows, columns, samples)``; a strip may have more rows than it needs."""
    shape = layout.tile[0], layout.tile[1], layout.tile_samples
    if layout.compression == JPEG:
        kind = (
            "grey" if layout.tile_samples == 1 else {RGB: "RGB", YCBCR: "YCbCr"}.get(layout.photometric, "")
        )
        pixels = decode_jpeg(page, stored, tables, shape, kind)
        if len(pixels) < rows:
            raise page.damaged(f"a strip or tile holds {len(pixels)} rows of {rows}")
        return pixels
    if layout.compression in JPEG_2000:
        return decode_jpeg_2000(page, layout, stored)
    if layout.reversed_bits:
        stored = stored.translate(_REVERSED)
    if layout.compression == LZW and stored[:1] == b"\0" and stored[1:2] and stored[1] % 2:
        raise page.unsupported("files with LZW in the bit order of before TIFF 6.0 are", RECOMPRESS)
    plain = _decompressed(layout.compression, stored, shape[0] * layout.row_bytes)
    if len(plain) < rows * layout.row_bytes:
        raise page.damaged(
            f"pixels are missing: a strip or tile holds {len(plain)} bytes of {rows * layout.row_bytes}"
        )
    plain = plain[: rows * layout.row_bytes]
    shape = rows, *shape[1:]
    if layout.predictor == FLOATING_POINT:
        return _add_up_bytes(plain, layout.dtype, shape)
    if layout.bits in PACKED_BITS:
        from imagecodecs import packints_decode

        return packints_decode(plain, layout.dtype, layout.bits, runlen=shape[1] * shape[2]).reshape(shape)
    values = np.frombuffer(plain, layout.dtype.newbyteorder(page.order)).astype(layout.dtype).reshape(shape)
    if layout.predictor == HORIZONTAL:
        whole_numbers = values.view(f"u{layout.dtype.itemsize}")
        np.cumsum(whole_numbers, axis=1, dtype=whole_numbers.dtype, out=whole_numbers)
    return values


def _decompressed(compression: int, stored: bytes, most: int) -> bytes:
    """Return the bytes of a strip or tile, at most ``most``."""
    if compression == NONE:
        return stored
    if compression in (DEFLATE, OLD_DEFLATE):
        # Asking for one extra byte makes the decoder reach the end, where the checksum is.
        return zlib.decompressobj().decompress(stored, most + 1)
    import imagecodecs

    decode = {
        LZW: imagecodecs.lzw_decode,
        PACKBITS: imagecodecs.packbits_decode,
        ZSTD: imagecodecs.zstd_decode,
    }
    return bytes(decode[compression](stored, out=most))


def _add_up_bytes(plain: bytes, dtype: np.dtype, shape: tuple[int, int, int]) -> np.ndarray:
    """Undo the floating-point predictor: differences of bytes, the most significant first."""
    rows, columns, samples = shape
    differences = np.frombuffer(plain, np.uint8).reshape(rows, columns * dtype.itemsize, samples)
    added = np.cumsum(differences, axis=1, dtype=np.uint8).reshape(rows, dtype.itemsize, columns * samples)
    numbers = np.ascontiguousarray(added.transpose(0, 2, 1)).view(dtype.newbyteorder(">"))
    values: np.ndarray = numbers.reshape(shape).astype(dtype)
    return values
