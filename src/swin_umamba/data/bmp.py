"""BMP, read here: Pillow mistakes some palettes for grey ramps and supports few colour layouts."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swin_umamba.data.picture_checks import check_pixels, damaged, drop_alpha, not_supported
from swin_umamba.errors import DataError

_FILE_HEADER = 14
_CORE_HEADER = 12
_HEADERS = (_CORE_HEADER, 40, 52, 56, 64, 108, 124)
_OS2_HEADER = 64
_PLAIN, _MASKS, _MASKS_WITH_ALPHA = 0, 3, 6
# Red, green, blue and alpha if the file specifies no masks.
_DEFAULT_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_DEPTHS = {_PLAIN: (1, 2, 4, 8, 16, 24, 32), _MASKS: (16, 32), _MASKS_WITH_ALPHA: (16, 32)}


@dataclass(frozen=True)
class _Bmp:
    """Contents of the headers."""

    width: int
    height: int
    top_down: bool
    bits: int
    masks: tuple[int, ...]
    palette: np.ndarray  # (colours, 3), uint8: red, green, blue
    pixels: memoryview


def read_bmp(path: Path, content: bytes, *, indexed: bool, limit: int) -> np.ndarray:
    """Read the contents of a BMP file; see ``read_picture``.

    Returns
    -------
    numpy.ndarray
        ``(channels, y, x)``, uint8: 3 channels for colours, 1 for indices, or for grey values if the palette
        is a ramp from black to white.

    Raises
    ------
    DataError
        The file is damaged, transparent, too large, of an unsupported kind, or not a BMP picture.
    """
    bmp = _headers(path, content, limit)
    if bmp.bits > 8:
        data = _colours(path, bmp)
    else:
        indices = _indices(path, bmp)
        if not indexed and indices.max() >= len(bmp.palette):
            raise damaged(path, f"colour {indices.max()} is used, but the palette has {len(bmp.palette)}")
        data = indices[None] if indexed or _is_grey_ramp(bmp) else bmp.palette.T[:, indices]
    return data if bmp.top_down else data[:, ::-1]


def bmp_shape(path: Path, content: bytes, limit: int) -> tuple[int, ...]:
    """Return the shape of what ``read_bmp`` would return, from the header; it raises the same errors."""
    bmp = _headers(path, content, limit)
    return (1 if bmp.bits <= 8 and _is_grey_ramp(bmp) else 3, bmp.height, bmp.width)


def _headers(path: Path, content: bytes, limit: int) -> _Bmp:
    if not content.startswith(b"BM"):
        raise DataError(
            "the file is not a BMP picture", where=path, hint="convert it to BMP, or copy it again"
        )
    try:
        start, size = struct.unpack_from("<LL", content, 10)
        if size not in _HEADERS:
            raise not_supported(path, f"BMP headers of {size} bytes")
        compression = colours = 0
        if size == _CORE_HEADER:
            width, height, planes, bits = struct.unpack_from("<HHHH", content, 18)
        else:
            width, height, planes, bits, compression = struct.unpack_from("<llHHL", content, 18)
            (colours,) = struct.unpack_from("<L", content, 46)
        masks = _DEFAULT_MASKS.get(bits, ())
        end = _FILE_HEADER + size
        if compression in (_MASKS, _MASKS_WITH_ALPHA) and size != _OS2_HEADER:
            # The larger headers contain the masks; the smallest is followed by them.
            count = 4 if size >= 56 or (size == 40 and compression == _MASKS_WITH_ALPHA) else 3
            masks = (*struct.unpack_from(f"<{count}L", content, 54), 0)[:4]
            end += 4 * count if size == 40 else 0
    except struct.error as error:
        raise damaged(path, f"the picture is cut off at byte {len(content)}") from error
    top_down, height = height < 0, abs(height)
    if planes != 1 or width < 1 or height < 1 or not end <= start < len(content):
        raise damaged(
            path, f"the header describes {width} x {height} pixels in {planes} planes from byte {start} on"
        )
    known = () if size == _OS2_HEADER and compression >= _MASKS else _DEPTHS.get(compression, ())
    if bits not in known:
        raise not_supported(
            path, f"BMP pictures of {bits} bits with compression {compression} and a header of {size} bytes"
        )
    check_pixels(path, width * height, limit)
    if bits <= 8:
        entry = 3 if size == _CORE_HEADER else 4
        stored = min(colours or 2**bits, 2**bits, (start - end) // entry)
        table = np.frombuffer(content, np.uint8, stored * entry, end).reshape(-1, entry)
    else:
        table = np.empty((0, 3), np.uint8)
    return _Bmp(width, height, top_down, bits, masks, table[:, 2::-1], memoryview(content)[start:])


def _is_grey_ramp(bmp: _Bmp) -> bool:
    """Return whether the palette only marks the picture as grey, for which BMP has no other means."""
    even = np.arange(len(bmp.palette))
    if len(even) == 2**bmp.bits:
        even = even * (255 // (len(even) - 1))
    return len(even) > 1 and bool((bmp.palette == even[:, None]).all())


def _rows(path: Path, bmp: _Bmp) -> np.ndarray:
    """Return the bytes of each row, padded to a multiple of four."""
    stride = (bmp.width * bmp.bits + 31) // 32 * 4
    # Some writers omit the padding of the last row.
    needed = stride * (bmp.height - 1) + (bmp.width * bmp.bits + 7) // 8
    if len(bmp.pixels) < needed:
        raise damaged(path, f"the picture is cut off: {len(bmp.pixels)} of {needed} bytes of pixels")
    rows = np.frombuffer(bmp.pixels[: stride * bmp.height], np.uint8)
    return np.pad(rows, (0, stride * bmp.height - len(rows))).reshape(bmp.height, stride)


def _indices(path: Path, bmp: _Bmp) -> np.ndarray:
    rows = _rows(path, bmp)
    if bmp.bits < 8:
        shifts = np.arange(8 - bmp.bits, -1, -bmp.bits, dtype=np.uint8)
        rows = (rows[..., None] >> shifts & (2**bmp.bits - 1)).reshape(bmp.height, -1)
    return rows[:, : bmp.width]


def _colours(path: Path, bmp: _Bmp) -> np.ndarray:
    rows = _rows(path, bmp)
    if bmp.bits == 24:
        pixels = rows[:, : 3 * bmp.width].reshape(bmp.height, bmp.width, 3)
        blue_green_red: np.ndarray = pixels.transpose(2, 0, 1)
        return blue_green_red[::-1]
    stored = rows.view(f"<u{bmp.bits // 8}")[:, : bmp.width]
    masks = bmp.masks if bmp.masks[3] else bmp.masks[:3]
    channels = []
    for mask in masks:
        shift = (mask & -mask).bit_length() - 1
        largest = mask >> max(shift, 0)
        if not 0 < largest < 256 or largest & (largest + 1) or mask >> bmp.bits:
            raise not_supported(path, f"BMP pictures with the colour mask {mask:#x}")
        # Values of few bits are stretched to 0 to 255, rounded down.
        values = (stored & mask) >> shift
        channels.append((values.astype(np.uint32) * 255 // largest).astype(np.uint8))
    data = np.stack(channels)
    return drop_alpha(path, data) if len(masks) == 4 else data
