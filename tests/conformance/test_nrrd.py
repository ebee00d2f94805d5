"""NRRD files of every pair of features are read as they were meant, or refused; SimpleITK sees the same."""

from __future__ import annotations

import bz2
import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.combinations import (
    Combination,
    Outcomes,
    covering_combinations,
    generator_of,
    possible_pairs,
)
from conformance.made_images import TO_RAS, Made, axes_of, compare, compare_with_simpleitk

FEATURES = {
    "axes": ("x y", "x y z", "channels x y z", "x y z channels"),
    "kinds": ("not said", "said", "complex"),
    "type": ("uint8", "int16", "int64", "float", "block"),
    "byte order": ("little", "big"),
    "encoding": ("raw", "gzip", "bzip2", "text", "hex"),
    "voxels": ("in the file", "beside it", "in a list of files", "in numbered files"),
    "place": (
        "not said",
        "spacings",
        "left-posterior-superior",
        "right-anterior-superior",
        "left-anterior-superior",
        "scanner-xyz",
        "space dimension",
        "two axes of one direction",
    ),
}
ALIASES = {
    "uint8": {"uint8": "u1", "unsigned char": "u1", "uchar": "u1", "int8": "i1", "signed char": "i1"},
    "int16": {"int16": "i2", "short": "i2", "signed short int": "i2", "ushort": "u2", "uint16_t": "u2"},
    "int64": {"longlong": "i8", "int64_t": "i8", "unsigned long long int": "u8", "int": "i4", "uint32": "u4"},
    "float": {"float": "f4", "double": "f8"},
    "block": {"block": "u1"},
}
TYPES = {name: code for each in ALIASES.values() for name, code in each.items()}
SIGNS = {
    "left-posterior-superior": (-1, -1, 1),
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
}
SHORT = {"left-posterior-superior": "LPS", "right-anterior-superior": "RAS", "left-anterior-superior": "LAS"}
REFUSED = {
    "block": "of type 'block'",
    "complex": "of the kind complex",
    "two axes of one direction": "sheared images are not supported",
}
UNITS = {"mm": 1.0, "um": 1e-3, "microns": 1e-3, "cm": 10.0, "": 1.0}
CHANNEL_KINDS = ("list", "vector", "RGB-color", "3-color", "time", "covariant-vector", "point")


def exists(wanted: Combination) -> bool:
    """Whether something says which axis is that of the channels; else it is the last, and may be complex."""
    if wanted["kinds"] == "complex":
        return "channels" in wanted["axes"]
    has_vectors = wanted["place"] not in ("not said", "spacings")
    return wanted["axes"] != "channels x y z" or wanted["kinds"] == "said" or has_vectors


def vector(values: np.ndarray) -> str:
    return f"({','.join(map(repr, values.tolist()))})"


def stored(values: np.ndarray, encoding: str, before: bytes) -> bytes:
    """Return a part of the voxels as a file holds them, with bytes to be skipped where they are counted."""
    if encoding == "text":
        return before + " ".join(map(repr, values.ravel().tolist())).encode() + b"\n"
    content = values.tobytes()
    if encoding == "hex":
        return before + content.hex(" ", 7).encode() + b"\n"
    compress = {"raw": bytes, "gzip": gzip.compress, "bzip2": bz2.compress}[encoding]
    return compress(before + content)


