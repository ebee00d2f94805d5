"""NIfTI files (``.nii``, ``.nii.gz``): read from checked bytes, written with the header of another image."""

from __future__ import annotations

import gzip
import logging
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from nibabel import Nifti1Header, Nifti1Image, Nifti2Header, Nifti2Image
from nibabel.spatialimages import HeaderDataError

from swin_umamba.data.image import DEFLATE_MAX_RATIO, MAX_VOXELS, Image
from swin_umamba.errors import DataError

logger = logging.getLogger(__name__)

GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 4 * 2**20
# Where pixdim and the matrix contradict each other by more than rounding, neither can be trusted.
SPACING_AGREEMENT = 1e-2

_DAMAGED = "copy or download the file again; it is damaged"
# Size of each header, and where it holds which magic bytes ("ni1" and "ni2" are headers of file pairs).
_MAGIC = {Nifti1Header: (348, 344, b"n+1\x00"), Nifti2Header: (540, 4, b"n+2\x00\r\n\x1a\n")}


def read_nifti(path: Path, *, indexed: bool = False, max_voxels: int = MAX_VOXELS) -> Image:
    """Read a single-file NIfTI-1 or NIfTI-2 image.

    The size that the header claims is compared with the size of the file before memory is taken, compressed
    files are unpacked to exactly that size and to their checksum, and trailing bytes are refused.

    Parameters
    ----------
    path
        The file.
    indexed
        The file is a label map, which changes nothing here.
    max_voxels
        Images of more voxels, all channels together, are refused before memory is taken for them.

    Returns
    -------
    Image
        Axes (channels, z, y, x) or (channels, y, x); a fourth or fifth NIfTI axis becomes the channels.
        Scaled files (``scl_slope``) give float32, others their own dtype.

    Raises
    ------
    DataError
        The file is damaged, not NIfTI, or holds something that is not a real-valued image.
    """
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        is_gzip = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if is_gzip != path.name.lower().endswith(".gz"):
            suffix = ".nii.gz" if is_gzip else ".nii"
            raise DataError(
                f"the file is {'' if is_gzip else 'not '}compressed with gzip, but its name says otherwise",
                where=path,
                cure=f"let its name end in {suffix} if it is NIfTI, or copy it again",
            )
        if not is_gzip:
            return _read_stream(path, file, file_bytes, max_voxels)
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                return _read_stream(path, stream, file_bytes * DEFLATE_MAX_RATIO, max_voxels)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"the compressed data is damaged: {error}", where=path, cure=_DAMAGED) from error


def _read_stream(path: Path, stream: BinaryIO | gzip.GzipFile, most_bytes: int, max_voxels: int) -> Image:
    header = _read_header(path, stream)
    dims = _dimensions(path, header, max_voxels)
    dtype = _voxel_dtype(path, header)
    offset = _data_offset(path, header)
    spacing, origin, direction = _geometry(path, header, ndim=min(len(dims), 3))
    size = offset + math.prod(dims) * dtype.itemsize
    if size > most_bytes:
        raise DataError(
            f"the header describes {size} bytes (shape {dims}, {dtype.name}), which the file does not hold",
            where=path,
            cure=_DAMAGED,
        )
    content = _read_exactly(path, stream, size - header["sizeof_hdr"].item())
    start = offset - header["sizeof_hdr"].item()
    raw = np.frombuffer(content, dtype=dtype, offset=start).reshape(dims[::-1])
    data = _scaled(path, header, raw.astype(dtype.newbyteorder("="), copy=False))
    spatial = dims[:3][::-1]
    return Image(
        data=np.ascontiguousarray(data.reshape(-1, *spatial)),
        spacing=spacing,
        origin=origin,
        direction=direction,
        path=path,
        header=header,
    )


