"""The pages of a TIFF file and their tags, read with every claim checked against the file.

Sources: TIFF 6.0 (Adobe, 1992), section 2, and the BigTIFF design (libtiff).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

from swin_umamba.data.picture_checks import damaged
from swin_umamba.errors import DataError

# Far above what images of MAX_VOXELS need, and far below where reading the tags alone takes minutes.
MAX_PAGES = 2**16
MAX_TAGS = 2**21
MAX_PAGES_IN_A_PAGE = 64
MAX_TAGS_OF_A_PAGE = 2**12
# The size of a 16-bit palette; only tables of strips and tiles have more.
MAX_VALUES = 3 * 2**16
# Whole-slide scanners write megabytes of text.
MAX_TEXT = 2**26

_HAMAMATSU = 65420
_TEXT, _LONG, _UNDEFINED = 2, 4, 7
_RATIONALS = {5: "u4", 10: "i4"}
_NUMBERS = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 11: "f4", 12: "f8", 13: "u4"} | {
    16: "u8",
    17: "i8",
    18: "u8",
}
_SIZES = {_TEXT: 1, _UNDEFINED: 1, **dict.fromkeys(_RATIONALS, 8)} | {
    kind: np.dtype(name).itemsize for kind, name in _NUMBERS.items()
}


class UnsupportedTiffError(DataError):
    """Something valid in a TIFF file that this package does not read."""


class _Entry(NamedTuple):
    """One tag: the type and number of its values, where they lie in the file, and the upper half of one."""

    kind: int
    values: int
    offset: int
    upper: int = 0


@dataclass(frozen=True)
class Page:
    """One image file directory (IFD).

    Attributes
    ----------
    path, file
        The file and its open handle.
    number
        Position in the chain of pages, from 0.
    order
        Byte order of the file for NumPy and struct: ``<`` or ``>``.
    entries
        Entries of each tag; a tag may occur more than once.
    """

    path: Path
    file: BinaryIO
    number: int
    order: Literal["<", ">"]
    entries: Mapping[int, list[_Entry]]

    def __contains__(self, tag: int) -> bool:
        return tag in self.entries

    def array(self, tag: int, most: int = MAX_VALUES) -> np.ndarray:
        """Return the values of a tag as numbers, rationals as fractions in float64; empty if it is missing.

        Raises
        ------
        DataError
            The values lie outside the file, are not numbers, or number more than ``most``.
        """
        if tag not in self.entries:
            return np.zeros(0, np.int64)
        entry = self.entries[tag][0]
        if entry.values > most:
            raise self.damaged(f"tag {tag} has {entry.values} values, at most {most} make sense")
        stored = self._stored(tag, entry)
        if entry.kind in _RATIONALS:
            pairs = np.frombuffer(stored, self.order + _RATIONALS[entry.kind]).reshape(-1, 2).astype(float)
            with np.errstate(divide="ignore", invalid="ignore"):
                quotients: np.ndarray = pairs[:, 0] / pairs[:, 1]
                return quotients
        if entry.kind not in _NUMBERS:
            raise self.damaged(f"tag {tag} holds no numbers")
        values = np.frombuffer(stored, self.order + _NUMBERS[entry.kind])
        values = values.astype(values.dtype.newbyteorder("="))
        return values.astype(np.int64) | entry.upper << 32 if entry.upper else values

    def number_of(self, tag: int, default: int) -> int:
        """Return the one whole number in a tag (the first of several), or the default."""
        values = self.array(tag)
        if not len(values):
            return default
        if values.dtype.kind == "f":
            raise self.damaged(f"tag {tag} holds no whole number")
        return int(values[0])

    def texts(self, tag: int) -> list[str]:
        """Return the texts of a tag, one for each occurrence."""
        found = [entry for entry in self.entries.get(tag, []) if entry.kind in (1, _TEXT, _UNDEFINED)]
        if any(entry.values > MAX_TEXT for entry in found):
            raise self.damaged(f"tag {tag} holds a text of more than {MAX_TEXT} bytes")
        stored = [self._stored(tag, entry).rstrip(b"\0") for entry in found]
        try:
            return [text.decode("utf-8") for text in stored]
        except UnicodeDecodeError:
            return [text.decode("latin-1") for text in stored]

    def content(self, tag: int) -> bytes:
        """Return the bytes of a tag, such as the tables of JPEG; empty if it is missing."""
        if tag not in self.entries:
            return b""
        entry = self.entries[tag][0]
        if entry.values > MAX_TEXT or _SIZES[entry.kind] != 1:
            raise self.damaged(f"tag {tag} holds no bytes")
        return self._stored(tag, entry)

    def damaged(self, what: str) -> DataError:
        """Return the error for a claim that cannot be true."""
        return damaged(self.path, f"page {self.number + 1} of the TIFF file is damaged: {what}")

    def unsupported(self, what: str, hint: str) -> DataError:
        """Return the error for something valid in a TIFF file that this package does not read."""
        return UnsupportedTiffError(f"TIFF {what} not supported", where=self.path, hint=hint)

    def _stored(self, tag: int, entry: _Entry) -> bytes:
        self.file.seek(entry.offset)
        # The chain was checked: the values lie inside the file, so this asks for no more than it holds.
        stored = self.file.read(entry.values * _SIZES[entry.kind])
        if len(stored) != entry.values * _SIZES[entry.kind]:
            raise self.damaged(f"the values of tag {tag} are cut off")
        return stored


def read_pages(path: Path, file: BinaryIO) -> list[Page]:
    """Return the pages of a file in chain order, without reading any pixel or tag value.

    Raises
    ------
    DataError
        The file is not a TIFF file, its chain of pages is broken or circular, or tags lie outside it.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(16)
    orders: dict[bytes, Literal["<", ">"]] = {b"II": "<", b"MM": ">"}
    order = orders.get(head[:2])
    version = int.from_bytes(head[2:4], "little" if order == "<" else "big")
    if order is None or version not in (42, 43):
        raise DataError(
            "this is not a TIFF file, whatever its name says",
            where=path,
            hint="give the file the ending of its format, or convert it to TIFF",
        )
    big = version == 43
    if len(head) < (16 if big else 8):
        raise damaged(path, "the TIFF file is damaged: it ends within its first bytes")
    if big and struct.unpack_from(order + "HH", head, 4) != (8, 0):
        raise damaged(path, "the first bytes of the BigTIFF file are damaged")
    offset = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]
    if not big and path.suffix.lower() == ".ndpi" and len(head) >= 12:
        whole = struct.unpack_from(order + "Q", head, 4)[0]  # as all offsets of Hamamatsu's are
        offset = whole if whole < size else offset
    pages: list[Page] = []
    visited: set[int] = set()
    tags = 0
    while offset:
        what = _refusal(offset, size, visited, tags)
        if what:
            raise damaged(path, f"the TIFF file is damaged: after page {len(pages)} {what}")
        visited.add(offset)
        page, count, offset = _read_directory(path, file, len(pages), order, big, offset, size)
        tags += count
        pages.append(page)
    if not pages:
        raise damaged(path, "the TIFF file is damaged: it has no pages")
    return pages


