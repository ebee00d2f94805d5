"""What MetaImage and NRRD share: a text header, and voxels after it or in separate files."""

from __future__ import annotations

import bz2
import gzip
import io
import math
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np

from swin_umamba.data.image import DEFLATE_MAX_RATIO, Image
from swin_umamba.data.nifti_geometry import check_angles
from swin_umamba.data.picture_checks import damaged
from swin_umamba.errors import DataError

CHUNK_BYTES = 4 * 2**20
# Segmentations with hundreds of segments and diffusion series with thousands of gradients are far smaller.
MAX_HEADER_BYTES = 2**24
MAX_FILES = 2**16
# If lengths in a header contradict each other by more than rounding, they cannot be trusted.
_UNIT_TOLERANCE = 1e-3
# Longest number as text, including the following space: "-2.2250738585072014e-308, ".
_TEXT_BYTES = 32

# Signs of NIfTI's world (to the right, anterior, superior) in ITK's (to the left, posterior, superior).
LPS = (-1.0, -1.0, 1.0)

_Number = TypeVar("_Number", int, float)
Unpack = Callable[[Path, BinaryIO, int], bytearray]
"""Takes a path for messages, a file at the first stored byte, and the number of bytes to return."""


class Stream(Protocol):
    """Anything that bytes can be read from."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, none at the end."""


def not_supported(path: Path, what: str) -> DataError:
    """Return the error for a file that may be valid but is of an unsupported kind."""
    return DataError(f"{what}, which is not supported", where=path, hint="convert the image to .nii.gz")


def header_line(path: Path, file: BinaryIO) -> str | None:
    """Return the next line of a header without its line ending, None at the end of the file.

    Raises
    ------
    DataError
        The header is longer than any that was written on purpose.
    """
    line = file.readline(MAX_HEADER_BYTES)
    if file.tell() > MAX_HEADER_BYTES:
        raise damaged(path, f"the header does not end within {MAX_HEADER_BYTES} bytes")
    return line.decode("utf-8", "replace").rstrip("\r\n") if line else None


def numbers(path: Path, key: str, text: str, count: int) -> list[float]:
    """Return the finite numbers in a header field, which must number ``count``."""
    values = _parsed(text.split(), float)
    if len(values) != count or not all(map(math.isfinite, values)):
        raise damaged(path, f"{key} must be {count} numbers, and is {text[:80]!r}")
    return values


def integers(path: Path, key: str, text: str, count: int) -> list[int]:
    """Return the integers in a header field, which must number ``count``."""
    values = _parsed(text.split(), int)
    if len(values) != count:
        raise damaged(path, f"{key} must be {count} whole numbers, and is {text[:80]!r}")
    return values


def _parsed(words: Sequence[str], kind: Callable[[str], _Number]) -> list[_Number]:
    try:
        return [kind(word) for word in words if "_" not in word]  # Python's own 1_000
    except ValueError:
        return []


def check_sizes(path: Path, sizes: Sequence[int], max_voxels: int) -> None:
    """Refuse axes without length, and more values than may be read."""
    if min(sizes) < 1:
        raise damaged(path, f"the header holds the impossible size {tuple(sizes)}")
    if math.prod(sizes) > max_voxels:
        raise DataError(
            f"the header describes {math.prod(sizes)} values; the limit is {max_voxels}",
            where=path,
            hint="crop or resample the image; if it is not that large, the file is damaged",
        )


def empty_image(
    path: Path,
    spacing: Sequence[float],
    origin: np.ndarray,
    axes: np.ndarray,
    signs: Sequence[float] = LPS,
    **known: Any,
) -> Image:
    """Return an image without voxels where a header says, in mm and with the fastest axis first.

    ``signs`` turn the header's world into NIfTI's. Refuses a spacing that is not positive, and axes ``(axes,
    3)`` that are not unit vectors at right angles.
    """
    if not all(math.isfinite(each) and each > 0 for each in spacing):
        raise DataError(
            f"the spacing must be positive, and is {tuple(spacing)}", where=path, hint="correct the header"
        )
    lengths = np.linalg.norm(axes, axis=1)
    if not np.allclose(lengths, 1, rtol=0, atol=_UNIT_TOLERANCE):
        raise DataError(
            f"the directions of the axes have the lengths {tuple(lengths.round(6).tolist())} and not 1",
            where=path,
            hint="correct the header",
        )
    check_angles(path, axes.T)
    return Image(
        data=np.empty(0),
        spacing=tuple(spacing[::-1]),
        origin=tuple((origin * signs + 0.0).tolist()),
        direction=tuple(tuple(axis) for axis in (axes * signs + 0.0)[::-1].tolist()),
        path=path,
        **known,
    )