def _read_header(path: Path, stream: BinaryIO | gzip.GzipFile) -> Nifti1Header:
    block = stream.read(348)
    for header_class, (size, position, magic) in _MAGIC.items():
        for endianness in "<>":
            if block[:4] == struct.pack(f"{endianness}i", size) and len(block) == 348:
                block += stream.read(size - len(block))
                if len(block) < size:
                    break
                if block[position : position + len(magic)] == magic:
                    return header_class(block, endianness=endianness, check=False)
    raise DataError(
        "the file does not begin with the header of a single-file NIfTI image",
        where=path,
        cure="convert the image to .nii.gz (a .hdr/.img pair too); if it was one before, copy it again",
    )


def _dimensions(path: Path, header: Nifti1Header, max_voxels: int) -> tuple[int, ...]:
    """Return (x, y[, z][, channels]) after checking the ``dim`` field."""
    count = header["dim"][0].item()
    dims = tuple(header["dim"][1:].tolist()[: max(count, 0)])
    if not 2 <= count <= 7 or min(dims) < 1:
        raise DataError(f"the header holds the impossible shape {dims}", where=path, cure=_DAMAGED)
    channels = [size for size in dims[3:] if size > 1]
    if len(channels) > 1:
        raise DataError(
            f"the image has shape {dims}; at most three spatial axes and one of channels can be read",
            where=path,
            cure="save one file for each point of time or channel",
        )
    if math.prod(dims) > max_voxels:
        raise DataError(
            f"the header describes {math.prod(dims)} voxels; the limit is {max_voxels}",
            where=path,
            cure="crop or resample the image; if it is not that large, the file is damaged",
        )
    return dims[:3] + tuple(channels)


def _voxel_dtype(path: Path, header: Nifti1Header) -> np.dtype:
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError) as error:
        raise DataError(
            f"unknown voxel type {header['datatype'].item()}", where=path, cure=_DAMAGED
        ) from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise DataError(
            f"voxels of type {header['datatype'].item()} ({dtype}) are not supported",
            where=path,
            cure="save the image with real integer or floating-point voxels, colours as separate channels",
        )
    if header["bitpix"].item() != dtype.itemsize * 8:
        raise DataError(
            f"the header contradicts itself: {header['bitpix'].item()} bits for a voxel of type {dtype.name}",
            where=path,
            cure=_DAMAGED,
        )
    return dtype


def _data_offset(path: Path, header: Nifti1Header) -> int:
    offset = float(header["vox_offset"])
    header_bytes = header["sizeof_hdr"].item()
    # The standard wants 4 further bytes, and 0 is a known habit that means exactly that.
    smallest = header_bytes + 4
    if offset == 0:
        return smallest
    if not math.isfinite(offset) or offset != int(offset) or not smallest <= offset < 2**31:
        raise DataError(f"the header places the voxels at byte {offset}", where=path, cure=_DAMAGED)
    return int(offset)


