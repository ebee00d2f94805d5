"""Strips and tiles of TIFF files that are JPEG 2000 codestreams, as Aperio's scanners write them."""

from __future__ import annotations

import struct

import numpy as np

from swin_umamba.data.dicom.codestreams import jpeg_2000_header
from swin_umamba.data.tiff_colours import ycbcr_to_rgb
from swin_umamba.data.tiff_layout import APERIO_YCBCR, RECOMPRESS, Layout
from swin_umamba.data.tiff_tags import Page

_END = b"\xff\xd9"


def decode_jpeg_2000(page: Page, layout: Layout, stream: bytes) -> np.ndarray:
    """Return the pixels of a strip or tile, ``(rows, columns, samples)`` in the dtype of the layout.

    Compression 33003 holds YCbCr (of JFIF) that becomes RGB, all others RGB or grey.

    Raises
    ------
    DataError
        The stream is damaged, or does not have the shape in the tags.
    """
    import imagecodecs

    try:
        found = jpeg_2000_header(stream)
    except (ValueError, struct.error) as error:
        if "thinned out" in str(error):
            raise page.unsupported("files with JPEG 2000 of thinned-out colours are", RECOMPRESS) from error
        raise page.damaged(f"a JPEG 2000 stream cannot be read: {error}") from error
    shape = layout.tile[0], layout.tile[1], layout.samples
    if (found.rows, found.columns, found.samples) != shape or found.bits != layout.bits or found.signed:
        raise page.damaged(
            f"a JPEG 2000 stream holds {found.rows} x {found.columns} pixels of {found.samples} samples of "
            f"{found.bits} bits, the tags say {shape[0]} x {shape[1]} of {shape[2]} of {layout.bits}"
        )
    # A decoder would leave out what is missing, and the pixels would be coarse or grey.
    if _END not in stream[-4:]:
        raise page.damaged("pixels are missing: a JPEG 2000 stream is cut off before its end marker")
    pixels = np.asarray(imagecodecs.jpeg2k_decode(stream), layout.dtype).reshape(shape)
    if layout.compression == APERIO_YCBCR:
        pixels = np.moveaxis(ycbcr_to_rgb(np.moveaxis(pixels, -1, 0)), 0, -1)
    return pixels
