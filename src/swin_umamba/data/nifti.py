"""NIfTI files (``.nii``, ``.nii.gz``): read with checks, written on the grid of another image."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from swin_umamba.data.image import DEFLATE_MAX_RATIO, MAX_VOXELS, Image
from swin_umamba.data.nifti_geometry import header_like, with_geometry
from swin_umamba.data.picture_checks import damaged
from swin_umamba.data.raw_voxels import read_exactly
from swin_umamba.errors import DataError

if TYPE_CHECKING:
    from nibabel import Nifti1Header

GZIP_MAGIC = b"\x1f\x8b"
# A slope is stored as float32, so a label of 1 can come out as 1.0000000149.
LABEL_ROUNDING = 2.0**-22

_SMALLEST_HEADER = 348
# Size of each header, and the position and value of its magic ("ni1" and "ni2" mark headers of file pairs).
_MAGIC = {"Nifti1Header": (348, 344, b"n+1\x00"), "Nifti2Header": (540, 4, b"n+2\x00\r\n\x1a\n")}
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"} | {
    1024: "i8",
    1280: "u8",
}
_CODES = {np.dtype(name): code for code, name in _DTYPES.items()}
_UNSUPPORTED = {
    1: "1 bit",
    32: "complex numbers",
    128: "RGB colours",
    1536: "128-bit floating point",
    1792: "complex numbers",
    2048: "complex numbers",
    2304: "RGBA colours",
}


def read_nifti(path: Path, *, indexed: bool, max_voxels: int = MAX_VOXELS) -> Image:
    """Read a single-file NIfTI-1 or NIfTI-2 image; see ``formats.Reader``.

    The size that the header claims is compared with the size of the file before memory is allocated,
    compressed files are unpacked to exactly that size with their checksum verified, and trailing bytes are
    refused. Values of a label map that are whole after intensity scaling except for the rounding of its slope
    are rounded. ``max_voxels`` counts all channels.

    Returns
    -------
    Image
        Axes (channels, z, y, x) or (channels, y, x); a fourth or later NIfTI axis becomes the channels, in
        file order. Voxels keep their dtype; with an intensity scaling (``scl_slope``) they become float32, or
        float64 if float32 does not hold all values of that dtype.

    Raises
    ------
    DataError
        The file is damaged, not NIfTI, or not a real-valued image.
    """
    with _opened(path) as (stream, most_bytes):
        return _read_stream(path, stream, most_bytes, indexed=indexed, max_voxels=max_voxels)


def nifti_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of what ``read_nifti`` would return, without reading the voxels; see ``Format``."""
    with _opened(path) as (stream, _):
        dims = _dimensions(path, _read_header(path, stream), MAX_VOXELS)
    return (math.prod(dims[3:]), *dims[:3][::-1])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO | gzip.GzipFile, int]]:
    """Yield the stream of a file, unpacked, and the largest number of bytes that it can hold."""
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        is_gzip = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if is_gzip != path.name.lower().endswith(".gz"):
            suffix = ".nii.gz" if is_gzip else ".nii"
            raise DataError(
                f"the file is {'' if is_gzip else 'not '}compressed with gzip, but its name says otherwise",
                where=path,
                hint=f"let its name end in {suffix} if it is NIfTI, or copy it again",
            )
        if not is_gzip:
            yield file, file_bytes
            return
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                yield stream, file_bytes * DEFLATE_MAX_RATIO
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise damaged(path, f"the compressed data is damaged: {error}") from error


def _read_stream(
    path: Path, stream: BinaryIO | gzip.GzipFile, most_bytes: int, *, indexed: bool, max_voxels: int
) -> Image:
    header = _read_header(path, stream)
    dims = _dimensions(path, header, max_voxels)
    dtype = _voxel_dtype(path, header)
    scaling = _scaling(path, header)
    start = _data_offset(path, header)
    size = start + math.prod(dims) * dtype.itemsize
    if size > most_bytes:
        raise damaged(
            path,
            f"the header describes {size} bytes (shape {dims}, {dtype.name}), which the file does not hold",
        )
    spatial = dims[:3][::-1]
    # The placement in the world is checked before anything large is read.
    with_geometry(np.broadcast_to(np.uint8(0), (1, *spatial)), path, header)
    header_bytes = int(header["sizeof_hdr"])
    content = read_exactly(path, stream, size - header_bytes)
    raw = np.frombuffer(content, dtype=dtype, offset=start - header_bytes).reshape(-1, *spatial)
    data = _scaled(raw.astype(dtype.newbyteorder("="), copy=False), scaling, indexed=indexed)
    return with_geometry(data, path, header)


