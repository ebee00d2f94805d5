"""Arrays of Zarr, format 2 and 3, opened only after their metadata has been checked.

The zarr library decodes them. What it would follow or believe without asking is settled here first: which
files are read, how they are encoded, and how large they become.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from swin_umamba.errors import DataError
from swin_umamba.extras import extra_module
from swin_umamba.json_files import read_json
from swin_umamba.regions.source import MAX_LENGTH, check_chunk

COMPRESSORS = ("blosc", "gzip", "lz4", "zlib", "zstd")
MOST_CHUNKS_OF_A_SHARD = 2**20
_DAMAGED = "copy or download the folder again; it is damaged"
_TYPES = {f"{kind}{size}" for kind in ("int", "uint") for size in (8, 16, 32, 64)} | {
    f"float{size}" for size in (16, 32, 64)
}


def zarr_library() -> Any:
    """Import the zarr library; raise ``UsageError`` if it is not installed."""
    old = " on Python 3.11 or newer" if sys.version_info < (3, 11) else ""
    otherwise = f"{old}, or convert the image to OME-TIFF"
    return extra_module("zarr", "OME-Zarr needs the zarr library", "zarr", otherwise=otherwise)


@dataclass(frozen=True)
class ArrayFile:
    """What the metadata of an array says.

    Attributes
    ----------
    root
        Folder that nothing is read outside of.
    key
        Path of the array in it.
    version
        Format of Zarr.
    shape, dtype
        Of the array.
    chunk
        What is decoded at once.
    compressor
        One of ``COMPRESSORS``; None if the values are not compressed.
    checksum
        Whether four bytes of a checksum follow each chunk.
    index_bytes
        Bytes of the table in front of or behind the chunks of a shard; 0 without shards.
    index_first
        Whether it stands in front of them.
    """

    root: Path
    key: str
    version: Literal[2, 3]
    shape: tuple[int, ...]
    dtype: np.dtype
    chunk: tuple[int, ...]
    compressor: str | None = None
    checksum: bool = False
    index_bytes: int = 0
    index_first: bool = False

    @property
    def path(self) -> Path:
        """Folder of the array."""
        return self.root / self.key

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk, decoded."""
        return math.prod(self.chunk) * self.dtype.itemsize

    @property
    def most_stored(self) -> int:
        """Most bytes of a chunk's file or part of a shard: what does not become smaller, and its headers."""
        return self.chunk_bytes + self.chunk_bytes // 8 + 2**16


def read_metadata(folder: Path, name: str) -> dict[str, Any]:
    """Return a metadata file of Zarr; empty if it is not there."""
    file = folder / name
    if not file.exists():
        return {}
    return read_json(file, dict, hint=_DAMAGED, nan=True)


def describe_array(root: Path, key: str, version: Literal[2, 3]) -> ArrayFile:
    """Return what the metadata of an array says.

    Parameters
    ----------
    root
        Folder of the image.
    key
        Path of the array in it, as the image's metadata names it.
    version
        Format of Zarr.

    Raises
    ------
    DataError
        The array is not there, lies outside of the folder, or is of a kind that is not read.
    """
    parts = key.split("/")
    inside = (root / key).resolve().is_relative_to(root.resolve())
    if not key or "\\" in key or any(part in ("", ".", "..") for part in parts) or not inside:
        raise DataError(
            f"the image names an array outside of its own folder: {key[:200]!r}",
            where=root,
            hint="copy the array into the folder, and name it there",
        )
    folder = root / key
    name = "zarr.json" if version == 3 else ".zarray"
    found = read_metadata(folder, name)
    if not found:
        raise DataError(f"an array of the image is missing: it has no {name}", where=folder, hint=_DAMAGED)
    array = (_describe_3 if version == 3 else _describe_2)(root, key, found)
    check_chunk(folder, array.chunk, array.dtype.itemsize)
    return array


def _describe_2(root: Path, key: str, found: Mapping[str, Any]) -> ArrayFile:
    folder = root / key
    shape, chunk = (_lengths(folder, found.get(name), name) for name in ("shape", "chunks"))
    try:
        dtype = np.dtype(found["dtype"] if isinstance(found.get("dtype"), str) else "O")
    except (TypeError, ValueError):
        dtype = np.dtype("O")
    compressor = found.get("compressor")
    kind = None if compressor is None else str(_configuration(compressor).get("id"))
    if found.get("filters"):
        raise _unsupported(folder, f"filters {str(found['filters'])[:100]}")
    _check_kind(folder, dtype.name, kind)
    _check_ranks(folder, shape, chunk)
    return ArrayFile(root, key, 2, shape, dtype.newbyteorder("="), chunk, kind)


