"""Image files as bytes, as a client would send them."""

from __future__ import annotations

import gzip
import io
import struct
import zlib

import nibabel
import numpy as np
import tifffile
from PIL import Image as PillowImage

from conformance.png_files import png_chunk


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def tiff(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, photometric="minisblack")
    return buffer.getvalue()


def nifti(array: np.ndarray, spacing: tuple[float, ...] = (1.0, 1.0, 3.0)) -> bytes:
    """Return a ``.nii.gz`` file of an array (z, y, x)."""
    image = nibabel.Nifti1Image(array.transpose(), np.diag([*spacing, 1.0]))
    return gzip.compress(image.to_bytes(), mtime=0)


def png_bomb(side: int) -> bytes:
    """Return a small PNG of side x side black pixels."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    )


def nifti_bomb(size: int) -> bytes:
    """Return a small ``.nii.gz`` of size x size x size zeros."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((size, size, size))
    header.set_data_dtype(np.uint8)
    header["magic"], header["vox_offset"] = b"n+1", 352
    header["pixdim"][1:4] = 1
    content = header.binaryblock + bytes(4)
    return gzip.compress(content + bytes(size**3), compresslevel=9, mtime=0)
