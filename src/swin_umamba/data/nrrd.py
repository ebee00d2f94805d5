"""NRRD files (``.nrrd``, ``.nhdr``), and 3D Slicer segmentations stored in them (``.seg.nrrd``)."""

from __future__ import annotations

import gzip
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from swin_umamba.data.image import MAX_VOXELS, Image
from swin_umamba.data.nrrd_header import TYPE_OF_CODE, UNITS, NrrdHeader, read_nrrd_header
from swin_umamba.data.picture_checks import damaged, drop_alpha
from swin_umamba.data.raw_voxels import (
    LPS,
    MAX_HEADER_BYTES,
    Unpack,
    check_sizes,
    empty_image,
    not_supported,
    placed_in_lps,
    read_exactly,
    stored_bytes,
    unpack_bzip2,
    unpack_gzip,
    unpack_hex,
    unpack_text,
)
from swin_umamba.data.segments import merge_layers, read_segments, segment_keys

_COMPRESSED = {"gzip": unpack_gzip, "gz": unpack_gzip, "bzip2": unpack_bzip2, "bz2": unpack_bzip2}
_TEXTS = ("txt", "text", "ascii")
_SPATIAL_KINDS = ("domain", "space", "???", "none")
# Axes of colours other than RGB, of complex numbers and of matrices are not among them.
_CHANNEL_KINDS = (
    *(
        "list",
        "vector",
        "point",
        "covariant-vector",
        "normal",
        "time",
        "scalar",
        "stub",
        "2-vector",
        "3-vector",
    ),
    *("4-vector", "3-gradient", "3-normal", "3-color", "rgb-color", "4-color", "rgba-color"),
)


@dataclass(frozen=True)
class _Axes:
    """Which axes of a file, counted from the fastest, are spatial, and which are not."""

    spatial: list[int]
    others: list[int]
    vectors: np.ndarray | None


def read_nrrd(path: Path, *, indexed: bool, max_voxels: int) -> Image:
    """Read an NRRD image with two or three spatial axes and at most one channel axis; see ``formats.Reader``.

    The data of an ``.nhdr`` header lies in the same folder; ``max_voxels`` counts all channels. As a label
    map, a 3D Slicer segmentation has the values of all its layers in one channel.

    Returns
    -------
    Image
        Axes (channels, z, y, x) or (channels, y, x) in the dtype of the file. A non-spatial axis becomes the
        channels, wherever it is; an opaque alpha channel (``RGBA-color``) is dropped.

    Raises
    ------
    DataError
        The file is damaged, not an NRRD file, or not supported; or segments of a label map overlap.
    """
    with path.open("rb") as file:
        header = read_nrrd_header(path, file)
        check_sizes(path, header.sizes, max_voxels)
        axes = _axes(header)
        image = _grid(header, axes)
        dtype = header.voxel_type()
        size = math.prod(header.sizes) * dtype.itemsize
        content = stored_bytes(path, file, header.files, size, _unpack(header, dtype))
    data = np.frombuffer(content, dtype).astype(dtype.newbyteorder("="), copy=False)
    in_order = [*axes.others, *axes.spatial[::-1]]
    data = data.reshape(header.sizes[::-1]).transpose([len(header.sizes) - 1 - axis for axis in in_order])
    data = data.reshape(-1, *(header.sizes[axis] for axis in axes.spatial[::-1]))
    if _has_alpha(header) and len(data) == 4:
        data = drop_alpha(path, data)
    segments = read_segments(path, header.keys, len(data))
    if indexed and segments:
        data = merge_layers(path, data, segments)
    names = {segment.value: segment.name for segment in segments if segment.is_named}
    return replace(image, data=np.ascontiguousarray(data), label_names=names or None)


