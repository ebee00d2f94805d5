"""Pictures: PNG, JPEG and BMP. ``docs/formats.md`` says what their pixels mean."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from swin_umamba.data.bmp import bmp_shape, read_bmp
from swin_umamba.data.image import Image
from swin_umamba.data.jpeg import jpeg_shape, read_jpeg
from swin_umamba.data.picture_checks import MAX_PIXELS, read_content
from swin_umamba.data.png import png_shape, read_png

FORMAT_OF_SUFFIX = {".png": "PNG", ".bmp": "BMP", ".jpg": "JPEG", ".jpeg": "JPEG"}


def read_picture(path: Path, *, indexed: bool, max_voxels: int = MAX_PIXELS) -> Image:
    """Read a PNG, BMP or JPEG file; see ``formats.Reader``. More than ``MAX_PIXELS`` pixels are refused.

    Returns
    -------
    Image
        Without geometry, ``(channels, y, x)``, as the picture is meant to be seen: oriented according to
        EXIF. 1 channel of grey values as stored (a 2-bit grey picture gives 0 to 3, not 0 to 255), or 3
        channels, red, green and blue; uint8, from PNG also uint16. An alpha channel is dropped if it is
        opaque everywhere. Colour profiles and gamma are not applied.

    Raises
    ------
    DataError
        The file is damaged, of a format other than its name says, too large, transparent, or of an
        unsupported kind.
    """
    limit = min(max_voxels, MAX_PIXELS)
    content = read_content(path)
    expected = FORMAT_OF_SUFFIX[path.suffix.lower()]
    if expected == "PNG":
        data = read_png(path, content, indexed=indexed, limit=limit)
    elif expected == "BMP":
        data = read_bmp(path, content, indexed=indexed, limit=limit)
    else:
        data = read_jpeg(path, content, limit=limit)
    return Image.without_geometry(data, path)


def picture_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of what ``read_picture`` would return, but not upright; see ``formats.Format``."""
    expected = FORMAT_OF_SUFFIX[path.suffix.lower()]
    if expected == "PNG":
        return png_shape(path)
    shape_of = bmp_shape if expected == "BMP" else jpeg_shape
    return shape_of(path, read_content(path), MAX_PIXELS)


def encode_picture(data: np.ndarray, like: Image, suffix: str) -> bytes | None:
    """Return a PNG or BMP file with one channel of uint8 or (PNG) uint16, or three of uint8."""
    from PIL import Image as PillowImage

    integers = (np.uint8,) if suffix == ".bmp" or len(data) == 3 else (np.uint8, np.uint16)
    if data.ndim != 3 or len(data) not in (1, 3) or data.dtype not in integers:
        return None
    buffer = io.BytesIO()
    pixels = data[0] if len(data) == 1 else np.ascontiguousarray(data.transpose(1, 2, 0))
    PillowImage.fromarray(pixels).save(buffer, format=FORMAT_OF_SUFFIX[suffix])
    return buffer.getvalue()