def make(folder: Path, number: int, wanted: Combination) -> Made:
    """Write the file of a combination; whatever it does not say is drawn at random from the combination."""
    generator = generator_of(wanted)

    def pick(*values: Any) -> Any:
        return values[generator.integers(len(values))]

    names = wanted["axes"].split()
    ndim = len(names) - ("channels" in names)
    sizes = [3 if name == "channels" else int(generator.integers(1, 7)) for name in names]
    sizes[-1] = max(sizes[-1], 2)
    type_name = pick(*ALIASES[wanted["type"]])
    dtype = np.dtype(TYPES[type_name])
    if dtype.kind == "f":
        values = generator.normal(size=sizes[::-1]).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        values = generator.integers(limits.min, limits.max, sizes[::-1], dtype, endpoint=True)
    data = values if "channels" in names else values[None]
    if names[0] == "channels":
        data = np.moveaxis(values, -1, 0)

    lines = [f"type: {type_name}", f"dimension: {len(names)}", f"sizes: {' '.join(map(str, sizes))}"]
    if wanted["kinds"] != "not said":
        channel_kind = pick(*CHANNEL_KINDS) if wanted["kinds"] == "said" else "complex"
        space_kind = pick("domain", "space")
        lines.append(
            "kinds: " + " ".join(channel_kind if name == "channels" else space_kind for name in names)
        )
    place, spacing, unit = wanted["place"], generator.uniform(0.2, 7, ndim), 1.0
    direction, origin, signs = np.eye(3)[:ndim], np.zeros(3), TO_RAS
    unit_name = pick(None, None, *UNITS)
    if place == "not said":
        spacing = None
    elif place == "spacings":
        of_axes = iter(spacing.tolist())
        lines.append(
            "spacings: " + " ".join("nan" if name == "channels" else repr(next(of_axes)) for name in names)
        )
        if unit_name is not None:
            unit = UNITS[unit_name]
            lines.append(
                "units: " + " ".join('""' if name == "channels" else f'"{unit_name}"' for name in names)
            )
    else:
        dimension = ndim if place == "space dimension" else 3
        direction = np.pad(axes_of(generator, dimension)[:ndim], ((0, 0), (0, 3 - dimension)))
        origin[:dimension] = generator.normal(size=dimension) * 100
        signs = np.array(SIGNS.get(place, TO_RAS))
        if place == "two axes of one direction":
            direction, place = direction[[0, 0, 2][:ndim]], "left-posterior-superior"
        of_axes = iter(direction * spacing[:, None])
        words = ["none" if name == "channels" else vector(next(of_axes)[:dimension]) for name in names]
        lines.append(f"space directions: {' '.join(words)}")
        lines.append(f"space origin: {vector(origin[:dimension])}")
        if unit_name is not None:
            unit = UNITS[unit_name]
            lines.append("space units: " + " ".join([f'"{unit_name}"'] * dimension))
        if place == "space dimension":
            lines.insert(1, f"space dimension: {dimension}")
        else:
            lines.insert(1, f"space: {pick(place, SHORT.get(place, '3D-right-handed'))}")

    encoding = wanted["encoding"]
    if dtype.itemsize > 1 and encoding != "text":
        lines.append(f"endian: {wanted['byte order']}")
    name = {"gzip": pick("gzip", "gz"), "bzip2": pick("bzip2", "bz2"), "text": pick("text", "ascii", "txt")}
    lines.append(f"encoding: {name.get(encoding, encoding)}")
    lines += pick([], ["# a comment: nothing"], ["key:=value: with colons", "content: an image"])
    skip = pick(0, 0, 3, -1) if encoding in ("raw", "gzip", "bzip2") else pick(0, 0, 3)
    first_lines = pick(b"", b"", b"one\nand two\n")
    lines += [f"{pick('line skip', 'lineskip')}: 2"] if first_lines else []
    lines += [f"{pick('byte skip', 'byteskip')}: {skip}"] if skip else []
    in_order = values.astype(dtype.newbyteorder("<" if wanted["byte order"] == "little" else ">"))
    before = b" " * abs(skip)
    parts = [
        first_lines + stored(part, encoding, before)
        for part in (in_order if "files" in wanted["voxels"] else [in_order])
    ]
    suffix = pick(".nrrd", ".nhdr")
    after = b""
    if wanted["voxels"] == "in the file":
        (after,) = parts
    else:
        for index, part in enumerate(parts):
            (folder / f"{number}_{index + 4:03d}.bin").write_bytes(part)
        files = [f"{number}_{index + 4:03d}.bin" for index in range(len(parts))]
        field = pick("data file", "datafile")
        if wanted["voxels"] == "beside it":
            lines.append(f"{field}: {files[0]}")
        elif wanted["voxels"] == "in numbered files":
            lines.append(f"{field}: {number}_%03d.bin 4 {3 + len(parts)} 1{pick('', f' {len(names) - 1}')}")
        else:
            lines += [f"{field}: LIST{pick('', f' {len(names) - 1}')}", *files]
    end = pick("\n", "\n", "\r\n")
    head = f"NRRD000{pick(1, 3, 4, 5)}{end}" + "".join(line + end for line in lines)
    path = folder / f"{number}{suffix}"
    ends_in_line = after or (pick(False, True) and "list" not in wanted["voxels"])
    path.write_bytes(head.encode() + (end.encode() if ends_in_line else b"") + after)
    return Made(
        path,
        data,
        None if spacing is None else unit * spacing,
        direction * signs,
        origin * unit * signs if place != "spacings" else origin,
        wanted["place"] in SIGNS,
        unit,
        [why for value, why in REFUSED.items() if value in wanted.values()],
    )


