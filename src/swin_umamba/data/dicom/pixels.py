"""Pixels of DICOM files: the stored numbers, and the values that they represent."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from swin_umamba.data.dicom import codestreams
from swin_umamba.data.dicom.colours import palette_colours, ybr_to_rgb
from swin_umamba.data.dicom.elements import (
    DEFLATED,
    DOUBLE_PIXELS,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    FLOAT_PIXELS,
    IMPLICIT_LITTLE,
    PIXELS,
    UNDEFINED_LENGTH,
    Source,
    name_of,
    pixel_source,
)
from swin_umamba.data.dicom.files import damaged_file
from swin_umamba.data.dicom.planes import Plane
from swin_umamba.data.dicom.storage import Storage, name_of_uid
from swin_umamba.errors import DataError

logger = logging.getLogger(__name__)

_UNCOMPRESSED = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)
_GREY = ("MONOCHROME1", "MONOCHROME2")
_PALETTE = "PALETTE COLOR"
_LUMINANCE = ("YBR_FULL", "YBR_FULL_422")
_COLOURS = ("RGB", "YBR_RCT", "YBR_ICT", *_LUMINANCE)
# Modalities whose numbers are measurements, however they are displayed.
_MEASURED = ("CT", "MR", "NM", "PT")
_WHOLE = tuple(np.dtype(name) for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32"))


def read_values(planes: Sequence[Plane], *, indexed: bool) -> np.ndarray:
    """Return the values of images with equal size and kind, ``(channels, planes, y, x)``.

    Integers use the smallest type that holds everything the headers allow (not just the values that occur),
    or float64 if that takes more than 32 bits; float32 where a slope or an intercept is a fraction.

    Parameters
    ----------
    planes
        The images, in order; a file may contain many.
    indexed
        Whether to return the indices of palette pictures instead of their colours.

    Raises
    ------
    DataError
        A file is damaged, or its pixels are stored in a way that is not supported.
    """
    first = planes[0].storage
    has_palette = first.photometric == _PALETTE and not indexed
    channels = 3 if first.samples == 3 or has_palette else 1
    dtype, mirrored = _value_type(planes), _is_mirrored(planes)
    data: np.ndarray | None = None
    for index, stored in stored_numbers(planes):
        plane = planes[index]
        if has_palette:
            values = palette_colours(plane.path, stored, plane.storage.signed)
        else:
            values = _values(plane, stored, dtype, mirrored)
        if data is None:
            data = np.empty((channels, len(planes), first.rows, first.columns), values.dtype)
        if values.dtype != data.dtype:
            raise DataError(
                "palettes of 8 and of 16 bits in one series are not supported",
                where=plane.path,
                hint="export the images with equal palettes",
            )
        data[:, index] = np.moveaxis(values, -1, 0) if values.ndim == 3 else values
    assert data is not None
    return data


def _check_supported(storage: Storage, path: Path) -> None:
    """Refuse what is not supported before anything is read."""
    reason = None
    encapsulated = storage.element.length == UNDEFINED_LENGTH
    syntax = name_of_uid(storage.syntax, storage.syntax)
    if storage.syntax not in (*_UNCOMPRESSED, *codestreams.COMPRESSED):
        reason = f"compressed pixels of transfer syntax {syntax}"
    elif encapsulated != (storage.syntax in codestreams.COMPRESSED):
        raise damaged_file(
            path, f"the header says {syntax}, and the pixels are {'' if encapsulated else 'not '}encapsulated"
        )
    elif not (
        (storage.samples == 1 and storage.photometric in (*_GREY, _PALETTE))
        or (storage.samples == 3 and storage.photometric in _COLOURS)
    ):
        reason = (
            f"pixels of {storage.samples} samples and photometric interpretation "
            f"{storage.photometric or 'unknown'!r}"
        )
    elif storage.element.tag != PIXELS:
        bits = 32 if storage.element.tag == FLOAT_PIXELS else 64
        if encapsulated or storage.allocated != bits or storage.photometric not in _GREY:
            reason = f"{name_of(storage.element.tag)} of {storage.allocated} bits"
    elif storage.allocated not in (1, 8, 16, 32) or (
        storage.allocated == 1 and (storage.samples, encapsulated) != (1, False)
    ):
        reason = f"pixels of {storage.allocated} bits"
    elif storage.allocated in (1, 32) and storage.syntax == EXPLICIT_BIG:
        reason = f"pixels of {storage.allocated} bits in big-endian order, which is read in several ways,"
    elif storage.photometric in _LUMINANCE and storage.stored != 8:
        reason = f"luminance and chrominance of {storage.stored} bits"
    elif (
        storage.photometric == "YBR_FULL_422" and (storage.columns % 2 or storage.planar) and not encapsulated
    ):
        reason = "chrominance that is shared by pixel pairs in this layout"
    elif storage.photometric in ("YBR_RCT", "YBR_ICT") and storage.syntax not in codestreams.JPEG_2000:
        reason = f"{storage.photometric} outside of JPEG 2000"
    if reason:
        raise DataError(
            f"{reason} are not supported", where=path, hint="export the image without compression"
        )


def stored_numbers(planes: Sequence[Plane]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the index and stored numbers, ``(y, x)`` or ``(y, x, samples)``, of planes, file by file.

    Raises
    ------
    DataError
        As for ``read_values``.
    """
    for storage, plane in {plane.storage: plane for plane in planes}.items():
        _check_supported(storage, plane.path)
    of_file: dict[Path, dict[int, int]] = {}
    for index, plane in enumerate(planes):
        of_file.setdefault(plane.path, {})[plane.frame] = index
    for path, index_of in of_file.items():
        storage = planes[next(iter(index_of.values()))].storage
        compressed = storage.syntax in codestreams.COMPRESSED
        with pixel_source(path, storage.element) as source:
            frames = _compressed_frames if compressed else _plain_frames
            for number, raw in frames(path, source, storage, index_of):
                yield index_of[number], _significant_bits(path, raw, storage)