def _read_header(path: Path, stream: BinaryIO | gzip.GzipFile) -> Nifti1Header:
    block = stream.read(_SMALLEST_HEADER)
    for header_name, (size, position, magic) in _MAGIC.items():
        for endianness in "<>":
            if block[:4] == struct.pack(f"{endianness}i", size) and len(block) == _SMALLEST_HEADER:
                block += stream.read(size - len(block))
                if len(block) < size:
                    break
                found = block[position : position + len(magic)]
                if found == magic:
                    import nibabel  # half a second with what it brings along

                    header: Nifti1Header = getattr(nibabel, header_name)(
                        block, endianness=endianness, check=False
                    )
                    return header
                if found[:2] == b"ni" or size == _SMALLEST_HEADER:
                    kind = "half of a .hdr/.img pair" if found[:2] == b"ni" else "in Analyze format"
                    raise DataError(
                        f"the file is {kind}, which is not supported; only single-file NIfTI images are",
                        where=path,
                        hint="convert it to .nii.gz, and check left and right in a viewer",
                    )
    raise DataError(
        "the file does not begin with the header of a single-file NIfTI image",
        where=path,
        hint="convert the image to .nii.gz; if it was one before, copy it again",
    )


def _dimensions(path: Path, header: Nifti1Header, max_voxels: int) -> tuple[int, ...]:
    """Return (x, y[, z][, channels]) after checking the ``dim`` field."""
    count = header["dim"][0].item()
    dims = tuple(header["dim"][1:].tolist()[: max(count, 0)])
    if count == 1:
        raise DataError(
            "images of one axis are not supported", where=path, hint="give an image with two or three axes"
        )
    if not 2 <= count <= 7 or min(dims) < 1:
        raise damaged(path, f"the header holds the impossible shape {dims}")
    channels = [size for size in dims[3:] if size > 1]
    if len(channels) > 1:
        raise DataError(
            f"the image has shape {dims}; at most three spatial axes and one of channels can be read",
            where=path,
            hint="save one file for each point of time or channel",
        )
    if math.prod(dims) > max_voxels:
        raise DataError(
            f"the header describes {math.prod(dims)} voxels; the limit is {max_voxels}",
            where=path,
            hint="crop or resample the image; if it is not that large, the file is damaged",
        )
    return dims[:3] + tuple(channels)


def _voxel_dtype(path: Path, header: Nifti1Header) -> np.dtype:
    code = header["datatype"].item()
    if code in _UNSUPPORTED:
        raise DataError(
            f"voxels of type {code} ({_UNSUPPORTED[code]}) are not supported",
            where=path,
            hint="save the image with real integer or floating-point voxels, colours as separate channels",
        )
    if code not in _DTYPES:
        raise damaged(path, f"unknown voxel type {code}")
    dtype: np.dtype[Any] = np.dtype(_DTYPES[code]).newbyteorder(header.endianness)
    if header["bitpix"].item() != dtype.itemsize * 8:
        bits = header["bitpix"].item()
        raise damaged(path, f"the header contradicts itself: {bits} bits for a voxel of type {dtype.name}")
    return dtype


def _data_offset(path: Path, header: Nifti1Header) -> int:
    offset = float(header["vox_offset"])
    header_bytes = int(header["sizeof_hdr"])
    # The standard requires 4 further bytes; 0 is a known habit that means exactly that.
    smallest = header_bytes + 4
    if offset == 0:
        return smallest
    if not math.isfinite(offset) or offset != int(offset) or not smallest <= offset < 2**31:
        raise damaged(path, f"the header places the voxels at byte {offset}")
    return int(offset)


def _scaling(path: Path, header: Nifti1Header) -> tuple[float, float] | None:
    """Return slope and intercept; None if the voxels need no scaling."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):
        if intercept != 0 and math.isfinite(intercept):
            raise DataError(
                f"the header has an intercept of {intercept:g}, but no slope (scl_slope {slope:g}): "
                "programs differ in whether they add it",
                where=path,
                hint="set scl_slope to 1 if the intercept counts, or scl_inter to 0",
            )
        return None
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise DataError(
            f"the intensity scaling is invalid: slope {slope:g}, intercept {intercept:g}",
            where=path,
            hint="correct scl_slope and scl_inter in the header, or copy the file again",
        )
    return None if (slope, intercept) == (1, 0) else (slope, intercept)


def _scaled(raw: np.ndarray, scaling: tuple[float, float] | None, *, indexed: bool) -> np.ndarray:
    if scaling is None:
        return raw
    slope, intercept = scaling
    with np.errstate(all="ignore"):  # an overflow becomes infinity, which the caller refuses
        values = raw.astype(np.float64) * slope + intercept
        if indexed:
            whole = np.rint(values)
            return np.where(np.abs(values - whole) <= LABEL_ROUNDING * np.abs(whole), whole, values)
        return values.astype(np.result_type(raw.dtype, np.float32), copy=False)


def encode_nifti(data: np.ndarray, like: Image, suffix: str) -> bytes | None:
    """Return a NIfTI file with one channel ``(1, z, y, x)`` or ``(1, y, x)`` on the grid of ``like``.

    The orientation fields of its header (pixdim, qform, sform and their codes, unit) are copied from ``like``
    if that came from NIfTI; nothing else from its header is. None for several channels and for voxel types
    that NIfTI lacks.
    """
    dtype = np.dtype(np.uint8) if data.dtype == bool else data.dtype.newbyteorder("=")
    if len(data) != 1 or dtype not in _CODES:
        return None
    content = header_like(like, dtype).binaryblock + bytes(4) + np.ascontiguousarray(data, dtype).tobytes()
    # A fixed time stamp: the same labels yield the same bytes.
    return gzip.compress(content, compresslevel=6, mtime=0) if suffix == ".nii.gz" else content
