"""MetaImage files (``.mha``, ``.mhd``), the format of ITK: read with checks, and written.

Based on the format's description (https://itk.org/Wiki/MetaIO/Documentation) and on ITK's interpretation.
"""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from swin_umamba.data.image import MAX_VOXELS, Image
from swin_umamba.data.picture_checks import damaged
from swin_umamba.data.raw_voxels import (
    check_sizes,
    empty_image,
    header_line,
    integers,
    listed_files,
    not_supported,
    numbered_files,
    numbers,
    placed_in_lps,
    read_exactly,
    stored_bytes,
    unpack_text,
    unpack_zlib,
)
from swin_umamba.errors import DataError

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
}
# Millimetres per unit; "?" is what MetaIO writes if none was specified.
_UNITS = {"mm": 1.0, "um": 1e-3, "cm": 10.0, "?": 1.0}
_TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


@dataclass(frozen=True)
class _Header:
    """Fields by their names in lower case, and the files that hold the voxels (None: the same file)."""

    path: Path
    fields: dict[str, str]
    files: list[str] | None
    sizes: list[int]

    def text(self, *keys: str) -> str | None:
        """Return the value of a field that has several names, or None if it is missing."""
        found = {value for key in keys if (value := self.fields.get(key.lower())) is not None}
        if len(found) > 1:
            raise damaged(self.path, f"the header contradicts itself about {keys[0]}: {sorted(found)}")
        return found.pop() if found else None

    def truth(self, *keys: str, default: bool) -> bool:
        text = self.text(*keys)
        if text is not None and text.lower() not in _TRUTH:
            raise damaged(self.path, f"{keys[0]} must be True or False, and is {text[:80]!r}")
        return default if text is None else _TRUTH[text.lower()]

    def floats(self, count: int, *keys: str) -> list[float] | None:
        text = self.text(*keys)
        return None if text is None else numbers(self.path, keys[0], text, count)


def read_metaimage(path: Path, *, indexed: bool, max_voxels: int) -> Image:
    """Read a MetaImage of two or three axes, or of three plus a channel axis; see ``formats.Reader``.

    The data of an ``.mhd`` header lies in the same folder; ``max_voxels`` counts all channels.

    Returns
    -------
    Image
        Axes (channels, z, y, x) or (channels, y, x) in the dtype of the file. ``ElementNumberOfChannels`` and
        a fourth axis become the channels.

    Raises
    ------
    DataError
        The file is damaged, not a MetaImage, or of an unsupported kind.
    """
    with path.open("rb") as file:
        header = _read_header(path, file)
        sizes = _sizes(header, max_voxels)
        dtype = _voxel_type(header)
        image = _grid(header)
        content = _read_voxels(header, file, math.prod(sizes) * dtype.itemsize, dtype)
    data = np.frombuffer(content, dtype).astype(dtype.newbyteorder("="), copy=False).reshape(sizes[::-1])
    data = np.moveaxis(data, -1, 0).reshape(-1, *header.sizes[:3][::-1])
    return image.with_data(data)


