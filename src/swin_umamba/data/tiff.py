"""TIFF files through tifffile: pictures, and volumes of several pages."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile

from swin_umamba.data.image import DEFLATE_MAX_RATIO, MAX_VOXELS, Image
from swin_umamba.data.pictures import check_pixels, drop_alpha
from swin_umamba.errors import DataError

# Pages are the slices of a volume whatever tifffile calls their axis; time and position are not.
_SLICE_AXES = "ZQI"
_MINISBLACK, _RGB, _PALETTE, _YCBCR = 1, 2, 3, 6
# How many bytes one stored byte can become, where that is bounded: uncompressed, LZW (strings of up to 4096
# bytes in 12 bits), deflate under both of its numbers, and PackBits.
_MAX_RATIO = {1: 1, 5: 2731, 8: DEFLATE_MAX_RATIO, 32946: DEFLATE_MAX_RATIO, 32773: 64}
_DAMAGED = "copy or download the file again; it is damaged"


def read_tiff(path: Path, *, indexed: bool, max_voxels: int = MAX_VOXELS) -> np.ndarray:
    """Read a TIFF file.

    Parameters
    ----------
    path
        A file with one page, or with several of one shape (a volume).
    indexed
        Return the indices of a palette picture (a label map) and not its colours.
    max_voxels
        Files of more values are refused before memory is taken for them.

    Returns
    -------
    numpy.ndarray
        ``(channels, y, x)`` or ``(channels, z, y, x)`` in the dtype of the file. An opaque alpha channel is
        dropped.

    Raises
    ------
    DataError
        The file is damaged, too large, or holds something other than one picture or volume.
    """
    try:
        with _logged_errors() as errors, tifffile.TiffFile(path) as tiff:
            page, axes = _check_layout(path, tiff, max_voxels)
            data = tiff.series[0].asarray()
            photometric = int(page.photometric)
            colormap = page.colormap
    except DataError:
        raise
    except Exception as error:
        # tifffile and its decoders let many kinds of error through on damaged bytes (struct, value, index).
        raise DataError(
            f"the TIFF file is damaged or of an unknown kind: {error}", where=path, cure=_DAMAGED
        ) from error
    if errors:
        raise DataError(f"the TIFF file is damaged: {errors[0]}", where=path, cure=_DAMAGED)
    data = data.astype(data.dtype.newbyteorder("="), copy=False)
    if data.dtype == bool:
        data = data.astype(np.uint8)
    if photometric == _PALETTE and not indexed:
        # 16-bit colours of which writers fill the upper byte.
        data, axes = (colormap >> 8).astype(np.uint8)[:, data], "C" + axes
    return _channels_first(path, data, axes, has_alpha=photometric == _RGB)


def _check_layout(path: Path, tiff: tifffile.TiffFile, max_voxels: int) -> tuple[tifffile.TiffPage, str]:
    """Check sizes against the file before anything is decoded; return the first page and the axes."""
    if len(tiff.series) != 1:
        raise DataError(
            f"the file holds {len(tiff.series)} images of different shapes",
            where=path,
            cure="save each image as a file of its own",
        )
    series = tiff.series[0]
    page = series.keyframe
    if math.prod(series.shape) == 0:
        raise DataError(f"the file claims the impossible shape {series.shape}", where=path, cure=_DAMAGED)
    if math.prod(series.shape) > max_voxels:
        raise DataError(
            f"the file claims {math.prod(series.shape)} values; the limit is {max_voxels}",
            where=path,
            cure="crop the image or cut it into tiles; if it is not that large, the file is damaged",
        )
    check_pixels(path, page.imagewidth * page.imagelength)
    if int(page.photometric) not in (_MINISBLACK, _RGB, _PALETTE, _YCBCR) or page.dtype.kind not in "biuf":
        raise DataError(
            f"TIFF images of kind {page.photometric!s} with values of type {page.dtype} are not supported",
            where=path,
            cure="convert the image to RGB or grey (black is 0)",
        )
    file_bytes = tiff.filehandle.size
    ratio = _MAX_RATIO.get(int(page.compression))
    for number, each in enumerate(series.pages):
        segments = list(zip(each.dataoffsets, each.databytecounts, strict=True))
        stored = sum(each.databytecounts)
        # Missing or short segments would be filled with zeros without a word.
        if (
            len(segments) < math.prod(page.chunked)
            or any(count < 1 or offset + count > file_bytes for offset, count in segments)
            or (ratio is not None and 8 * stored * ratio < math.prod(page.shape) * page.bitspersample)
        ):
            raise DataError(f"pixels of page {number + 1} are missing", where=path, cure=_DAMAGED)
    return page, series.axes


@contextmanager
def _logged_errors() -> Iterator[list[str]]:
    """Collect what tifffile only logs, such as a chain of pages that breaks off and leaves fewer pages."""
    errors: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: errors.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("tifffile")
    propagate = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield errors
    finally:
        log.propagate = propagate
        log.removeHandler(handler)


def _channels_first(path: Path, data: np.ndarray, axes: str, *, has_alpha: bool) -> np.ndarray:
    for letter in [letter for letter in axes if letter not in "YX"]:
        position = axes.index(letter)
        if data.shape[position] == 1:
            data, axes = data.squeeze(position), axes.replace(letter, "")
    slices = [letter for letter in axes if letter in _SLICE_AXES]
    channels = [letter for letter in axes if letter in "SC"]
    if len(slices) > 1 or len(channels) > 1 or len(axes) != 2 + len(slices) + len(channels):
        raise DataError(
            f"the file holds an image of shape {data.shape} with the axes {axes}, no picture or volume",
            where=path,
            cure="save one picture or volume a file, without axes of time or position",
        )
    order = [axes.index(letter) for letter in [*channels, *slices, "Y", "X"]]
    data = data.transpose(order) if channels else data.transpose(order)[None]
    return drop_alpha(path, data) if has_alpha and data.shape[0] == 4 else data


def encode_tiff(data: np.ndarray, like: Image, suffix: str) -> bytes | None:
    """Return a TIFF file: one channel, a page a slice, or a picture of three of uint8 or uint16 as RGB."""
    coloured = data.ndim == 3 and len(data) == 3 and data.dtype in (np.uint8, np.uint16)
    if len(data) != 1 and not coloured:
        return None
    buffer = io.BytesIO()
    pixels = np.ascontiguousarray(data.transpose(1, 2, 0)) if coloured else data[0]
    photometric = "rgb" if coloured else "minisblack"
    tifffile.imwrite(buffer, pixels, photometric=photometric, compression="zlib", metadata=None)
    return buffer.getvalue()
