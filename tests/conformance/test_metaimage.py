"""MetaImages of every pair of features are read as they were meant, or refused; SimpleITK sees the same."""

from __future__ import annotations

import gzip
import re
import zlib
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
    "axes": (2, 3, 4),
    "channels": (1, 3),
    "type": ("MET_UCHAR", "MET_SHORT", "MET_ULONG", "MET_FLOAT", "MET_DOUBLE", "MET_STRING"),
    "byte order": ("little", "big"),
    "stored": ("raw", "zlib", "text"),
    "voxels": ("in the file", "beside it", "in a list of files", "in numbered files"),
    "place": (
        "not said",
        "TransformMatrix and Offset",
        "Rotation and Position",
        "Orientation and Origin",
        "two axes of one direction",
    ),
    "size of a voxel": ("not said", "ElementSpacing", "ElementSize", "negative ElementSpacing"),
}
ALIASES = {  # types of the same size, so that each name occurs
    "MET_UCHAR": (("MET_UCHAR", "u1"), ("MET_CHAR", "i1"), ("MET_UCHAR_ARRAY", "u1")),
    "MET_SHORT": (("MET_SHORT", "i2"), ("MET_USHORT", "u2")),
    "MET_ULONG": (("MET_ULONG", "u4"), ("MET_LONG", "i4"), ("MET_INT", "i4"), ("MET_UINT", "u4")),
    "MET_FLOAT": (("MET_FLOAT", "f4"),),
    "MET_STRING": (("MET_STRING", "u1"), ("MET_OTHER", "u1"), ("MET_FLOAT_MATRIX", "f4")),
    "MET_DOUBLE": (("MET_DOUBLE", "f8"), ("MET_LONG_LONG", "i8"), ("MET_ULONG_LONG", "u8")),
}
REFUSED = {
    "MET_STRING": "of type MET_",
    "two axes of one direction": "sheared images are not supported",
    "negative ElementSpacing": "the spacing must be positive",
}
UNITS = {"mm": 1.0, "um": 1e-3, "cm": 10.0, "?": 1.0}


def exists(wanted: Combination) -> bool:
    """Whether a combination is one that is not refused for itself: an image has one axis of channels."""
    return wanted["axes"] < 4 or wanted["channels"] == 1


def stored_as_text(values: np.ndarray) -> bytes:
    return " ".join(map(repr, values.ravel().tolist())).encode() + b"\n"


def make(folder: Path, number: int, wanted: Combination) -> Made:
    """Write the file of a combination; whatever it does not say is drawn at random from the combination."""
    generator = generator_of(wanted)

    def pick(*values: Any) -> Any:
        return values[generator.integers(len(values))]

    axes, channels, ndim = wanted["axes"], wanted["channels"], min(wanted["axes"], 3)
    sizes = generator.integers(1, 7, axes).tolist()
    sizes[-1] += 1  # several slices or volumes
    name, code = pick(*ALIASES[wanted["type"]])
    dtype = np.dtype(code)
    if dtype.kind == "f":
        values = generator.normal(size=(*sizes[::-1], channels)).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        values = generator.integers(limits.min, limits.max, (*sizes[::-1], channels), dtype, endpoint=True)
    data = np.moveaxis(values, -1, 0).reshape(-1, *sizes[:3][::-1])

    direction, origin = np.eye(axes), np.zeros(axes)
    fields = [("ObjectType", "Image"), ("NDims", axes), ("Comment", "a: b = c")]
    if wanted["place"] != "not said":
        direction[:ndim, :ndim] = axes_of(generator, ndim)
        origin[:ndim] = generator.normal(size=ndim) * 100
        keys = wanted["place"].split(" and ")
        if wanted["place"] == "two axes of one direction":
            direction[1], keys = direction[0], ["TransformMatrix", "Offset"]
        for key, numbers in zip(keys, (direction, origin), strict=True):
            fields.append((key, " ".join(map(repr, numbers.ravel().tolist()))))
    spacing, unit = None, 1.0
    if wanted["size of a voxel"] != "not said":
        spacing = generator.uniform(0.2, 7, axes)
        key = wanted["size of a voxel"]
        if key == "negative ElementSpacing":
            key, spacing[1] = "ElementSpacing", -spacing[1]
        fields.append((key, " ".join(map(repr, spacing.tolist()))))
        if key == "ElementSpacing" and pick(False, True):
            fields.append(("ElementSize", " ".join(["9"] * axes)))
    if (unit_name := pick(None, None, *UNITS)) is not None:
        unit = UNITS[unit_name]
        fields.append(("DistanceUnits", unit_name))
    rest = fields[2:]
    generator.shuffle(rest)  # type: ignore[arg-type]
    fields[2:] = rest
    fields += [("DimSize", " ".join(map(str, sizes))), ("ElementType", name)]
    if channels > 1 or name.endswith("ARRAY") or pick(False, True):
        fields.append(("ElementNumberOfChannels", channels))
    if wanted["byte order"] == "big":
        fields.append((pick("BinaryDataByteOrderMSB", "ElementByteOrderMSB"), pick("True", "true", "1")))
    elif pick(False, True):
        fields.append((pick("BinaryDataByteOrderMSB", "ElementByteOrderMSB"), "False"))

    in_order = values.astype(dtype.newbyteorder(">" if wanted["byte order"] == "big" else "<"))
    parts = list(in_order) if "files" in wanted["voxels"] else [in_order]
    compress = pick(zlib.compress, gzip.compress) if wanted["stored"] == "zlib" else bytes
    stored = [
        stored_as_text(each) if wanted["stored"] == "text" else compress(each.tobytes()) for each in parts
    ]
    if wanted["stored"] == "zlib":
        fields.append(("CompressedData", "True"))
        if len(stored) == 1 and pick(False, True):
            fields.append(("CompressedDataSize", len(stored[0])))
    if wanted["stored"] == "text" or pick(False, True):
        fields.append(("BinaryData", str(wanted["stored"] != "text")))
    if wanted["voxels"] != "in the file":
        skip = pick(0, 0, 5, -1) if wanted["stored"] == "raw" else pick(0, 5)
        before = b"\xff" * (3 if skip == -1 else skip)
        fields += [("HeaderSize", skip)] if skip else []
        stored = [before + each for each in stored]
        for index, content in enumerate(stored):
            (folder / f"{number} slice {index + 4:03d}.raw").write_bytes(content)
    place: list[str] = {
        "in the file": ["LOCAL"],
        "beside it": [f"{number} slice 004.raw"],
        "in a list of files": [
            pick("LIST", f"LIST {axes - 1}D"),
            *(f"{number} slice {index + 4:03d}.raw" for index in range(len(stored))),
        ],
        "in numbered files": [f"{number}_%03d.raw 4 {3 + len(stored)} 1"],
    }[wanted["voxels"]]
    if wanted["voxels"] == "in numbered files":
        for index in range(len(stored)):
            (folder / f"{number} slice {index + 4:03d}.raw").rename(folder / f"{number}_{index + 4:03d}.raw")
    between, end = pick(" = ", ": ", "="), pick("\n", "\n", "\r\n")
    lines = [f"{key}{between}{value}" for key, value in fields] + [
        f"ElementDataFile{between}{place[0]}",
        *place[1:],
    ]
    path = folder / f"{number}.{pick('mha', 'mhd')}"
    path.write_bytes(
        "".join(line + end for line in lines).encode() + (stored[0] if place == ["LOCAL"] else b"")
    )

    if wanted["place"] == "not said":
        origin, direction = np.zeros(axes), np.eye(axes)
    return Made(
        path,
        data,
        None if spacing is None else unit * spacing[:ndim],
        np.pad(direction[:ndim, :ndim], ((0, 0), (0, 3 - ndim))) * TO_RAS,
        np.pad(origin[:ndim], (0, 3 - ndim)) * unit * TO_RAS,
        wanted["place"] != "not said",
        unit,
        [why for value, why in REFUSED.items() if value in wanted.values()],
    )


