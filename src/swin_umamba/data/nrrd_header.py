"""The header of an NRRD file: lines of text that describe axes, placement, types and files.

Based on the format's definition, https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from swin_umamba.data.picture_checks import damaged
from swin_umamba.data.raw_voxels import (
    LPS,
    header_line,
    integers,
    listed_files,
    not_supported,
    numbered_files,
)
from swin_umamba.errors import DataError

_MAGIC = re.compile(r"NRRD000[1-5]")
_TYPES = {
    "i1": ("signed char", "int8"),
    "u1": ("uchar", "unsigned char", "uint8"),
    "i2": ("short", "int16"),
    "u2": ("ushort", "unsigned short", "uint16"),
    "i4": ("int", "int32"),
    "u4": ("uint", "unsigned int", "unsigned", "uint32"),
    "i8": ("longlong", "long long", "int64"),
    "u8": ("ulonglong", "unsigned long long", "uint64"),
    "f4": ("float",),
    "f8": ("double",),
}
_CODE_OF_TYPE = {name: code for code, names in _TYPES.items() for name in names}
TYPE_OF_CODE = {code: names[-1] for code, names in _TYPES.items()}
_RAS, _LAS = (1.0, 1.0, 1.0), (-1.0, 1.0, 1.0)
# Signs that convert to NIfTI's world (to the right, anterior, superior), None where a space does not say how
# the patient lies in it; and the number of dimensions.
_SPACES = {
    f"{name}{time}": (signs, 3 + bool(time))
    for names, times, signs in (
        (("right-anterior-superior", "ras"), ("-time", "t"), _RAS),
        (("left-anterior-superior", "las"), ("-time", "t"), _LAS),
        (("left-posterior-superior", "lps"), ("-time", "t"), LPS),
        (("scanner-xyz", "3d-right-handed", "3d-left-handed"), ("-time",) * 3, None),
    )
    for name, ending in zip(names, times, strict=True)
    for time in ("", ending)
}
# Millimetres per unit. The format has no default; all programs assume millimetres.
UNITS = {
    **dict.fromkeys(("mm", "", "???", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m", "micron", "microns"), 1e-3),
    **dict.fromkeys(("micrometer", "micrometers", "micrometre", "micrometres"), 1e-3),
    "nm": 1e-6,
    "cm": 10.0,
    "m": 1000.0,
}
_FIELDS = {
    *("type", "dimension", "sizes", "encoding", "endian", "kinds", "lineskip", "byteskip", "datafile"),
    *("spacings", "axismins", "centers", "centerings", "space", "spacedimension", "spaceorigin"),
    *("spacedirections", "spaceunits", "units"),
    # The following fields do not change what a voxel is or where it lies.
    *(
        "content",
        "number",
        "min",
        "max",
        "oldmin",
        "oldmax",
        "thicknesses",
        "axismaxs",
        "labels",
        "sampleunits",
    ),
    *("measurementframe", "blocksize"),
}
_VECTORS = re.compile(r"\s*(?:(?:none|\([^()]*\))\s*)+", re.IGNORECASE)


@dataclass(frozen=True)
class NrrdHeader:
    """Contents of the lines of a header.

    Attributes
    ----------
    path
        Path of the file.
    fields
        Field values by name, in lower case without spaces.
    keys
        Keys and their values, to which the format assigns no meaning.
    files
        Separate files that hold the voxels, None if they follow the header.
    sizes
        Lengths of the axes, the fastest first.
    """

    path: Path
    fields: dict[str, str]
    keys: dict[str, str]
    files: list[str] | None
    sizes: list[int]

    def integer(self, field: str) -> int:
        """Return the whole number in a field, 0 if the field is missing."""
        return integers(self.path, field, self.fields.get(field, "0"), 1)[0]

    def words(self, field: str, default: str) -> list[str]:
        """Return one word per axis, in lower case."""
        words = self.fields[field].lower().split() if field in self.fields else [default] * len(self.sizes)
        if len(words) != len(self.sizes):
            raise damaged(self.path, f"{field} has {len(words)} entries for {len(self.sizes)} axes")
        return words

    def lengths(self, field: str) -> list[float]:
        """Return one number per axis, NaN where it is unknown."""
        try:
            return [float(word) for word in self.words(field, "nan")]
        except ValueError as error:
            raise damaged(self.path, f"{field} must be numbers: {error}") from error

    def millimetres(self, field: str, count: int) -> list[float]:
        """Return the length of each of ``count`` units; NaN for those that are not lengths."""
        names = re.findall(r'"([^"]*)"', self.fields.get(field, '""' * count))
        if len(names) != count:
            raise damaged(self.path, f"{field} has {len(names)} entries and should have {count}")
        return [UNITS.get(name.strip().lower(), math.nan) for name in names]

    def space(self) -> tuple[tuple[float, ...] | None, int]:
        """Return the signs that convert to NIfTI's world, None if unknown, and the number of dimensions."""
        name = self.fields.get("space", "").lower()
        if ("space" in self.fields) == ("spacedimension" in self.fields):
            raise damaged(self.path, "the header must either name a space or give its dimension")
        if name and name not in _SPACES:
            raise not_supported(self.path, f"the space is called {name[:80]!r}")
        signs, dimension = _SPACES[name] if name else (None, self.integer("spacedimension"))
        if not 2 <= dimension <= 4:
            raise not_supported(self.path, f"the space has {dimension} dimensions")
        return signs, dimension

    def vectors(self, field: str, count: int, dimension: int) -> np.ndarray:
        """Return ``count`` vectors as rows (x, y, z, time); NaN where the field says ``none``."""
        text = self.fields[field]
        rows = np.full((count, 4), np.nan)
        parts = re.findall(r"none|[^()\s][^()]*(?=\))", text.lower()) if _VECTORS.fullmatch(text) else []
        if len(parts) != count:
            raise damaged(self.path, f"{field} must be {count} vectors, and is {text[:80]!r}")
        for row, part in zip(rows, parts, strict=True):
            if part == "none":
                continue
            row[dimension:] = 0
            try:
                row[:dimension] = [float(word) for word in part.split(",")]
            except ValueError:
                row[0] = math.inf
            if np.isnan(row[:dimension]).all():
                row[:] = math.nan  # another way to write "none"
            elif not np.isfinite(row).all():
                raise damaged(
                    self.path, f"{field} must be vectors of {dimension} numbers, and is {text[:80]!r}"
                )
        return rows

    def voxel_type(self) -> np.dtype:
        """Return the dtype of the voxels in the byte order of the file."""
        name = " ".join(self.fields.get("type", "").lower().removesuffix("_t").split())
        # "signed short int" is "short", but "signed char" is a type of its own.
        short = re.sub(r"^signed (?!char)|(?<=short) int$|(?<=long) int$", "", name)
        code = _CODE_OF_TYPE.get(short)
        if code is None:
            raise not_supported(self.path, f"the voxels are of type {name[:80] or 'unknown'!r}")
        endian = self.fields.get("endian", "").lower()
        is_text = self.fields.get("encoding", "").lower() in ("txt", "text", "ascii")
        if endian not in ("little", "big") and code[1] != "1" and not is_text:
            raise damaged(self.path, f"endian must be little or big, and is {endian!r}")
        order = "<" if endian == "little" else ">" if endian == "big" else "="
        return np.dtype(f"{order}{code}")


