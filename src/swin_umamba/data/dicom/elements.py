"""The elements of a DICOM file, parsed by pydicom and checked on access."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from swin_umamba.data.dicom.files import damaged_file, open_regular
from swin_umamba.data.image import DEFLATE_MAX_RATIO
from swin_umamba.errors import DataError
from swin_umamba.pseudonyms import current

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
_SYNTAX = 0x00020010
# Pixels, floating-point pixels, and double-precision ones.
PIXELS, FLOAT_PIXELS, DOUBLE_PIXELS = 0x7FE00010, 0x7FE00008, 0x7FE00009
_PIXEL_ELEMENTS = (PIXELS, FLOAT_PIXELS, DOUBLE_PIXELS)
UNDEFINED_LENGTH = 0xFFFFFFFF
# How an item of a sequence begins, in both byte orders.
_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_MOST_ITEMS = 500_000
# Decompression stops here: at the largest frame that a header can describe.
_MOST_INFLATED = 2**31


@dataclass(frozen=True)
class PixelElement:
    """Location of the pixels.

    Attributes
    ----------
    tag
        Tag that tells the kind of pixels.
    kind
        The value representation, ``OB`` or ``OW``; empty if the file does not give it.
    offset
        Start of the pixels in bytes from the beginning of the file (or of its inflated data set). Copies of
        an image may differ in it, as what wrote a file is told before the data set.
    length
        Number of bytes, or ``UNDEFINED_LENGTH`` for encapsulated pixels.
    available
        Number of bytes from there to the end of the file.
    """

    tag: int
    kind: str
    offset: int = field(compare=False)
    length: int
    available: int


class Elements:
    """Elements of a data set or of an item of a sequence.

    Parameters
    ----------
    raw
        pydicom's raw elements by tag, unchecked.
    path
        Path of the file, for messages.
    """

    def __init__(self, raw: Mapping[int, Any], path: Path) -> None:
        self.raw = raw
        self._items: dict[int, list[Elements]] = {}
        self.path = path

    def __contains__(self, tag: int) -> bool:
        """Return whether there is such an element, even an empty one."""
        return tag in self.raw

    def content(self, tag: int) -> bytes:
        """Return the bytes of a value; empty if there is no such element.

        Raises
        ------
        DataError
            The file ends before the value does.
        """
        element = self.raw.get(tag)
        if element is None or element.value is None:
            return b""
        value = element.value
        if not isinstance(value, bytes):
            raise self.damaged(f"element {name_of(tag)} is not what it should be")
        if element.length not in (len(value), UNDEFINED_LENGTH):
            raise self.damaged(f"the file ends within element {name_of(tag)}")
        return value

    def text(self, tag: int) -> str:
        """Return a text without padding; empty if it is missing."""
        content = self.content(tag)
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = content.decode("latin-1")
        return text.strip(" \0")

    def numbers(self, tag: int, count: int) -> tuple[float, ...] | None:
        """Return ``count`` finite numbers from a text; None if it is empty or missing."""
        text = self.text(tag)
        if not text:
            return None
        try:
            values = tuple(float(each) for each in text.split("\\"))
        except ValueError:
            values = ()
        if len(values) != count or not all(map(math.isfinite, values)):
            raise self.damaged(f"element {name_of(tag)} holds {text[:60]!r}, which is not {count} numbers")
        return values

    def whole(self, tag: int, default: int | None = None) -> int:
        """Return one non-negative integer, stored as binary or as text.

        Raises
        ------
        DataError
            It is missing without a default, or not such an integer.
        """
        element, content = self.raw.get(tag), self.content(tag)
        if element is None or not content:
            if default is None:
                raise self.damaged(f"element {name_of(tag)} is missing or empty")
            return default
        if element.VR in ("IS", "DS") or (element.VR in (None, "UN") and tag == 0x00280008):
            text = self.text(tag)
            if text.isascii() and text.isdigit():
                return int(text[:20])
        elif len(content) == (4 if element.VR == "UL" else 2):
            return int.from_bytes(content, "little" if element.is_little_endian else "big")
        raise self.damaged(f"element {name_of(tag)} does not hold one whole number: {content[:20]!r}")

    def words(self, tag: int) -> list[int]:
        """Return the binary 16-bit numbers of an element as unsigned integers."""
        content = self.content(tag)
        order = "<" if not content or self.raw[tag].is_little_endian else ">"
        if len(content) % 2:
            raise self.damaged(f"element {name_of(tag)} does not hold 16-bit numbers")
        return list(struct.unpack(f"{order}{len(content) // 2}H", content))

    def items(self, tag: int) -> list[Elements]:
        """Return the items of a sequence; empty if there is no such element."""
        element = self.raw.get(tag)
        if element is None:
            return []
        if tag not in self._items:
            with damage_reported(self.path):
                from pydicom.dataelem import RawDataElement, convert_raw_data_element

                if isinstance(element, RawDataElement):
                    if self.content(tag).count(_ITEMS[0]) + self.content(tag).count(_ITEMS[1]) > _MOST_ITEMS:
                        raise self.damaged(f"{name_of(tag)} has more than {_MOST_ITEMS} items")
                    element = convert_raw_data_element(element._replace(VR="SQ"))
                self._items[tag] = [Elements(item._dict, self.path) for item in element.value]
        return self._items[tag]

    def shown(self, tag: int) -> str:
        """Return a value of any kind as text, for messages."""
        with damage_reported(self.path):
            from pydicom.dataelem import convert_raw_data_element

            value = convert_raw_data_element(self.raw[tag]).value
        parts = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        return "\\".join(map(str, parts))[:60]

    def damaged(self, what: str) -> DataError:
        """Return the error for a header that cannot be trusted."""
        return damaged_file(self.path, f"the DICOM header is damaged: {what}")


def name_of(tag: int) -> str:
    """Return the standard's name of an element, for messages."""
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@dataclass(frozen=True)
class DataSet:
    """The part of a file that was read.

    Attributes
    ----------
    elements
        The requested elements.
    syntax
        UID of the transfer syntax, which says how the pixels are stored.
    little_endian
        Whether the byte order is little-endian.
    pixels
        The pixel element; None if the object has none.
    """

    elements: Elements
    syntax: str
    little_endian: bool
    pixels: PixelElement | None