def parse(path: Path) -> np.ndarray:
    """Read the voxels ``(channels, [volumes,] [z,] y, x)`` of a MetaImage by other means than the package."""
    content, fields, position = path.read_bytes(), {}, 0
    while "ElementDataFile" not in fields:
        end = content.index(b"\n", position)
        key, value = re.split(r"\s*[=:]\s*", content[position:end].decode().strip(), maxsplit=1)
        fields[key], position = value, end + 1
    sizes, place = [int(each) for each in fields["DimSize"].split()], fields["ElementDataFile"]
    channels = int(fields.get("ElementNumberOfChannels", 1))
    dtype = np.dtype(
        {alias: code for each in ALIASES.values() for alias, code in each}[fields["ElementType"]]
    )
    order = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    skip = int(fields.get("HeaderSize", 0))
    if place == "LOCAL":
        parts = [content[position:]]
    elif place.startswith("LIST"):
        names = [name.strip() for name in content[position:].decode().split("\n")]
        parts = [(path.parent / name).read_bytes() for name in names if name]
    elif "%" in place:
        pattern, first, last, step = place.split()
        parts = [
            (path.parent / (pattern % n)).read_bytes() for n in range(int(first), int(last) + 1, int(step))
        ]
    else:
        parts = [(path.parent / place).read_bytes()]
    parts = [part[3:] if skip == -1 else part[skip:] for part in parts]
    if fields.get("CompressedData") == "True":
        parts = [zlib.decompress(part, zlib.MAX_WBITS | 32) for part in parts]
    whole = b"".join(parts)
    if fields.get("BinaryData") == "False":
        kind = float if dtype.kind == "f" else int
        values = np.array([kind(each) for each in whole.split()], dtype)
    else:
        values = np.frombuffer(whole, dtype.newbyteorder("<" if order == "False" else ">"))
    return np.moveaxis(values.reshape(*sizes[::-1], channels), -1, 0)


@pytest.mark.parametrize("count", [300, pytest.param(6000, marks=pytest.mark.slow)])
def test_every_pair_of_features(
    tmp_path: Path, record_property: Callable[[str, object], None], count: int
) -> None:
    outcomes = Outcomes("MetaImage")
    for number, wanted in enumerate(covering_combinations(FEATURES, exists, at_least=count)):
        made = make(tmp_path, number, wanted)
        compare(made, wanted, outcomes)
        if not made.refused:
            np.testing.assert_array_equal(parse(made.path).reshape(made.data.shape), made.data)
    outcomes.check(possible_pairs(FEATURES, exists), record_property)


def test_simpleitk_sees_the_generated_files_as_they_were_meant(tmp_path: Path) -> None:
    """Test the generator: files of the features that ITK reads right, of lengths in millimetres."""
    features = {**FEATURES, "stored": ("raw", "zlib"), "voxels": ("in the file", "beside it")}
    compared = 0
    for number, wanted in enumerate(covering_combinations(features, exists, at_least=200)):
        made = make(tmp_path, number, wanted)
        header = made.path.read_bytes()
        # Without the size of compressed data, ITK returns whatever was in its memory, and no error.
        guesses = b"CompressedData" in header and b"CompressedDataSize" not in header
        if made.refused or made.unit != 1 or guesses:
            continue
        compare_with_simpleitk(made)
        compared += 1
    assert compared > 30