def placed_in_lps(image: Image, units: Mapping[str, float]) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """Return the name of an image's unit, and its spacing, directions and origin in it, in ITK's world."""
    name, unit = next((each for each in units.items() if each[1] == image.unit), ("mm", 1.0))
    spacing, direction = np.array(image.spacing)[::-1] / unit, np.array(image.direction)[::-1] * LPS + 0.0
    return name, spacing, direction, np.array(image.origin) / unit * LPS + 0.0


@contextmanager
def open_beside(header: Path, name: str) -> Iterator[BinaryIO]:
    """Open the file that contains the voxels according to a header.

    Only a regular file in the header's folder is opened, and no link that leads out of it: a header must not
    reveal to its reader what else is on the disk.

    Raises
    ------
    DataError
        It is elsewhere, missing, or not a regular file.
    """
    if name in ("", ".", "..") or "\0" in name or "\\" in name or Path(name).name != name:
        raise DataError(
            f"the header says that its voxels are in {name!r}, and only files in its own folder are read",
            where=header,
            hint="put the data into the folder of the header, and name it there without a folder",
        )
    folder = header.parent.resolve()
    path = (folder / name).resolve()
    if path.parent != folder:
        raise DataError(
            f"the voxels of this header are in {name!r}, a link that leads out of its folder",
            where=header,
            hint="put the data itself into the folder of the header",
        )
    # Without O_NONBLOCK, opening a pipe blocks until another process writes to it.
    flags = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError as error:
        raise DataError(
            f"the file with the voxels, {name}, is missing",
            where=header,
            hint="copy it into the folder of the header",
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DataError(
                f"{name}, which should hold the voxels, is not a file", where=header, hint="check the header"
            )
        yield file


def numbered_files(path: Path, words: Sequence[str]) -> list[str]:
    """Return the names denoted by a pattern such as ``slice_%03d.raw 1 20 1``."""
    pattern, first, last, step = words[0], *integers(path, "the pattern of files", " ".join(words[1:]), 3)
    before, percent, rest = pattern.partition("%")
    width, letter, after = rest.partition("d")
    valid = percent and letter and "%" not in after and (width == "" or width.isdecimal()) and step
    found = range(first, last + (1 if step > 0 else -1), step) if valid else range(0)
    if not 1 <= len(found) <= MAX_FILES or min(found) < 0 or int(width or 0) > 20:
        raise not_supported(path, f"the voxels are in files named by the pattern {' '.join(words)!r}")
    return [f"{before}{number:{width}d}{after}" for number in found]


def listed_files(path: Path, file: BinaryIO) -> list[str]:
    """Return the names in the lines that follow, up to an empty line or the end of the file."""
    names: list[str] = []
    while name := (header_line(path, file) or "").strip():
        names.append(name)
        if len(names) > MAX_FILES:
            raise not_supported(path, f"the voxels are in more than {MAX_FILES} files")
    if not names:
        raise damaged(path, "the header announces a list of files, and there is none")
    return names


def stored_bytes(
    header: Path, attached: BinaryIO, names: Sequence[str] | None, size: int, unpack: Unpack
) -> bytearray:
    """Return ``size`` bytes of voxels, from after the header or in equal parts from separate files."""
    if names is None:
        return unpack(header, attached, size)
    if size % len(names):
        raise damaged(header, f"{size} bytes of voxels cannot lie in {len(names)} files of one size")
    content = bytearray()
    for name in names:
        with open_beside(header, name) as file:
            content += unpack(header.parent / name, file, size // len(names))
    return content


def read_exactly(path: Path, stream: Stream, size: int, skip: int = 0) -> bytearray:
    """Return ``size`` bytes, after which the stream must end; that is where gzip verifies its checksum.

    Memory grows as bytes arrive, not as they are promised. The first ``skip`` bytes are discarded; -1 means
    as many as there are, up to the longest header.
    """
    first = skip if skip >= 0 else MAX_HEADER_BYTES
    content = bytearray()
    while len(content) < size + first:
        chunk = stream.read(min(CHUNK_BYTES, size + first - len(content)))
        if not chunk:
            break
        content += chunk
    if len(content) < (wanted := size + max(skip, 0)):
        raise damaged(path, f"the file holds {len(content)} bytes of data and should hold {wanted}")
    if stream.read(1):
        raise damaged(path, "the file holds more data than its header describes")
    del content[: len(content) - size]
    return content


def unpack_zlib(path: Path, file: BinaryIO, size: int) -> bytearray:
    """Return bytes that were compressed with zlib (or gzip); their checksum is verified."""
    _check_deflated(path, file, size)
    return _decompressed(path, _ZlibStream(file), size)


def unpack_gzip(path: Path, file: BinaryIO, size: int, skip: int = 0) -> bytearray:
    """Return bytes that were compressed with gzip; their checksum is verified."""
    _check_deflated(path, file, size)
    return _decompressed(path, gzip.GzipFile(fileobj=file), size, skip)


def unpack_bzip2(path: Path, file: BinaryIO, size: int, skip: int = 0) -> bytearray:
    """Return bytes that were compressed with bzip2; their checksum is verified."""
    return _decompressed(path, bz2.BZ2File(file), size, skip)


def unpack_hex(path: Path, file: BinaryIO, size: int) -> bytearray:
    """Return bytes that are stored as two hexadecimal digits each."""
    try:
        content = bytes.fromhex(_read_text(path, file, size, per_value=4))
    except ValueError as error:
        raise damaged(path, f"the voxels are not hexadecimal digits: {error}") from error
    return read_exactly(path, io.BytesIO(content), size)


def unpack_text(dtype: np.dtype) -> Unpack:
    """Return a function that reads numbers of ``dtype`` stored as text."""

    def unpack(path: Path, file: BinaryIO, size: int) -> bytearray:
        count = size // dtype.itemsize
        words = _read_text(path, file, count, per_value=_TEXT_BYTES).replace(",", " ").split()
        if len(words) != count:
            raise damaged(path, f"the file holds {len(words)} numbers and should hold {count}")
        kind: type = float if dtype.kind == "f" else int
        values = _parsed(words, kind)
        limits = None if kind is float else np.iinfo(dtype)
        if len(values) != count or (limits and not limits.min <= min(values) <= max(values) <= limits.max):
            raise damaged(path, f"the voxels are not numbers of type {dtype.name}")
        return bytearray(np.array(values, dtype).tobytes())

    return unpack


def _read_text(path: Path, file: BinaryIO, count: int, per_value: int) -> str:
    left = _bytes_left(file)
    if left > count * per_value + CHUNK_BYTES:
        raise damaged(path, f"the file holds more text than {count} numbers need")
    return file.read(left).decode("latin-1")


def _bytes_left(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size - file.tell()


def _check_deflated(path: Path, file: BinaryIO, size: int) -> None:
    left = _bytes_left(file)
    if left * DEFLATE_MAX_RATIO < size:
        raise damaged(path, f"{left} compressed bytes cannot hold the {size} that the header describes")


def _decompressed(path: Path, stream: Stream, size: int, skip: int = 0) -> bytearray:
    try:
        return read_exactly(path, stream, size, skip)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, f"the compressed voxels are damaged: {error}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise damaged(path, f"the compressed voxels are damaged: {error}") from error


class _ZlibStream:
    """Contents of a zlib stream; bytes after its end count as part of them."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def read(self, size: int) -> bytes:
        while not self.inflater.eof:
            block = self.inflater.unconsumed_tail or self.file.read(2**16)
            if not block:
                raise EOFError("they end too early")
            if data := self.inflater.decompress(block, size):
                return data
        return self.inflater.unused_data or self.file.read(size)
