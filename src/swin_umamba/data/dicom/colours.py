"""Colours in DICOM pictures: palettes, and luminance with chrominance."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from swin_umamba.data.dicom.elements import Elements, name_of, read_data_set
from swin_umamba.data.dicom.files import damaged_file
from swin_umamba.errors import DataError

_DESCRIPTORS = (0x00281101, 0x00281102, 0x00281103)
_TABLES = (0x00281201, 0x00281202, 0x00281203)
_SEGMENTED = (0x00281221, 0x00281222, 0x00281223)


def palette_colours(path: Path, stored: np.ndarray, signed: bool) -> np.ndarray:
    """Return the colours ``(y, x, 3)`` of palette indices, uint8 or uint16 like the palette's entries.

    Raises
    ------
    DataError
        There is no palette, or it is not a supported one.
    """
    elements = read_data_set(path, (*_DESCRIPTORS, *_TABLES, *_SEGMENTED)).elements
    if any(tag in elements for tag in _SEGMENTED):
        raise DataError("segmented palettes are not supported", where=path, hint="export the image as RGB")
    tables = []
    for descriptor, tag in zip(_DESCRIPTORS, _TABLES, strict=True):
        described = elements.words(descriptor)
        if len(described) != 3 or described[2] not in (8, 16):
            raise elements.damaged(f"{name_of(descriptor)} is {described}")
        count, first, bits = described[0] or 2**16, described[1], described[2]
        if signed and first >= 2**15:
            first -= 2**16
        table = _entries(elements, tag, count, bits)
        tables.append(table[np.clip(stored.astype(np.int64) - first, 0, count - 1)])
    if len({table.dtype for table in tables}) > 1:
        raise elements.damaged("the three palettes have entries of 8 and of 16 bits")
    return np.stack(tables, axis=-1)


def _entries(elements: Elements, tag: int, count: int, bits: int) -> np.ndarray:
    content = elements.content(tag)
    words = np.array(elements.words(tag), np.uint16)
    if bits == 16 and len(words) == count:
        return words
    if bits == 8 and len(words) == count and (count == 1 or words.max() < 2**8):
        return words.astype(np.uint8)  # a word for each entry nevertheless
    if bits == 8 and len(content) == count + count % 2:
        return words.astype("<u2").view(np.uint8)[:count]
    raise damaged_file(
        elements.path,
        f"the palette {name_of(tag)} has {len(content)} bytes for {count} entries of {bits} bits",
    )


def ybr_to_rgb(colours: np.ndarray) -> np.ndarray:
    """Return RGB ``(y, x, 3)`` for 8-bit luminance and chrominance (YBR_FULL in PS3.3 C.7.6.3.1.2)."""
    luminance, blue, red = np.moveaxis(colours.astype(np.float64), -1, 0)
    blue, red = blue - 128, red - 128
    rgb: np.ndarray = np.stack(
        [
            luminance + 1.402 * red,
            luminance - 0.114 * 1.772 / 0.587 * blue - 0.299 * 1.402 / 0.587 * red,
            luminance + 1.772 * blue,
        ],
        axis=-1,
    )
    rounded: np.ndarray = rgb.round().clip(0, 255)
    return rounded.astype(np.uint8)