def _describe_3(root: Path, key: str, found: Mapping[str, Any]) -> ArrayFile:
    folder = root / key
    shape = _lengths(folder, found.get("shape"), "shape")
    grid = _configuration(found.get("chunk_grid"))
    if (
        found.get("node_type") != "array"
        or grid.get("name") != "regular"
        or found.get("storage_transformers")
    ):
        raise _unsupported(folder, "chunks that form no regular grid")
    shard = _lengths(folder, _configuration(grid.get("configuration")).get("chunk_shape"), "chunk_shape")
    codecs, chunk, index_bytes, index_first = found.get("codecs"), shard, 0, False
    first = _configuration(codecs[0]) if isinstance(codecs, list) and len(codecs) == 1 else {}
    if first.get("name") == "sharding_indexed":
        inside = _configuration(first.get("configuration"))
        chunk = _lengths(folder, inside.get("chunk_shape"), "chunk_shape of shards")
        _check_ranks(folder, shard, chunk)
        if any(whole % part for whole, part in zip(shard, chunk, strict=True)):
            raise _unsupported(folder, f"shards of {shard} that hold no whole chunks of {chunk}")
        number = math.prod(whole // part for whole, part in zip(shard, chunk, strict=True))
        if number > MOST_CHUNKS_OF_A_SHARD:
            raise _unsupported(folder, f"shards of {number} chunks")
        checks = [_configuration(each).get("name") for each in _list(inside.get("index_codecs"))]
        if checks not in (["bytes"], ["bytes", "crc32c"]):
            raise _unsupported(folder, f"shards whose index is encoded by {checks}"[:200])
        index_bytes = 16 * number + 4 * (len(checks) - 1)
        index_first = inside.get("index_location", "end") == "start"
        codecs = inside.get("codecs")
    kind, checksum = _compressor_3(folder, _list(codecs))
    data_type = found.get("data_type")
    _check_kind(folder, data_type if isinstance(data_type, str) else str(data_type)[:100], kind)
    _check_ranks(folder, shape, chunk)
    dtype = np.dtype(str(data_type))
    return ArrayFile(root, key, 3, shape, dtype, chunk, kind, checksum, index_bytes, index_first)


def _compressor_3(folder: Path, codecs: list[Any]) -> tuple[str | None, bool]:
    """Return the compressor of a chain of codecs, and whether a checksum is at its end."""
    names = [str(_configuration(each).get("name")) for each in codecs]
    rest = names[1:] if names[:1] == ["transpose"] else names
    if rest[:1] != ["bytes"]:
        raise _unsupported(folder, f"chunks encoded by {names}"[:200])
    rest = rest[1:]
    checksum = rest[-1:] == ["crc32c"]
    rest = rest[:-1] if checksum else rest
    if len(rest) > 1:
        raise _unsupported(folder, f"chunks encoded by {names}"[:200])
    return (rest[0] if rest else None), checksum


def _check_kind(folder: Path, dtype: str, compressor: str | None) -> None:
    if dtype not in _TYPES:
        raise _unsupported(folder, f"values of type {dtype}")
    if compressor is not None and compressor not in COMPRESSORS:
        raise _unsupported(folder, f"chunks compressed by {compressor[:100]}")


def _check_ranks(folder: Path, shape: tuple[int, ...], chunk: tuple[int, ...]) -> None:
    if len(shape) != len(chunk):
        raise _wrong(folder, f"its shape is {shape}, its chunks are {chunk}")


def _lengths(folder: Path, value: Any, name: str) -> tuple[int, ...]:
    if (
        not isinstance(value, list)
        or not 0 < len(value) <= 5
        or not all(type(length) is int and 0 < length <= MAX_LENGTH for length in value)
    ):
        raise _wrong(folder, f"its {name} is {str(value)[:100]}")
    return tuple(value)


def _configuration(value: Any) -> Mapping[str, Any]:
    """Return an object of the metadata; a name alone stands for one without parameters."""
    if isinstance(value, str):
        return {"name": value, "id": value}
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _wrong(folder: Path, what: str) -> DataError:
    return DataError(f"the metadata of the array make no sense: {what}", where=folder, hint=_DAMAGED)


def _unsupported(folder: Path, what: str) -> DataError:
    return DataError(
        f"Zarr arrays with {what} are not supported",
        where=folder,
        hint=f"write it again with numbers as values, compressed by one of {', '.join(COMPRESSORS)}",
    )