def _compressed_frames(
    path: Path, source: Source, storage: Storage, wanted: dict[int, int]
) -> Iterator[tuple[int, np.ndarray]]:
    from pydicom.encaps import generate_frames

    number = -1
    for number, content in enumerate(generate_frames(source, number_of_frames=storage.frames)):
        if number >= storage.frames:
            break
        if number in wanted:
            data = codestreams.decode_frame(content, storage, path)
            if storage.photometric in _LUMINANCE and storage.syntax not in codestreams.TURNED_TO_RGB:
                data = ybr_to_rgb(data)
            yield number, data
    if number + 1 != storage.frames:
        raise damaged_file(
            path, f"the header says {storage.frames} frames, and the pixels are {number + 1} or more frames"
        )


def _plain_frames(
    path: Path, source: Source, storage: Storage, wanted: dict[int, int]
) -> Iterator[tuple[int, np.ndarray]]:
    content = _plain_content(path, source, storage)
    pixels = storage.rows * storage.columns
    if storage.allocated == 1:
        packed = np.frombuffer(content, np.uint8)
        for number in sorted(wanted):
            start, end = number * pixels, (number + 1) * pixels
            bits = np.unpackbits(packed[start // 8 : -(-end // 8)], bitorder="little")
            yield number, bits[start % 8 :][:pixels].reshape(storage.rows, storage.columns)
        return
    order = "<" if storage.little_endian else ">"
    kind = "u" if storage.element.tag == PIXELS else "f"
    numbers = np.frombuffer(content, f"{order}{kind}{storage.allocated // 8}")
    per_frame = pixels * (2 if storage.photometric == "YBR_FULL_422" else storage.samples)
    for number in sorted(wanted):
        frame = numbers[number * per_frame :][:per_frame]
        if storage.photometric == "YBR_FULL_422":
            # Two luminances, then both chrominances.
            pairs = frame.reshape(storage.rows, storage.columns // 2, 4)
            chrominance = np.repeat(pairs[..., 2:], 2, axis=1)
            luminance = pairs[..., :2].reshape(storage.rows, storage.columns, 1)
            frame = np.concatenate([luminance, chrominance], axis=-1)
        elif storage.samples == 1:
            frame = frame.reshape(storage.rows, storage.columns)
        elif storage.planar:
            frame = np.moveaxis(frame.reshape(storage.samples, storage.rows, storage.columns), 0, -1)
        else:
            frame = frame.reshape(storage.rows, storage.columns, storage.samples)
        yield number, ybr_to_rgb(frame) if storage.photometric in _LUMINANCE else frame


def _plain_content(path: Path, source: Source, storage: Storage) -> bytes:
    """Return the bytes of all frames after comparing their number with the header."""
    samples = 2 if storage.photometric == "YBR_FULL_422" else storage.samples
    bits = storage.frames * storage.rows * storage.columns * samples * storage.allocated
    size, length = -(-bits // 8), storage.element.length
    content = source.read(length) if size <= length else b""
    if storage.allocated <= 8 and not storage.little_endian and storage.element.kind == "OW":
        # Bytes packed in 16-bit words, which have the byte order of the file.
        content = np.frombuffer(content[: length // 2 * 2], ">u2").astype("<u2").tobytes()
    if len(content) < size:
        raise damaged_file(
            path, f"pixels are missing: the header describes {size} bytes, and there are {length}"
        )
    # One byte makes the length even; it should be 0, and not all programs write that.
    if content[size + size % 2 :].strip(b"\0"):
        raise DataError(
            f"the header describes {size} bytes of pixels, and there are {length}",
            where=path,
            hint="export the image again",
        )
    return content


def _significant_bits(path: Path, raw: np.ndarray, storage: Storage) -> np.ndarray:
    """Return the stored numbers without the bits around them, in native byte order."""
    if raw.dtype.kind == "f":
        return raw.astype(raw.dtype.newbyteorder("="))
    size = max(storage.allocated, 8) // 8
    # A codestream may have signed numbers of fewer bits: their sign is extended first.
    numbers = raw.astype(f"{raw.dtype.kind}{size}", copy=False).view(f"u{size}")
    shift, stored = storage.high_bit + 1 - storage.stored, storage.stored
    if stored < size * 8:
        kept = (numbers >> shift) & np.array(2**stored - 1, numbers.dtype)
        if not storage.has_overlay:
            _warn_of_other_bits(path, numbers, kept, storage)
        numbers = kept
    if not storage.signed:
        return numbers
    signed = numbers.view(f"i{size}")
    unused = size * 8 - stored
    return (signed << unused) >> unused


def _warn_of_other_bits(path: Path, numbers: np.ndarray, kept: np.ndarray, storage: Storage) -> None:
    shift, stored = storage.high_bit + 1 - storage.stored, storage.stored
    expected = kept << shift
    if storage.signed:
        sign = np.array(-(2 ** (stored + shift)) % 2 ** (numbers.itemsize * 8), numbers.dtype)
        extended = np.where(kept >> (stored - 1), expected | sign, expected)
        differs = ((numbers != expected) & (numbers != extended)).any()
    else:
        differs = (numbers != expected).any()
    if differs:
        logger.warning(
            "%s: the pixels have bits beside the %d that hold their values, and no overlay is declared "
            "there; they are ignored, as the standard says",
            path,
            stored,
        )


def _is_rescaled(plane: Plane) -> bool:
    return plane.slope is not None and (plane.slope, plane.intercept) != (1.0, 0.0)


def _is_mirrored(planes: Sequence[Plane]) -> bool:
    """Return whether small numbers are bright and mean nothing else, so that they must be inverted."""
    first = planes[0]
    return (
        first.storage.photometric == "MONOCHROME1"
        and first.storage.element.tag == PIXELS
        and first.series.modality not in _MEASURED
        and not any(map(_is_rescaled, planes))
    )


def _range(storage: Storage) -> tuple[int, int]:
    if storage.signed:
        return -(2 ** (storage.stored - 1)), 2 ** (storage.stored - 1) - 1
    return 0, 2**storage.stored - 1


def _value_type(planes: Sequence[Plane]) -> np.dtype:
    """Return the type that holds whatever the headers of all planes allow."""
    smallest = largest = 0
    for plane in planes:
        if plane.storage.element.tag != PIXELS:
            return np.dtype("float64" if plane.storage.element.tag == DOUBLE_PIXELS else "float32")
        slope, intercept = plane.slope or 1.0, plane.intercept or 0.0
        if slope != int(slope) or intercept != int(intercept):
            return np.dtype("float32")
        ends = [each * int(slope) + int(intercept) for each in _range(plane.storage)]
        smallest, largest = min(smallest, *ends), max(largest, *ends)
    for dtype in _WHOLE:
        if np.iinfo(dtype).min <= smallest and largest <= np.iinfo(dtype).max:
            return dtype
    return np.dtype("float64")


def _values(plane: Plane, stored: np.ndarray, dtype: np.dtype, mirrored: bool) -> np.ndarray:
    """Return the values that the stored numbers represent."""
    if mirrored:
        stored = np.subtract(sum(_range(plane.storage)), stored, dtype=np.int64)
    if _is_rescaled(plane):
        if plane.storage.photometric not in _GREY:
            raise DataError(
                "a rescale slope or intercept of colours is not supported",
                where=plane.path,
                hint="export the image without them",
            )
        assert plane.slope is not None
        assert plane.intercept is not None
        values: np.ndarray = (stored * np.float64(plane.slope) + plane.intercept).astype(dtype)
        return values
    return stored.astype(dtype, copy=False)