def read_data_set(path: Path, tags: Collection[int], *, cut_short: bool = False) -> DataSet:
    """Read some elements of a DICOM file, up to the start of its pixels.

    Parameters
    ----------
    path
        The file.
    tags
        Wanted elements of the top level, sequences with all their contents.
    cut_short
        Whether the file may end within its pixels.

    Raises
    ------
    DataError
        The file is damaged or ends too early.
    """
    with opened(path) as (source, syntax):
        start = _look_ahead(source)
        implicit = not (start[4:6].isalpha() and start[4:6].isupper())
        little = syntax != EXPLICIT_BIG if syntax else start[:2] != b"\x00\x08"
        if not syntax:
            syntax = EXPLICIT_BIG if not little else IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE
        found: list[PixelElement] = []

        def stop(tag: int, kind: str | None, length: int) -> bool:
            if tag in _PIXEL_ELEMENTS:
                place = source.tell()
                found.append(PixelElement(int(tag), kind or "", place, length, source.size - place))
            return bool(found)

        elements = _parse(source, implicit, little, stop, tags)
        if source.tell() > source.size:
            raise damaged_file(path, "the file ends within its header")
        for pixels in found:
            if not cut_short and pixels.length != UNDEFINED_LENGTH and pixels.length > pixels.available:
                raise damaged_file(path, "pixels are missing at the end of the file")
    return DataSet(Elements(elements, path), syntax, little, found[0] if found else None)


@contextmanager
def pixel_source(path: Path, element: PixelElement) -> Iterator[Source]:
    """Open a file at the start of its pixels."""
    with opened(path) as (source, _):
        source.seek(element.offset)
        yield source


@contextmanager
def opened(path: Path) -> Iterator[tuple[Source, str]]:
    """Open a file at the start of its data set; the transfer syntax is empty if the file does not give it."""
    with open_regular(path) as file, damage_reported(path):
        source = Source(file)
        syntax = _read_meta(source)
        yield (_inflated(path, source) if syntax == DEFLATED else source), syntax


class Source(io.RawIOBase):
    """A file whose reads allocate no more memory than it has bytes: lengths in headers are only claims.

    A sequence item takes 8 bytes here and a hundred times that in memory, so their number is limited, too.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._items = 0
        self.size = file.seek(0, io.SEEK_END)
        file.seek(0)

    def read(self, size: int | None = -1) -> bytes:
        """Read the given number of bytes, or all that are left."""
        left = max(0, self.size - self._file.tell())
        content = self._file.read(left if size is None or size < 0 else min(size, left))
        if size == 8 and content[:4] in _ITEMS:
            self._items += 1
            if self._items > _MOST_ITEMS:
                raise ValueError(f"its sequences have more than {_MOST_ITEMS} items")
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position in the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position in the file."""
        return self._file.tell()


def _parse(source: Source, implicit: bool, little: bool, stop: Any, tags: Collection[int]) -> dict[int, Any]:
    from pydicom.filereader import data_element_generator

    generator = data_element_generator(
        source,  # type: ignore[arg-type]
        implicit,
        little,
        stop_when=stop,
        specific_tags=list(tags),
    )
    return {int(element.tag): element for element in generator}


def _read_meta(source: Source) -> str:
    """Return the UID of the transfer syntax, empty if there is none, and move to the data set after it."""
    head = source.read(132)
    if head[128:] != b"DICM":
        source.seek(0)
    if _look_ahead(source)[:2] != b"\x02\x00":
        return ""
    meta = _parse(source, False, True, lambda tag, kind, length: tag >> 16 != 2, [_SYNTAX])
    return Elements(meta, Path()).text(_SYNTAX)


def _look_ahead(source: Source) -> bytes:
    start, head = source.tell(), source.read(6)
    source.seek(start)
    return head


def _inflated(path: Path, source: Source) -> Source:
    packed = source.read()
    most = min(len(packed) * DEFLATE_MAX_RATIO, _MOST_INFLATED)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(packed, most)
    if not inflater.eof:
        raise damaged_file(path, "the compressed data set is cut short or too large")
    return Source(io.BytesIO(content))


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turn whatever a parser raises on an unexpected file into one error."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # from the disk, not from the parser
        quotes = str(error) and current() is None  # parsers quote values
        reason = str(error).splitlines()[0] if quotes else type(error).__name__
        raise damaged_file(path, f"the DICOM header is damaged: {reason}") from error
