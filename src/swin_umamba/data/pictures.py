"""Pictures: PNG, BMP and JPEG through Pillow, from bytes that were checked first."""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from swin_umamba.data.image import DEFLATE_MAX_RATIO
from swin_umamba.errors import DataError

logger = logging.getLogger(__name__)

# 134 million pixels, 11585 x 11585. Below the limit at which Pillow itself refuses.
MAX_PIXELS = 2**27

FORMAT_OF_SUFFIX = {".png": "PNG", ".bmp": "BMP", ".jpg": "JPEG", ".jpeg": "JPEG"}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Values of a pixel for each colour type of PNG.
_PNG_VALUES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_COLOUR_MODES = {"RGB": "RGB", "RGBA": "RGBA", "RGBX": "RGB", "P": "RGBA", "PA": "RGBA"}
_GREY_MODES = ("1", "L", "I;16", "I;16B", "I", "F")
_DAMAGED = "copy or download the file again; it is damaged"


def read_picture(path: Path, *, indexed: bool, max_voxels: int = MAX_PIXELS) -> np.ndarray:
    """Read a picture.

    Parameters
    ----------
    path
        A PNG, BMP or JPEG file.
    indexed
        Return the indices of a palette picture (a label map) and not its colours.
    max_voxels
        Pictures of more pixels are refused before memory is taken for them, as those above ``MAX_PIXELS``.

    Returns
    -------
    numpy.ndarray
        ``(channels, y, x)``: 1 channel of uint8, uint16, int32 or float32 grey values as they are stored (a
        2-bit grey picture gives 0 to 3, not 0 to 255), or 3 channels of uint8. An alpha channel is dropped if
        it is opaque everywhere.

    Raises
    ------
    DataError
        The file is damaged, of another format than its name says, too large, transparent, or of a mode that
        would lose values.
    """
    expected = FORMAT_OF_SUFFIX[path.suffix.lower()]
    content = path.read_bytes()
    limit = min(max_voxels, MAX_PIXELS)
    grey_bits = _check_png(path, content, limit) if expected == "PNG" else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)
            picture = PillowImage.open(io.BytesIO(content), formats=[expected])
        check_pixels(path, picture.width * picture.height, limit)
        if getattr(picture, "n_frames", 1) != 1:
            raise DataError(
                "the picture is an animation", where=path, cure="save its frames as separate files"
            )
        picture.load()
    except DataError:
        raise
    except PillowImage.DecompressionBombError as error:
        raise DataError(f"the picture is too large: {error}", where=path, cure="cut it into tiles") from error
    except PillowImage.UnidentifiedImageError as error:
        raise DataError(
            f"the file is not a {expected} picture, or is damaged",
            where=path,
            cure=f"convert it to {expected}; if it was one before, copy or download it again",
        ) from error
    except Exception as error:
        # Pillow's decoders let many kinds of error through on damaged bytes (struct, value, syntax).
        raise DataError(f"the picture is damaged: {error}", where=path, cure=_DAMAGED) from error
    return _channels(path, picture, indexed=indexed, grey_bits=grey_bits)


def check_pixels(path: Path, pixels: int, limit: int = MAX_PIXELS) -> None:
    """Refuse a picture of more than ``limit`` pixels."""
    if pixels > limit:
        raise DataError(
            f"the picture has {pixels} pixels; the limit is {limit}",
            where=path,
            cure="cut it into tiles; if it is not that large, the file is damaged",
        )


def drop_alpha(path: Path, data: np.ndarray) -> np.ndarray:
    """Return ``data`` (channels, ...) without its last channel, which must be opaque everywhere."""
    alpha = data[-1]
    transparent = int(np.count_nonzero(alpha != np.iinfo(alpha.dtype).max))
    if transparent:
        raise DataError(
            f"{transparent} pixels are transparent; their colour is not defined",
            where=path,
            cure="flatten the picture onto a background and save it without an alpha channel",
        )
    logger.debug("%s: dropped an alpha channel that is opaque everywhere", path)
    return data[:-1]


def _channels(path: Path, picture: PillowImage.Image, *, indexed: bool, grey_bits: int | None) -> np.ndarray:
    mode = picture.mode
    if mode == "P" and indexed:
        return np.asarray(picture)[None]
    if mode in _GREY_MODES:
        data = np.asarray(picture)[None]
        if mode == "1":
            return data.astype(np.uint8)
        if grey_bits in (2, 4):
            # Pillow stretches them over 0 to 255, which would turn class 1 into class 85 or 17.
            return data // (255 // (2**grey_bits - 1))
        return data.astype(data.dtype.newbyteorder("="), copy=False)
    if mode in ("LA", "La"):
        return drop_alpha(path, np.asarray(picture).transpose(2, 0, 1))
    if mode in _COLOUR_MODES:
        data = np.asarray(picture.convert(_COLOUR_MODES[mode])).transpose(2, 0, 1)
        return drop_alpha(path, data) if _COLOUR_MODES[mode] == "RGBA" else data
    raise DataError(
        f"pictures of colour mode {mode} are not supported",
        where=path,
        cure="convert the picture to RGB or grey",
    )


def _check_png(path: Path, content: bytes, limit: int) -> int | None:
    """Verify the checksum of every chunk (Pillow skips the pixels'); return the bits of a grey pixel."""
    if not content.startswith(_PNG_SIGNATURE):
        raise DataError(
            "the file is not a PNG picture", where=path, cure="convert it to PNG, or copy it again"
        )
    view = memoryview(content)
    position = len(_PNG_SIGNATURE)
    kind = b""
    depth = colour_type = 0
    while kind != b"IEND":
        length = int.from_bytes(view[position : position + 4], "big")
        end = position + 12 + length
        if end > len(content):
            raise DataError(
                f"the picture is cut off at byte {len(content)} of at least {end}", where=path, cure=_DAMAGED
            )
        kind = bytes(view[position + 4 : position + 8])
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise DataError(
                f"the checksum of chunk {kind!r} at byte {position} is wrong", where=path, cure=_DAMAGED
            )
        if kind == b"IHDR" and length == 13:
            depth, colour_type = content[position + 16], content[position + 17]
            width, height = struct.unpack_from(">II", content, position + 8)
            bits = depth * _PNG_VALUES.get(colour_type, 1)
            _check_claim(path, width, height, bits, len(content), limit)
        position = end
    if depth == 16 and colour_type != 0:
        raise DataError(
            "PNG pictures with 16 bits per colour would be read with 8",
            where=path,
            cure="save it as TIFF, or each channel as its own 16-bit grey PNG",
        )
    return depth if colour_type == 0 else None


def _check_claim(path: Path, width: int, height: int, bits: int, file_bytes: int, limit: int) -> None:
    """Refuse a PNG picture that its file cannot hold, before Pillow takes memory for it."""
    check_pixels(path, width * height, limit)
    claimed = height * (width * bits // 8)
    if claimed > DEFLATE_MAX_RATIO * file_bytes:
        raise DataError(
            f"the header describes {claimed} bytes of pixels, which the file does not hold",
            where=path,
            cure=_DAMAGED,
        )


def picture_bytes(labels: np.ndarray, suffix: str) -> bytes:
    """Return a grey PNG or BMP file with ``labels`` (y, x), uint8 or uint16."""
    buffer = io.BytesIO()
    PillowImage.fromarray(labels).save(buffer, format=FORMAT_OF_SUFFIX[suffix])
    return buffer.getvalue()