def _geometry(
    path: Path, header: Nifti1Header, ndim: int
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """Return spacing, origin and direction in array order (z, y, x)."""
    spacing = header["pixdim"][1 : ndim + 1].astype(float)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise DataError(
            f"the spacing must be positive, and is {tuple(spacing.tolist())} mm",
            where=path,
            cure="correct pixdim in the header, or copy the file again",
        )
    codes = header["qform_code"].item(), header["sform_code"].item()
    if not all(code in range(6) for code in codes):
        raise DataError(f"the orientation codes {codes} do not exist", where=path, cure=_DAMAGED)
    completed = header.copy()
    if completed["pixdim"][0] not in (-1, 1):
        completed["pixdim"][0] = 1  # the handedness that the standard assumes for other values
    if ndim == 2:
        completed["pixdim"][3] = 1  # a picture has no third spacing, but the quaternion form multiplies by it
    try:
        with np.errstate(all="ignore"):
            affine = np.asarray(completed.get_best_affine(), dtype=float)
    except (ValueError, HeaderDataError) as error:
        raise DataError(
            f"the orientation in the header is invalid: {error}", where=path, cure=_DAMAGED
        ) from error
    if not np.isfinite(affine).all():
        raise DataError("the affine matrix holds NaN or infinity", where=path, cure=_DAMAGED)
    axes = affine[:3, :ndim]
    lengths = np.linalg.norm(axes, axis=0)
    if not (lengths > 0).all() or np.linalg.matrix_rank(axes / lengths, tol=1e-4) < ndim:
        raise DataError(
            "the affine matrix is singular: two axes of the image have the same direction, or one has none",
            where=path,
            cure="correct sform or qform in the header",
        )
    if not np.allclose(lengths, spacing, rtol=SPACING_AGREEMENT, atol=0):
        raise DataError(
            f"the header contradicts itself: spacing {tuple(spacing.tolist())} mm, "
            f"but its affine matrix has {tuple(lengths.round(6).tolist())}",
            where=path,
            cure="correct pixdim or the affine matrix in the header",
        )
    _warn_of_units(path, header)
    direction = tuple(tuple(axis.tolist()) for axis in (axes / lengths).T[::-1])
    return tuple(spacing[::-1].tolist()), tuple(affine[:3, 3].tolist()), direction


def _warn_of_units(path: Path, header: Nifti1Header) -> None:
    unit = {1: "metres", 3: "micrometres"}.get(header["xyzt_units"].item() & 0b111)
    if unit is not None:
        logger.warning("%s: the header gives lengths in %s; they are taken as millimetres", path, unit)


def _read_exactly(path: Path, stream: BinaryIO | gzip.GzipFile, size: int) -> bytearray:
    """Read ``size`` bytes and the end of the stream, whose checksum gzip verifies only there."""
    content = bytearray()
    while len(content) < size:
        chunk = stream.read(min(CHUNK_BYTES, size - len(content)))
        if not chunk:
            raise DataError(
                f"the file holds {len(content)} bytes after its header and should hold {size}",
                where=path,
                cure=_DAMAGED,
            )
        content += chunk
    if stream.read(1):
        raise DataError("the file holds more data than its header describes", where=path, cure=_DAMAGED)
    return content


def _scaled(path: Path, header: Nifti1Header, raw: np.ndarray) -> np.ndarray:
    if np.isinf(header["scl_slope"]):
        raise DataError("the intensity scaling is infinite", where=path, cure=_DAMAGED)
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise DataError(f"the intensity scaling is invalid: {error}", where=path, cure=_DAMAGED) from error
    if slope is None or (slope == 1 and intercept == 0):
        return raw
    with np.errstate(all="ignore"):  # an overflow becomes infinity, which the caller refuses
        return (raw.astype(np.float64) * slope + intercept).astype(np.float32)


def encode_nifti(data: np.ndarray, like: Image, suffix: str) -> bytes | None:
    """Return a NIfTI file with one channel ``(1, z, y, x)`` or ``(1, y, x)`` on the grid of ``like``.

    The orientation fields of the header (pixdim, qform, sform and their codes) are those of ``like``.
    """
    if len(data) != 1:
        return None
    array = data[0].transpose()
    if like.header is None:
        image = Nifti1Image(array, _affine(like))
    else:
        header = like.header.copy()
        header.set_data_dtype(array.dtype)
        header.set_data_shape(array.shape)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0
        image_class = Nifti2Image if isinstance(header, Nifti2Header) else Nifti1Image
        # Without an affine, nibabel leaves both orientation forms of the header as they are.
        image = image_class(array, None, header=header)
    content = image.to_bytes()
    # A fixed time stamp: the same labels give the same bytes.
    return gzip.compress(content, compresslevel=6, mtime=0) if suffix == ".nii.gz" else content


def _affine(image: Image) -> np.ndarray:
    affine = np.eye(4)
    for column, (axis, length) in enumerate(zip(image.direction[::-1], image.spacing[::-1], strict=True)):
        affine[:3, column] = np.asarray(axis) * length
    affine[:3, 3] = image.origin
    return affine
