"""The files of a Zarr array as the zarr library gets them: inside of the folder, no larger than they claim.

Compressed chunks are believed by their decoders: a few bytes can name gigabytes. The size that each of them
names, or reaches, is compared with that of a chunk before it is decoded.
"""

from __future__ import annotations

import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

from swin_umamba.errors import DataError
from swin_umamba.json_files import LARGEST_JSON
from swin_umamba.opening import open_to_read
from swin_umamba.regions.zarr_arrays import ArrayFile

_ZSTD, _ZSTD_SIZES = b"\x28\xb5\x2f\xfd", {0: 0, 1: 2, 2: 4, 3: 8}
_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
_NOTHING = 2**64 - 1
_DAMAGED = "copy or download the folder again; it is damaged"


def guarded_store(array: ArrayFile) -> Any:
    """Return a store of the zarr library for one array; ``missing`` tells that a chunk was not there."""
    return _store_class()(array)


@cache
def _store_class() -> Any:
    from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import LocalStore

    class GuardedStore(LocalStore):
        """A folder that is only read, and only what is checked."""

        def __init__(self, array: ArrayFile) -> None:
            super().__init__(array.root, read_only=True)
            self.array, self.missing = array, False

        def with_read_only(self, read_only: bool = False) -> GuardedStore:
            if not read_only:
                raise ValueError("it is only read")
            return GuardedStore(self.array)

        def get_sync(self, key: str, *, prototype: Any = None, byte_range: Any = None) -> Any:
            content = self._content(key, byte_range)
            if content is None:
                return None
            return (prototype or default_buffer_prototype()).buffer.from_bytes(content)

        async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
            return self.get_sync(key, prototype=prototype, byte_range=byte_range)

        async def get_partial_values(self, prototype: Any, key_ranges: Any) -> list[Any]:
            return [
                self.get_sync(key, prototype=prototype, byte_range=byte_range)
                for key, byte_range in key_ranges
            ]

        def _content(self, key: str, request: Any) -> bytes | None:
            part: tuple[int | None, int | None] | None = None
            if isinstance(request, RangeByteRequest):
                part = request.start, request.end
            elif isinstance(request, OffsetByteRequest):
                part = request.offset, None
            elif isinstance(request, SuffixByteRequest):
                part = None, request.suffix
            content = read_stored(self.array, key, part)
            if content is None and key.rpartition("/")[2] not in _METADATA:
                self.missing = True
            return content

    return GuardedStore


def read_stored(array: ArrayFile, key: str, part: tuple[int | None, int | None] | None) -> bytes | None:
    """Return a file of an array, or a part of it; None if there is none.

    Parameters
    ----------
    array
        The array.
    key
        Path of the file in the root folder.
    part
        First byte and the one after the last; (None, n) for the last n; None for the whole file.

    Raises
    ------
    DataError
        The file is a link that leads out of the folder, a pipe or a device, or would become larger than its
        chunks are.
    """
    path = array.root / key
    if not path.resolve().is_relative_to(array.root.resolve()):
        raise DataError(
            "a file of the image is a link that leads out of its folder",
            where=path,
            hint="copy the file into the folder",
        )
    is_metadata = path.name in _METADATA
    try:
        with open_to_read(path) as file:
            size = file.seek(0, 2)
            start, stop = _part(part, size)
            if is_metadata:
                most = LARGEST_JSON
            elif part is None and array.index_bytes:
                most = array.index_bytes + array.most_stored * (array.index_bytes // 16)
            else:
                most = max(array.most_stored, array.index_bytes)
            if not 0 <= start <= stop <= size or stop - start > most:
                raise _damaged(path, f"bytes {start} to {stop} of {size} are asked for, at most {most}")
            file.seek(start)
            content = file.read(stop - start)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise DataError(
            f"a chunk cannot be read: {error.strerror or error}", where=path, hint="check its permissions"
        ) from error
    if is_metadata:
        return content
    if not content:  # the library would take it for a chunk that is not there
        raise _damaged(path, "it is empty")
    is_index = array.index_first and (start, stop) == (0, array.index_bytes)
    if array.index_bytes and part is None:
        _check_shard(array, path, content)
    elif not (array.index_bytes and (part is None or None in part or is_index)):
        check_chunk_content(array, path, content)
    return content


def check_chunk_content(array: ArrayFile, path: Path, content: bytes) -> None:
    """Refuse a compressed chunk that names, or becomes, more bytes than a chunk has."""
    limit, stored = array.chunk_bytes, content[:-4] if array.checksum else content
    try:
        size = decoded_size(array.compressor, stored, limit)
    except (struct.error, zlib.error, ValueError, RuntimeError) as error:
        raise _damaged(path, f"it cannot be decompressed: {error}") from error
    if size > limit:
        raise _damaged(path, f"it would become {size} bytes or more; a chunk has {limit}")


def decoded_size(compressor: str | None, stored: bytes, limit: int) -> int:
    """Return how many bytes a compressed chunk becomes, without decoding more than ``limit`` and one."""
    if compressor is None:
        return len(stored)
    if compressor == "blosc":
        return int(struct.unpack_from("<I", stored, 4)[0])
    if compressor == "lz4":
        return int(struct.unpack_from("<I", stored, 0)[0])
    if compressor == "zstd":
        size = _zstd_size(stored)
        if size is None:
            import imagecodecs

            # It raises where more bytes than these come out.
            size = len(imagecodecs.zstd_decode(stored, out=limit))
        return size
    return _deflated_size(stored, limit)


def _zstd_size(stored: bytes) -> int | None:
    """Return the size that the header of a Zstandard frame names (RFC 8878, 3.1.1.1), if it names one."""
    if stored[:4] != _ZSTD:
        raise ValueError("it is no Zstandard frame")
    described = stored[4]
    flag, single = described >> 6, described >> 5 & 1
    width = _ZSTD_SIZES[flag] or single
    if not width:
        return None
    place = 5 + (1 - single) + (0, 1, 2, 4)[described & 3]
    named = stored[place : place + width]
    if len(named) != width:
        raise ValueError("it is cut off")
    return int.from_bytes(named, "little") + (256 if width == 2 else 0)


def _deflated_size(stored: bytes, limit: int) -> int:
    """Return how many bytes gzip or zlib become: all members, without keeping them."""
    size = 0
    while stored and size <= limit:
        stream = zlib.decompressobj(wbits=47)
        while not stream.eof and size <= limit:
            block = stream.decompress(stored, 2**20)
            stored = stream.unconsumed_tail
            size += len(block)
            if not block and not stored and not stream.eof:
                raise ValueError("it is cut off")
        stored = stream.unused_data
    return size


def _check_shard(array: ArrayFile, path: Path, content: bytes) -> None:
    """Check each chunk of a shard that is read whole."""
    index = content[: array.index_bytes] if array.index_first else content[-array.index_bytes :]
    if len(index) != array.index_bytes:
        raise _damaged(path, "its index is cut off")
    for start, length in struct.iter_unpack("<QQ", index[: array.index_bytes // 16 * 16]):
        if start == _NOTHING == length:
            continue
        if start + length > len(content) or length > array.most_stored:
            raise _damaged(path, f"a chunk lies at bytes {start} to {start + length} of {len(content)}")
        check_chunk_content(array, path, content[start : start + length])


def _part(part: tuple[int | None, int | None] | None, size: int) -> tuple[int, int]:
    first, last = part or (0, None)
    if first is None:
        return max(0, size - (last or 0)), size
    return first, size if last is None else last


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"a chunk of the image is damaged: {what}", where=path, hint=_DAMAGED)