def read_subpages(page: Page) -> list[Page]:
    """Return the pages within a page (tag 330), such as smaller levels, in their order.

    Raises
    ------
    DataError
        One of them lies outside of the file, or their tags do.
    """
    path, file = page.path, page.file
    size, offsets = file.seek(0, 2), page.array(330, MAX_PAGES_IN_A_PAGE).tolist()
    file.seek(0)
    big = int.from_bytes(file.read(4)[2:], "little" if page.order == "<" else "big") == 43
    found = []
    for offset in offsets:
        if not isinstance(offset, int) or offset < 8 or offset + 2 > size:
            raise page.damaged(f"a smaller level lies at byte {offset} of {size}")
        found.append(_read_directory(path, file, page.number, page.order, big, offset, size)[0])
    return found


def _refusal(offset: int, size: int, visited: set[int], tags: int) -> str:
    """Return why the next page cannot be read; empty if it can."""
    if offset in visited:
        return "the chain of pages runs in a circle"
    if offset + 2 > size:
        return f"the chain of pages leads to byte {offset} of {size}"
    if len(visited) >= MAX_PAGES or tags > MAX_TAGS:
        return f"there are still more pages; more than {MAX_PAGES} are not read"
    return ""


def _read_directory(
    path: Path, file: BinaryIO, number: int, order: Literal["<", ">"], big: bool, offset: int, size: int
) -> tuple[Page, int, int]:
    """Return the page whose directory is at ``offset``, the number of its tags, and the next offset."""
    page = Page(path, file, number, order, {})
    # A value that fits into the space of its offset is stored there.
    count_format, entry_format, offset_format, width, room = (
        ("Q", "HHQQ", "Q", 20, 8) if big else ("H", "HHII", "I", 12, 4)
    )
    file.seek(offset)
    head = file.read(struct.calcsize(order + count_format))
    if len(head) < struct.calcsize(order + count_format):
        raise page.damaged("its list of tags is cut off")
    count = struct.unpack(order + count_format, head)[0]
    if not 0 < count <= MAX_TAGS_OF_A_PAGE:
        raise page.damaged(f"it claims {count} tags")
    listed = file.read(count * width + room)
    if len(listed) < count * width + room:
        raise page.damaged("its list of tags is cut off")
    following = struct.unpack_from(order + offset_format, listed, count * width)[0]
    entries: dict[int, list[_Entry]] = {}
    place = offset + len(head) + width - room
    numbers = list(struct.iter_unpack(order + entry_format, listed[: count * width]))
    high = [0] * count
    if path.suffix.lower() == ".ndpi" and not big and any(tag == _HAMAMATSU for tag, *_ in numbers):
        # Offsets have the upper half of 64 bits: that of the next page, then that of each tag.
        more = file.read(4 + 4 * count)
        if len(more) != 4 + 4 * count:
            raise page.damaged("its list of tags is cut off")
        upper, *high = struct.unpack(f"{order}{1 + count}I", more)
        following |= upper << 32
    for (tag, kind, values, where), upper in zip(numbers, high, strict=True):
        length = values * _SIZES.get(kind, 0)  # readers must skip unknown types
        start = where | upper << 32 if length > room else place
        place += width
        if start + length > size:
            raise page.damaged(f"the {values} values of tag {tag} lie outside the file")
        if length:
            alone = kind == _LONG and values == 1
            entries.setdefault(tag, []).append(_Entry(kind, values, start, upper if alone else 0))
    return Page(path, file, number, order, entries), count, following
