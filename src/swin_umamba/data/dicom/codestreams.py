"""Compressed frames: JPEG, JPEG-LS, JPEG 2000 and RLE, decoded by imagecodecs.

A codestream's own size is compared with the DICOM header before a decoder allocates memory for it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swin_umamba.data.dicom.files import damaged_file
from swin_umamba.data.dicom.storage import Storage
from swin_umamba.errors import DataError

RLE = "1.2.840.10008.1.2.5"
_JPEG = {
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless, first-order",
}
TURNED_TO_RGB = frozenset(_JPEG)
_JPEG_LS = {"1.2.840.10008.1.2.4.80": "JPEG-LS lossless", "1.2.840.10008.1.2.4.81": "JPEG-LS near-lossless"}
JPEG_2000 = {"1.2.840.10008.1.2.4.90": "JPEG 2000 lossless", "1.2.840.10008.1.2.4.91": "JPEG 2000"}
COMPRESSED = {RLE: "RLE", **_JPEG, **_JPEG_LS, **JPEG_2000}

_END_OF_IMAGE = b"\xff\xd9"
# Padding after the end of a codestream, which is one byte where the standard is followed.
_MOST_PADDING = 64
_START_OF_SCAN, _ADOBE, _JFIF = 0xDA, 0xEE, 0xE0
# Start of frame: all but the markers in this range that mean something else.
_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD9)}
_RLE_HEADER = struct.Struct("<16I")


@dataclass(frozen=True)
class Codestream:
    """What the header of a codestream says."""

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool = False
    # Whether the three samples are luminance and chrominance; None if unknown.
    is_ycc: bool | None = None


def decode_frame(content: bytes, storage: Storage, path: Path) -> np.ndarray:
    """Return one frame as stored numbers ``(rows, columns[, samples])``.

    Colours that were transformed for compression are returned as RGB: those with JPEG 2000's own
    transformations, and all luminance and chrominance in JPEG.

    Raises
    ------
    DataError
        The codestream is damaged or contradicts the DICOM header.
    """
    try:
        if storage.syntax == RLE:
            return _decode_rle(content, storage)
        return _decode_codestream(content, storage)
    except (DataError, MemoryError):
        raise
    except _Contradiction as error:
        raise DataError(
            f"the header and the {COMPRESSED[storage.syntax]} data in it contradict each other: {error}",
            where=path,
            hint="export the image again, without compression",
        ) from error
    except Exception as error:  # each codec has exceptions of its own
        reason = str(error) or type(error).__name__
        raise damaged_file(
            path, f"the {COMPRESSED[storage.syntax]} data cannot be decoded: {reason}"
        ) from error


class _Contradiction(Exception):
    """A codestream contradicts the DICOM header."""


def _decode_codestream(content: bytes, storage: Storage) -> np.ndarray:
    import imagecodecs

    end = content.rfind(_END_OF_IMAGE)
    # Decoders silently fill what is missing with grey.
    if end < 0 or len(content) - end > _MOST_PADDING:
        raise ValueError("its end is missing")
    content = content[: end + 2]
    stream = jpeg_2000_header(content) if storage.syntax in JPEG_2000 else _jpeg_header(content)
    wanted = storage.rows, storage.columns, storage.samples
    found = stream.rows, stream.columns, stream.samples
    if found != wanted:
        raise _Contradiction(f"rows, columns and samples are {wanted} there and {found} here")
    if stream.bits > storage.allocated:
        raise _Contradiction(f"a number has {storage.allocated} bits there and {stream.bits} here")
    if stream.signed and not storage.signed:
        raise _Contradiction("numbers are unsigned there and signed here")
    ycc = _check_colours(stream, storage)
    if storage.syntax in JPEG_2000:
        data = imagecodecs.jpeg2k_decode(content)
    elif storage.syntax in _JPEG_LS:
        data = imagecodecs.jpegls_decode(content)
    elif storage.samples == 3:
        data = imagecodecs.jpeg8_decode(content, colorspace="YCBCR" if ycc else "RGB", outcolorspace="RGB")
    else:
        data = imagecodecs.jpeg8_decode(content)
    shape = wanted[:2] if storage.samples == 1 else wanted
    if data.shape != shape:
        raise _Contradiction(f"the shape is {shape} there and {data.shape} here")
    return data


def _check_colours(stream: Codestream, storage: Storage) -> bool:
    """Return whether a decoder must convert luminance and chrominance to RGB; refuse contradictions."""
    if storage.samples == 1:
        return False
    interpretation = storage.photometric
    if storage.syntax in JPEG_2000:
        transformed = interpretation in ("YBR_RCT", "YBR_ICT")
        # Encoders often write RGB for colours that they have transformed; decoders convert them back anyway.
        clash = transformed and not stream.is_ycc
        clash = clash or (interpretation.startswith("YBR_FULL") and bool(stream.is_ycc))
    else:
        transformed = storage.syntax in _JPEG and interpretation in ("YBR_FULL", "YBR_FULL_422")
        clash = stream.is_ycc is not None and stream.is_ycc != (interpretation != "RGB")
    if clash:
        here = "luminance and chrominance" if stream.is_ycc else "untransformed colours"
        raise _Contradiction(f"the colours are {interpretation} there and {here} here")
    return transformed


def _jpeg_header(content: bytes) -> Codestream:
    """Return the information in the markers of JPEG and JPEG-LS data, up to the first scan."""
    if content[:2] != b"\xff\xd8":
        raise ValueError("its beginning is missing")
    place, is_ycc, frame = 2, None, None
    while place + 4 <= len(content):
        if content[place] != 0xFF:
            raise ValueError("a marker is missing")
        marker = content[place + 1]
        if marker == 0xFF or marker in _ALONE:
            place += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        segment = content[place + 4 : place + 2 + length]
        if marker == _START_OF_SCAN:
            break
        if marker == _JFIF and segment[:5] == b"JFIF\0":
            is_ycc = True
        elif marker == _ADOBE and segment[:5] == b"Adobe" and len(segment) >= 12:
            is_ycc = segment[11] != 0
        elif marker in _FRAME_MARKERS:
            frame = segment
        place += 2 + length
    if frame is None or len(frame) < 6 + 3 * frame[5]:
        raise ValueError("its frame header is missing")
    if frame[6::3][: frame[5]] == b"RGB":
        is_ycc = False
    bits, rows, columns, samples = struct.unpack(">BHHB", frame[:6])
    return Codestream(rows, columns, samples, bits, is_ycc=is_ycc)


def jpeg_2000_header(content: bytes) -> Codestream:
    """Return the information in the main header of a JPEG 2000 codestream."""
    start = content.find(b"\xff\x4f\xff\x51")  # after the boxes of a JP2 file, which some encoders leave in
    if start < 0:
        raise ValueError("its main header is missing")
    size = struct.unpack(">HHIIIIIIIIH", content[start + 4 : start + 42])
    right, bottom, left, top, samples = *size[2:6], size[10]
    parts = content[start + 42 : start + 42 + 3 * samples]
    if len(parts) != 3 * samples or len({bytes(parts[i : i + 3]) for i in range(0, len(parts), 3)}) != 1:
        raise ValueError("its samples have several sizes")
    depth, across, down = parts[:3]
    if (across, down) != (1, 1):
        raise ValueError("its samples are thinned out")
    style = content.find(b"\xff\x52", start)
    transformed = style >= 0 and content[style + 8 : style + 9] == b"\x01"
    return Codestream(
        bottom - top, right - left, samples, (depth & 0x7F) + 1, bool(depth & 0x80), transformed
    )


def _decode_rle(content: bytes, storage: Storage) -> np.ndarray:
    """Return a frame of byte planes, the most significant of each sample first."""
    from imagecodecs import packbits_decode

    size = storage.allocated // 8
    segments, *offsets = _RLE_HEADER.unpack(content[: _RLE_HEADER.size])
    if segments != size * storage.samples or segments > len(offsets):
        raise _Contradiction(f"{size} bytes of {storage.samples} samples there, and {segments} segments here")
    ends = [*offsets[1:segments], len(content)]
    pixels = storage.rows * storage.columns
    planes = np.empty((storage.samples, pixels, size), np.uint8)
    for number, (start, end) in enumerate(zip(offsets[:segments], ends, strict=True)):
        if not _RLE_HEADER.size <= start <= end <= len(content):
            raise ValueError(f"segment {number + 1} lies outside of the frame")
        # Some room for padding; no more than that is decompressed.
        plane = np.frombuffer(packbits_decode(content[start:end], out=pixels + 2), np.uint8)
        if len(plane) < pixels:
            raise ValueError(f"segment {number + 1} holds {len(plane)} bytes of {pixels}")
        planes[number // size, :, number % size] = plane[:pixels]
    data = planes.view(f">u{size}")[..., 0].reshape(storage.samples, storage.rows, storage.columns)
    return data[0] if storage.samples == 1 else np.moveaxis(data, 0, -1)