def read_nrrd_header(path: Path, file: BinaryIO) -> NrrdHeader:
    """Read the lines of a header and leave the file at the first byte after it.

    Raises
    ------
    DataError
        It is not an NRRD file, or its header breaks the rules or holds a field unknown to the format.
    """
    magic = header_line(path, file) or ""
    if not magic.startswith("NRRD"):
        raise DataError(
            "the file does not begin as an NRRD file does",
            where=path,
            hint="copy or download the file again; if it is of another format, name it so",
        )
    if not _MAGIC.fullmatch(magic.rstrip()):
        raise not_supported(path, f"the file is of the version {magic[:20]!r}")
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    while line := header_line(path, file):
        if line.startswith("#"):
            continue
        name, separator, value = line.partition(":")
        store = keys if value.startswith("=") else fields
        if store is fields:
            name = name.lower().replace(" ", "")
            if not separator or name not in _FIELDS:
                raise not_supported(path, f"the header holds the line {line[:80]!r}")
        if name in store:
            raise damaged(path, f"the header holds {name[:80]!r} twice")
        store[name] = value[1:] if store is keys else value.strip()
        if name == "datafile" and store[name].startswith("LIST"):
            break
    (dimension,) = integers(path, "dimension", fields.get("dimension", ""), 1)
    if not 2 <= dimension <= 5:
        raise not_supported(path, f"the image has {dimension} axes")
    sizes = integers(path, "sizes", fields.get("sizes", ""), dimension)
    files = _data_files(path, file, fields["datafile"]) if "datafile" in fields else None
    return NrrdHeader(path, fields, keys, files, sizes)


def _data_files(path: Path, file: BinaryIO, value: str) -> list[str]:
    if value.startswith("LIST"):
        return listed_files(path, file)
    return numbered_files(path, value.split()[:4]) if "%" in value else [value]
