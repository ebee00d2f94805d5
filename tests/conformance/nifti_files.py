"""NIfTI files written byte by byte, and rotations, without any library for either."""

from __future__ import annotations

import gzip
import struct
from typing import Any

import numpy as np

VOXEL_TYPES = {
    "u1": 2,
    "i2": 4,
    "i4": 8,
    "f4": 16,
    "f8": 64,
    "i1": 256,
    "u2": 512,
    "u4": 768,
    "i8": 1024,
    "u8": 1280,
}
HEADER_BYTES = {1: 348, 2: 540}
MAGIC = {1: b"n+1\0", 2: b"n+2\0\r\n\x1a\n"}
# Where each field lies in the headers of NIfTI-1 and NIfTI-2, and how it is stored.
FIELDS: dict[int, dict[str, tuple[int, str]]] = {
    1: {
        "sizeof_hdr": (0, "i"),
        "db_name": (14, "18s"),
        "dim": (40, "8h"),
        "intent_code": (68, "h"),
        "datatype": (70, "h"),
        "bitpix": (72, "h"),
        "pixdim": (76, "8f"),
        "vox_offset": (108, "f"),
        "scl": (112, "2f"),
        "xyzt_units": (123, "B"),
        "cal": (124, "2f"),
        "toffset": (136, "f"),
        "descrip": (148, "80s"),
        "aux_file": (228, "24s"),
        "qform_code": (252, "h"),
        "sform_code": (254, "h"),
        "quatern": (256, "3f"),
        "qoffset": (268, "3f"),
        "srow": (280, "12f"),
        "intent_name": (328, "16s"),
        "magic": (344, "4s"),
    },
    2: {
        "sizeof_hdr": (0, "i"),
        "magic": (4, "8s"),
        "datatype": (12, "h"),
        "bitpix": (14, "h"),
        "dim": (16, "8q"),
        "pixdim": (104, "8d"),
        "vox_offset": (168, "q"),
        "scl": (176, "2d"),
        "cal": (192, "2d"),
        "toffset": (216, "d"),
        "descrip": (240, "80s"),
        "aux_file": (320, "24s"),
        "qform_code": (344, "i"),
        "sform_code": (348, "i"),
        "quatern": (352, "3d"),
        "qoffset": (376, "3d"),
        "srow": (400, "12d"),
        "xyzt_units": (500, "i"),
        "intent_code": (504, "i"),
        "intent_name": (508, "16s"),
    },
}


def nifti_file(
    voxels: np.ndarray, *, version: int = 1, endian: str = "<", between: bytes = b"\0\0\0\0", **fields: Any
) -> bytes:
    """Return a single-file NIfTI image.

    Parameters
    ----------
    voxels
        Axes as in the header: x, y, z, and further ones.
    between
        What lies between the header and the voxels: 4 bytes, and extensions.
    fields
        Replace what the header says otherwise: 1 mm, no orientation, no scaling.
    """
    header_bytes = HEADER_BYTES[version]
    values: dict[str, Any] = {
        "sizeof_hdr": header_bytes,
        "magic": MAGIC[version],
        "dim": (voxels.ndim, *voxels.shape),
        "pixdim": (1, 1, 1, 1),
        "datatype": VOXEL_TYPES.get(voxels.dtype.str[1:], 0),
        "bitpix": voxels.dtype.itemsize * 8,
        "vox_offset": header_bytes + len(between),
        "xyzt_units": 2,
        **fields,
    }
    header = bytearray(header_bytes)
    for name, value in values.items():
        position, form = FIELDS[version][name]
        items = tuple(value) if isinstance(value, (tuple, list, np.ndarray)) else (value,)
        count = int(form[:-1] or 1) if form[-1] != "s" else 1
        items += (1,) * (count - len(items))
        struct.pack_into(endian + form, header, position, *items)
    return bytes(header) + between + voxels.astype(voxels.dtype.newbyteorder(endian)).tobytes(order="F")


def field_of(content: bytes, name: str) -> tuple[Any, ...]:
    """Return what a field of a file's header holds."""
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    for version, size in HEADER_BYTES.items():
        for endian in "<>":
            if content[:4] == struct.pack(endian + "i", size):
                position, form = FIELDS[version][name]
                return struct.unpack_from(endian + form, content, position)
    raise AssertionError("no header of NIfTI")


def extension(text: bytes, endian: str = "<") -> bytes:
    """Return what lies between header and voxels if there is one extension, a comment."""
    size = -(-(8 + len(text)) // 16) * 16
    return b"\1\0\0\0" + struct.pack(f"{endian}2i", size, 6) + text.ljust(size - 8, b"\0")


def rotation(quaternion: np.ndarray) -> np.ndarray:
    """Return the matrix of a rotation by a unit quaternion (a, b, c, d)."""
    a, b, c, d = quaternion
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