def metaimage_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of what ``read_metaimage`` would return, without the voxels; see ``Format``."""
    with path.open("rb") as file:
        header = _read_header(path, file)
    sizes, spatial = _sizes(header, MAX_VOXELS), header.sizes[:3]
    return (math.prod(sizes) // math.prod(spatial), *spatial[::-1])


def _sizes(header: _Header, max_voxels: int) -> list[int]:
    """Return the number of values along each axis, that of channels first, after checking them."""
    path = header.path
    channels = integers(path, "ElementNumberOfChannels", header.text("ElementNumberOfChannels") or "1", 1)
    sizes = [*channels, *header.sizes]
    check_sizes(path, sizes, max_voxels)
    if channels[0] > 1 and header.sizes[3:] not in ([], [1]):
        raise not_supported(path, f"the image has {channels[0]} channels and {header.sizes[3]} volumes")
    return sizes


def _read_header(path: Path, file: BinaryIO) -> _Header:
    fields: dict[str, str] = {}
    while "elementdatafile" not in fields:
        line = header_line(path, file)
        key, separator, value = _split(line or "")
        if line is None or not (key or fields):
            raise DataError(
                "the file has no header of a MetaImage that ends in ElementDataFile",
                where=path,
                hint="copy or download the file again; if it is of another format, name it so",
            )
        if not separator:
            continue  # the second line of a comment
        if fields.setdefault(key, value) != value:
            raise damaged(path, f"the header contradicts itself about {key}: {fields[key]!r} and {value!r}")
    if fields.get("objecttype", "Image") != "Image":
        raise not_supported(path, f"the file holds a {fields['objecttype']} and no image")
    (axes,) = integers(path, "NDims", fields.get("ndims", ""), 1)
    if not 2 <= axes <= 4:
        raise not_supported(path, f"the image has {axes} axes")
    sizes = integers(path, "DimSize", fields.get("dimsize", ""), axes)
    return _Header(path, fields, _data_files(path, file, fields["elementdatafile"], sizes), sizes)


def _split(line: str) -> tuple[str, str, str]:
    """Return the key in lower case, the separator after it, and the value."""
    sign = min("=:", key=lambda each: line.find(each) % (len(line) + 1))
    key, separator, value = line.partition(sign)
    return (key.strip().lower() if separator else ""), separator, value.strip()


def _data_files(path: Path, file: BinaryIO, value: str, sizes: list[int]) -> list[str] | None:
    words = value.split()
    if value.lower() == "local":
        return None
    if words and words[0].lower() == "list":
        return listed_files(path, file)
    if "%" in value:
        words += ["1", str(sizes[-1]), "1"][len(words) - 1 :]
        return numbered_files(path, words)
    return [value]


def _voxel_type(header: _Header) -> np.dtype:
    name = (header.text("ElementType") or "").removesuffix("_ARRAY")
    if name not in _TYPES:
        raise not_supported(header.path, f"the voxels are of type {name or 'unknown'}")
    scale = (
        header.floats(1, "ElementToIntensityFunctionSlope"),
        header.floats(1, "ElementToIntensityFunctionOffset"),
    )
    if scale[0] not in (None, [1]) or scale[1] not in (None, [0]):
        raise not_supported(
            header.path,
            f"the voxels are to be scaled by {scale[0]} and {scale[1]}, as some programs do not do",
        )
    is_big = header.truth("BinaryDataByteOrderMSB", "ElementByteOrderMSB", default=False)
    dtype: np.dtype[Any] = np.dtype(_TYPES[name]).newbyteorder(">" if is_big else "<")
    return dtype


def _grid(header: _Header) -> Image:
    """Return an image without voxels, placed where the header says."""
    axes, path = len(header.sizes), header.path
    ndim = min(axes, 3)
    spacing = header.floats(axes, "ElementSpacing") or header.floats(axes, "ElementSize")
    origin = header.floats(axes, "Offset", "Position", "Origin")
    numbers_of_matrix = header.floats(axes * axes, "TransformMatrix", "Rotation", "Orientation")
    unit = _UNITS.get((header.text("DistanceUnits") or "?").lower())
    if unit is None:
        raise not_supported(path, f"lengths are given in {header.text('DistanceUnits')!r}")
    matrix = np.array(numbers_of_matrix or np.eye(axes)).reshape(axes, axes)
    if matrix[3:, :3].any() or matrix[:3, 3:].any():
        raise not_supported(path, "the axis of channels or time has a direction in space")
    # Each row is the direction of one axis, the fastest first.
    direction = np.zeros((ndim, 3))
    direction[:, :ndim] = matrix[:ndim, :ndim]
    place = np.zeros(3)
    place[:ndim] = np.array(origin or np.zeros(axes))[:ndim]
    lengths = [unit * length for length in spacing[:ndim]] if spacing else [1.0] * ndim
    return empty_image(
        path,
        lengths,
        place * unit,
        direction,
        has_spacing=spacing is not None,
        has_orientation=not (origin is None and numbers_of_matrix is None),
        unit=unit,
    )


def _read_voxels(header: _Header, file: BinaryIO, size: int, dtype: np.dtype) -> bytearray:
    (skip,) = integers(header.path, "HeaderSize", header.text("HeaderSize") or "0", 1)
    compressed = header.truth("CompressedData", default=False)
    is_text = not header.truth("BinaryData", default=True)
    if is_text and compressed:
        raise not_supported(header.path, "the voxels are stored as compressed text")
    is_one = header.files is None or len(header.files) == 1
    stored = header.text("CompressedDataSize") if compressed and is_one else None
    after_header = file.tell()

    def unpack(path: Path, data: BinaryIO, wanted: int) -> bytearray:
        file_bytes = os.fstat(data.fileno()).st_size
        if skip == -1 and not (compressed or is_text):
            data.seek(max(file_bytes - wanted, after_header if data is file else 0))
        elif skip < 0 or (data is file and 0 < skip < after_header):
            raise not_supported(header.path, f"HeaderSize is {skip}")
        elif skip > 0:
            data.seek(skip)
        if stored is not None and [file_bytes - data.tell()] != integers(
            path, "CompressedDataSize", stored, 1
        ):
            raise damaged(path, f"{file_bytes - data.tell()} bytes follow the header, which says {stored}")
        if is_text:
            return unpack_text(dtype)(path, data, wanted)
        return unpack_zlib(path, data, wanted) if compressed else read_exactly(path, data, wanted)

    return stored_bytes(header.path, file, header.files, size, unpack)


def encode_metaimage(data: np.ndarray, like: Image, suffix: str) -> bytes | None:
    """Return a MetaImage file, header and compressed voxels in one (``.mhd``, too); see ``Format.encode``.

    It has one channel: nnU-Net would not recognise several. Properties that ``like`` does not know are
    omitted.

    Raises
    ------
    DataError
        A flat image does not lie in the xy plane, the only one that the format supports for flat images.
    """
    dtype = data.dtype.newbyteorder("<")
    name = next((key for key, each in _TYPES.items() if np.dtype(each) == data.dtype), None)
    if len(data) != 1 or name is None:
        return None
    sizes = data.shape[:0:-1]
    ndim = len(sizes)
    unit_name, spacing, direction, origin = placed_in_lps(like, _UNITS)
    fields: dict[str, object] = {"ObjectType": "Image", "NDims": ndim, "BinaryData": True}
    fields |= {"BinaryDataByteOrderMSB": False, "CompressedData": True}
    content = zlib.compress(data.astype(dtype, copy=False).tobytes(), 6)
    fields["CompressedDataSize"] = len(content)
    if like.is_placed:
        if like.has_orientation and (direction[:, ndim:].any() or origin[ndim:].any()):
            raise DataError(
                f"a flat MetaImage has no place in the third dimension, as this image has ({like.origin} mm)",
                where=like.path,
                hint="write it as .nii.gz or .nrrd",
            )
        fields["TransformMatrix"] = _text(direction[:, :ndim].ravel())
        fields["Offset"] = _text(origin[:ndim])
        fields["CenterOfRotation"] = _text(np.zeros(ndim))
    if like.has_spacing:
        fields["ElementSpacing"] = _text(spacing)
        fields["DistanceUnits"] = unit_name
    fields |= {"DimSize": " ".join(map(str, sizes)), "ElementType": name, "ElementDataFile": "LOCAL"}
    return "".join(f"{key} = {value}\n" for key, value in fields.items()).encode("ascii") + content


def _text(values: np.ndarray) -> str:
    """Return numbers with all their digits."""
    return " ".join(repr(value) for value in values.tolist())
