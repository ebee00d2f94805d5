"""DICOM files written byte by byte, for tests: nothing here parses, and nothing is shared with the reader."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from conformance.tiff_writer import packbits

Elements = dict[int, tuple[str, Any]]

CT, MR, SECONDARY, ENHANCED_MR = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.4.1",
)
SYNTAXES = {
    "implicit little endian": "1.2.840.10008.1.2",
    "explicit little endian": "1.2.840.10008.1.2.1",
    "explicit big endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG baseline": "1.2.840.10008.1.2.4.50",
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}
PLAIN = ("implicit little endian", "explicit little endian", "explicit big endian", "deflated")
PIXELS = 0x7FE00010
_LONG = {b"OB", b"OW", b"OF", b"OD", b"SQ", b"UN", b"UT", b"UC", b"UR"}
_BINARY = {"US": "H", "SS": "h", "UL": "I", "FD": "d", "FL": "f"}
_UNDEFINED = 0xFFFFFFFF


def encode(elements: Mapping[int, tuple[str, Any]], *, implicit: bool = False, little: bool = True) -> bytes:
    """Return elements as bytes, in the order of their tags."""
    return b"".join(_element(tag, *elements[tag], implicit, little) for tag in sorted(elements))


def _element(tag: int, kind: str, value: Any, implicit: bool, little: bool) -> bytes:
    order = "<" if little else ">"
    length = None
    if kind == "SQ":
        items = [encode(each, implicit=implicit, little=little) for each in value]
        content = b"".join(struct.pack(f"{order}HHI", 0xFFFE, 0xE000, len(each)) + each for each in items)
    elif isinstance(value, list):  # encapsulated fragments
        items = [b"", *(each + b"\0" * (len(each) % 2) for each in value)]
        content = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(each)) + each for each in items)
        content += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        length = _UNDEFINED
    elif isinstance(value, bytes):
        content = value + b"\0" * (len(value) % 2)
    elif kind in _BINARY:
        numbers = value if isinstance(value, tuple) else (value,)
        content = struct.pack(f"{order}{len(numbers)}{_BINARY[kind]}", *numbers)
    else:
        content = str(value).encode()
        content += (b"\0" if kind == "UI" else b" ") * (len(content) % 2)
    length = len(content) if length is None else length
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return head + struct.pack(f"{order}I", length) + content
    name = kind.encode()
    if name in _LONG:
        return head + name + b"\0\0" + struct.pack(f"{order}I", length) + content
    return head + name + struct.pack(f"{order}H", length) + content


def file_bytes(elements: Elements, syntax: str = "explicit little endian", *, meta: bool = True) -> bytes:
    """Return a whole file; without ``meta`` it begins with the data set."""
    body = encode(elements, implicit=syntax.startswith("implicit"), little="big" not in syntax)
    if syntax == "deflated":
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = deflater.compress(body) + deflater.flush()
    if not meta:
        return body
    group = encode(
        {
            0x00020001: ("OB", b"\0\1"),
            0x00020002: ("UI", elements.get(0x00080016, ("UI", CT))[1]),
            0x00020003: ("UI", elements.get(0x00080018, ("UI", "1.2.3"))[1]),
            0x00020010: ("UI", SYNTAXES.get(syntax, syntax)),
        }
    )
    return b"\0" * 128 + b"DICM" + encode({0x00020000: ("UL", len(group))}) + group + body


@dataclass
class Stored:
    """How numbers are stored.

    Attributes
    ----------
    allocated, stored, high, signed
        The bits of a number.
    photometric, planar
        What the samples are, and whether each has a plane of its own.
    syntax
        Of ``SYNTAXES``.
    beside
        Bits to set beside the number, in those places that it does not take.
    """

    allocated: int = 16
    stored: int = 16
    high: int | None = None
    signed: bool = False
    photometric: str = "MONOCHROME2"
    planar: bool = False
    syntax: str = "explicit little endian"
    beside: int = 0

    @property
    def high_bit(self) -> int:
        """The highest bit that a number takes."""
        return self.stored - 1 if self.high is None else self.high

    def cells(self, numbers: np.ndarray) -> np.ndarray:
        """Return numbers ``(frames, y, x[, samples])`` as unsigned pixel cells."""
        size = max(self.allocated, 8)
        mask, shift = (1 << self.stored) - 1, self.high_bit + 1 - self.stored
        cells = (numbers.astype(np.int64) & mask) << shift
        return (cells | (self.beside & ~(mask << shift) & ((1 << size) - 1))).astype(f"u{size // 8}")

    def elements(self, numbers: np.ndarray) -> Elements:
        """Return the elements that hold numbers ``(frames, y, x[, samples])`` and say how."""
        cells = self.cells(numbers)
        described: Elements = {
            0x00280002: ("US", 3 if cells.ndim == 4 else 1),
            0x00280004: ("CS", self.photometric),
            0x00280010: ("US", cells.shape[1]),
            0x00280011: ("US", cells.shape[2]),
            0x00280100: ("US", self.allocated),
            0x00280101: ("US", self.stored),
            0x00280102: ("US", self.high_bit),
            0x00280103: ("US", int(self.signed)),
        }
        if cells.ndim == 4:
            described[0x00280006] = ("US", int(self.planar))
        if len(cells) > 1:
            described[0x00280008] = ("IS", len(cells))
        if self.syntax not in PLAIN:
            described[PIXELS] = ("OB", [compressed(frame, self.syntax) for frame in cells])
        else:
            described[PIXELS] = ("OW", self._plain(cells))
        return described

    def _plain(self, cells: np.ndarray) -> bytes:
        little = "big" not in self.syntax
        if self.allocated == 1:
            content = np.packbits(cells.ravel(), bitorder="little").tobytes()
        else:
            if cells.ndim == 4 and self.planar:
                cells = np.moveaxis(cells, -1, 1)
            content = cells.astype(f"{'<' if little else '>'}u{self.allocated // 8}").tobytes()
        if not little and self.allocated <= 8:  # words of 16 bits
            content += b"\0" * (len(content) % 2)
            content = np.frombuffer(content, "<u2").astype(">u2").tobytes()
        return content


def compressed(frame: np.ndarray, syntax: str) -> bytes:
    """Return one frame ``(y, x[, samples])`` as a codestream."""
    if syntax == "RLE":
        return _rle(frame)
    if syntax in ("JPEG 2000", "JPEG baseline"):
        stream = BytesIO()
        options = (
            {"irreversible": False, "no_jp2": True, "mct": 0}
            if syntax == "JPEG 2000"
            else {"quality": 100, "subsampling": 0}
        )
        Picture.fromarray(frame).save(stream, "JPEG2000" if syntax == "JPEG 2000" else "JPEG", **options)
        return stream.getvalue()
    import imagecodecs  # the reader's decoders, but not its encoders; SimpleITK's are asked, too

    if syntax == "JPEG-LS":
        return imagecodecs.jpegls_encode(frame)
    colours = {"colorspace": "RGB", "outcolorspace": "RGB"} if frame.ndim == 3 else {}
    return imagecodecs.jpeg8_encode(frame, lossless=True, **colours)


def _rle(frame: np.ndarray) -> bytes:
    """PackBits of each row of each byte of each sample, most significant byte first."""
    size = frame.itemsize
    samples = frame.reshape(*frame.shape[:2], -1)
    segments = []
    for sample in range(samples.shape[2]):
        octets = np.ascontiguousarray(samples[..., sample]).astype(f">u{size}").view(np.uint8)
        for byte in range(size):
            segment = b"".join(packbits(row.tobytes()) for row in octets[:, byte::size])
            segments.append(segment + b"\0" * (len(segment) % 2))
    offsets = [64]
    for segment in segments[:-1]:
        offsets.append(offsets[-1] + len(segment))
    header = struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(offsets)))
    return header + b"".join(segments)


@dataclass
class Slice:
    """One image: its numbers, where it lies, and what else its header says."""

    numbers: np.ndarray
    position: Sequence[float] | None = (0.0, 0.0, 0.0)
    orientation: Sequence[float] | None = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    spacing: Sequence[float] | None = (0.75, 0.5)
    rescale: tuple[Any, Any] | None = None
    more: Elements = field(default_factory=dict)


def decimals(values: Sequence[float]) -> str:
    """Return numbers as DICOM writes them: up to 16 characters each."""
    return "\\".join(f"{value:.10g}" for value in values)


def placed(slice_: Slice) -> Elements:
    """Return the elements that say where a slice lies and what its numbers mean."""
    found: Elements = {}
    if slice_.position is not None:
        found[0x00200032] = ("DS", decimals(slice_.position))
    if slice_.orientation is not None:
        found[0x00200037] = ("DS", decimals(slice_.orientation))
    if slice_.spacing is not None:
        found[0x00280030] = ("DS", decimals(slice_.spacing))
    if slice_.rescale is not None:
        slope, intercept = slice_.rescale
        found |= {0x00281053: ("DS", slope), 0x00281052: ("DS", intercept)}
    return found


def single(
    slice_: Slice, stored: Stored, number: int = 1, series: str = "1.2.3.9", modality: str = "CT"
) -> Elements:
    """Return the data set of one slice."""
    return {
        0x00080016: ("UI", CT),
        0x00080018: ("UI", f"{series}.{number}"),
        0x00080060: ("CS", modality),
        0x00100010: ("PN", "Nobody"),
        0x00100020: ("LO", "id"),
        0x0020000D: ("UI", "1.2.3.8"),
        0x0020000E: ("UI", series),
        0x00200011: ("IS", 7),
        0x00200013: ("IS", number),
        **placed(slice_),
        **stored.elements(slice_.numbers[None]),
        **slice_.more,
    }


def enhanced(slices: Sequence[Slice], stored: Stored, modality: str = "MR") -> Elements:
    """Return the data set of a multi-frame object with functional groups."""
    groups = []
    for slice_ in slices:
        known = placed(slice_)
        group: Elements = {}
        for sequence, tags in ((0x00209113, (0x00200032,)), (0x00289145, (0x00281052, 0x00281053))):
            item = {tag: known[tag] for tag in tags if tag in known}
            if item:
                group[sequence] = ("SQ", [item])
        groups.append(group | slice_.more)
    known = placed(slices[0])
    shared: Elements = {
        0x00209116: ("SQ", [{0x00200037: known[0x00200037]}]),
        0x00289110: ("SQ", [{0x00280030: known[0x00280030]}]),
    }
    head = single(Slice(slices[0].numbers, None, None, None), stored, modality=modality)
    return {
        **head,
        0x00080016: ("UI", ENHANCED_MR),
        **stored.elements(np.stack([slice_.numbers for slice_ in slices])),
        0x00280008: ("IS", len(slices)),
        0x52009229: ("SQ", [shared]),
        0x52009230: ("SQ", groups),
    }


def write_series(
    folder: Path, slices: Sequence[Slice], stored: Stored | None = None, **options: Any
) -> list[Path]:
    """Write a file for each slice; names and numbers are shuffled, so that only positions tell the order."""
    stored = stored or Stored()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, slice_ in enumerate(slices):
        number = 1 + (index * 7 + 3) % 11 + 11 * (index // 11)
        path = folder / f"{number:03}.dcm"
        path.write_bytes(file_bytes(single(slice_, stored, number, **options), stored.syntax))
        paths.append(path)
    return paths