def nrrd_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of what ``read_nrrd`` would return of an image, without the voxels; see ``Format``."""
    with path.open("rb") as file:
        header = read_nrrd_header(path, file)
    check_sizes(path, header.sizes, MAX_VOXELS)
    axes = _axes(header)
    channels = math.prod(header.sizes[axis] for axis in axes.others)
    channels -= _has_alpha(header) and channels == 4
    return (channels, *(header.sizes[axis] for axis in axes.spatial[::-1]))


def _has_alpha(header: NrrdHeader) -> bool:
    return "rgba-color" in header.words("kinds", "???")


def _axes(header: NrrdHeader) -> _Axes:
    path, kinds = header.path, header.words("kinds", "???")
    everything = range(len(kinds))
    vectors = None
    if "spacedirections" in header.fields:
        vectors = header.vectors("spacedirections", len(kinds), header.space()[1])
        in_time = vectors[:, 3] != 0
        if (in_time & (vectors[:, :3] != 0).any(axis=1) & np.isfinite(vectors[:, 0])).any():
            raise not_supported(path, "an axis has a direction in space and time")
        spatial = np.flatnonzero(~in_time & np.isfinite(vectors[:, 0])).tolist()
    else:
        spatial = [axis for axis in everything if kinds[axis] in _SPATIAL_KINDS]
        if len(spatial) == 4:
            spatial.pop()  # the slowest of four axes is time or channels, as in ITK
    others = [axis for axis in everything if axis not in spatial]
    for axis in everything:
        if axis in spatial and kinds[axis] not in _SPATIAL_KINDS:
            raise damaged(path, f"an axis of the kind {kinds[axis][:80]} has a direction in space")
        if kinds[axis] not in (*_SPATIAL_KINDS, *_CHANNEL_KINDS):
            raise not_supported(path, f"an axis is of the kind {kinds[axis][:80]}")
    if len(spatial) not in (2, 3) or sum(header.sizes[axis] > 1 for axis in others) > 1:
        raise not_supported(path, f"the axes of sizes {header.sizes} are of the kinds {' '.join(kinds)}")
    return _Axes(spatial, others, vectors)


def _grid(header: NrrdHeader, axes: _Axes) -> Image:
    """Return an image without voxels, placed where the header says."""
    path, ndim = header.path, len(axes.spatial)
    lengths = header.lengths("spacings")
    spacings = np.array([lengths[axis] for axis in axes.spatial])
    units = np.array(header.millimetres("units", len(header.sizes)))[axes.spatial]
    signs, origin, known, unit = None, np.zeros(3), False, 1.0
    if axes.vectors is not None:
        if np.isfinite(spacings).any() or (units != 1).any():
            raise damaged(
                path, "the header gives axes a direction in space and a spacing or unit of their own"
            )
        signs, dimension = header.space()
        units = np.append(header.millimetres("spaceunits", dimension), 1.0)[:3]
        unit = float(units[0])
        steps = axes.vectors[axes.spatial, :3] * units
        if "spaceorigin" in header.fields:
            place = header.vectors("spaceorigin", 1, dimension)[0, :3]
            known = signs is not None and bool(np.isfinite(place).all())
            origin = np.nan_to_num(place) * units
        spacings = np.array([math.hypot(*step) for step in steps])
        direction = steps / np.where(spacings > 0, spacings, 1)[:, None]
        has_spacing = True
    else:
        direction, has_spacing = np.eye(3)[:ndim], bool(np.isfinite(spacings).all())
        unit = float(units[0])
        spacings = spacings * units if has_spacing else np.ones(ndim)
        origin[:ndim] = _scalar_origin(header, axes) * (units if has_spacing else 1)
    if np.isnan(units).any():
        raise not_supported(path, "the header gives positions in units that are not lengths")
    return empty_image(
        path,
        spacings.tolist(),
        origin,
        direction,
        signs or LPS,
        has_spacing=has_spacing,
        has_orientation=known,
        unit=unit,
    )


def _scalar_origin(header: NrrdHeader, axes: _Axes) -> np.ndarray:
    """Return where ITK puts the first voxel of an image without a space, which is only a placeholder."""
    lengths, starts = header.lengths("spacings"), header.lengths("axismins")
    centers = header.words("centerings" if "centerings" in header.fields else "centers", "cell")
    origin = [starts[axis] + (0 if centers[axis] == "node" else lengths[axis] / 2) for axis in axes.spatial]
    return np.array(origin) if np.isfinite(origin).all() else np.zeros(len(origin))


def _unpack(header: NrrdHeader, dtype: np.dtype) -> Unpack:
    encoding = header.fields.get("encoding", "").lower()
    lines, skip = header.integer("lineskip"), header.integer("byteskip")
    plain: dict[str, Unpack] = {
        "raw": read_exactly,
        "hex": unpack_hex,
        **dict.fromkeys(_TEXTS, unpack_text(dtype)),
    }
    if encoding not in (*plain, *_COMPRESSED):
        raise not_supported(header.path, f"the encoding is {encoding[:80]!r}")
    smallest = -1 if encoding in ("raw", *_COMPRESSED) else 0
    if lines < 0 or not smallest <= skip <= MAX_HEADER_BYTES:
        raise not_supported(header.path, f"{lines} lines and {skip} bytes are to be skipped")

    def unpack(path: Path, file: BinaryIO, size: int) -> bytearray:
        for _ in range(lines):
            if not file.readline(MAX_HEADER_BYTES).endswith(b"\n"):
                raise damaged(path, f"there are no {lines} lines to be skipped")
        if encoding in _COMPRESSED:  # skipped bytes are counted after decompression
            return _COMPRESSED[encoding](path, file, size, skip)
        if skip == -1:
            file.seek(max(os.fstat(file.fileno()).st_size - size, file.tell()))
        else:
            file.seek(skip, os.SEEK_CUR)
        return plain[encoding](path, file, size)

    return unpack


def encode_nrrd(data: np.ndarray, like: Image, suffix: str) -> bytes | None:
    """Return an NRRD file, header and compressed voxels in one; see ``Format.encode``.

    It has one channel: nnU-Net would not recognise several. Properties that ``like`` does not know are
    omitted. With ``.seg.nrrd``, each value except 0 becomes a 3D Slicer segment.
    """
    code = data.dtype.str[1:]
    is_segmentation = suffix == ".seg.nrrd"
    if len(data) != 1 or code not in TYPE_OF_CODE:
        return None
    if is_segmentation and (code[0] == "f" or data.min() < 0):
        return None
    sizes = data.shape[:0:-1]
    lines = ["NRRD0005", f"type: {TYPE_OF_CODE[code]}", f"dimension: {len(sizes)}"]
    lines += [f"sizes: {' '.join(map(str, sizes))}", f"kinds:{' domain' * len(sizes)}", *_place(like)]
    lines += ["endian: little", "encoding: gzip"]
    if is_segmentation:
        lines += [f"{key}:={value}" for key, value in segment_keys(data[0]).items()]
    content = data.astype(data.dtype.newbyteorder("<"), copy=False).tobytes()
    # A fixed time stamp: the same labels yield the same bytes.
    return "\n".join([*lines, "", ""]).encode() + gzip.compress(content, compresslevel=6, mtime=0)


def _place(image: Image) -> list[str]:
    """Return the lines that say where an image lies, as far as that is known."""
    name, spacing, direction, origin = placed_in_lps(image, UNITS)
    quoted = f'"{name}"'
    ndim = len(spacing)
    if not image.is_placed:
        lengths = [
            f"spacings: {' '.join(map(repr, spacing.tolist()))}",
            f"units: {' '.join([quoted] * ndim)}",
        ]
        return lengths if image.has_spacing else []
    # ITK reads flat images only in a two-dimensional space, which has no name.
    dimension = 2 if ndim == 2 and not (direction[:, 2:].any() or origin[2]) else 3
    space = image.has_orientation and dimension == 3
    steps = (direction * spacing[:, None])[:, :dimension]
    return [
        "space: left-posterior-superior" if space else f"space dimension: {dimension}",
        f"space units: {' '.join([quoted] * dimension)}",
        f"space directions: {' '.join(map(_vector, steps))}",
        f"space origin: {_vector(origin[:dimension])}",
    ]


def _vector(values: np.ndarray) -> str:
    """Return a vector with all its digits."""
    return f"({','.join(map(repr, values.tolist()))})"