def parse(path: Path, layout: str) -> np.ndarray:
    """Read the voxels ``(channels, [z,] y, x)`` of an NRRD file by other means than the package."""
    head, after, *_ = [*re.split(rb"\r?\n\r?\n", path.read_bytes(), maxsplit=1), b""]
    lines = head.decode().splitlines()
    fields = dict(
        line.split(": ", 1) for line in lines if ": " in line and ":=" not in line and line[0] != "#"
    )
    fields = {key.replace(" ", ""): value for key, value in fields.items()}
    sizes, place = [int(each) for each in fields["sizes"].split()], fields.get("datafile")
    dtype = np.dtype(TYPES[fields["type"]]).newbyteorder("<" if fields.get("endian") == "little" else ">")
    skip, encoding = int(fields.get("byteskip", 0)), fields["encoding"]
    if place is None:
        parts = [after]
    elif place.startswith("LIST"):
        parts = [(path.parent / name).read_bytes() for name in lines if name.endswith(".bin")]
    else:
        pattern, first, last, *_ = [*place.split(), "0", "0"]
        files = [pattern % n for n in range(int(first), int(last) + 1)] if "%" in pattern else [pattern]
        parts = [(path.parent / name).read_bytes() for name in files]
    whole = []
    for part in parts:
        if "lineskip" in fields:
            part = part.split(b"\n", 2)[2]
        part = {"g": gzip.decompress, "b": bz2.decompress}.get(encoding[0], bytes)(part)[abs(skip) :]
        if encoding == "hex":
            part = bytes.fromhex(part.decode())
        elif encoding in ("text", "ascii", "txt"):
            kind = float if dtype.kind == "f" else int
            part = np.array([kind(each) for each in part.split()], dtype).tobytes()
        whole.append(np.frombuffer(part, dtype))
    values = np.concatenate(whole).reshape(sizes[::-1])
    return np.moveaxis(values, -1, 0) if layout[0] == "c" else values if "c" in layout else values[None]


@pytest.mark.parametrize("count", [300, pytest.param(6000, marks=pytest.mark.slow)])
def test_every_pair_of_features(
    tmp_path: Path, record_property: Callable[[str, object], None], count: int
) -> None:
    outcomes = Outcomes("NRRD")
    for number, wanted in enumerate(covering_combinations(FEATURES, exists, at_least=count)):
        made = make(tmp_path, number, wanted)
        compare(made, wanted, outcomes)
        if not made.refused:
            np.testing.assert_array_equal(parse(made.path, wanted["axes"]), made.data)
    outcomes.check(possible_pairs(FEATURES, exists), record_property)


def test_simpleitk_sees_the_generated_files_as_they_were_meant(tmp_path: Path) -> None:
    """Test the generator: files of the features that ITK reads, of lengths in millimetres."""
    features = {**FEATURES, "encoding": ("raw", "gzip", "text"), "kinds": ("not said", "said")}
    compared = 0
    for number, wanted in enumerate(covering_combinations(features, exists, at_least=300)):
        made = make(tmp_path, number, wanted)
        ndim = len(made.direction)
        if made.refused or made.unit != 1 or (ndim == 2 and wanted["place"] not in ("not said", "spacings")):
            continue
        if "channels" in wanted["axes"] and wanted["kinds"] == "not said":
            continue  # ITK wants kinds
        if any(kind in made.path.read_bytes() for kind in (b"time", b"point")):
            continue  # nor does it know these
        compare_with_simpleitk(made)
        compared += 1
    assert compared > 30
