"""TIFF files of every pair of features are read as they were meant, or refused."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from conformance.combinations import Combination, Outcomes, covering_combinations, possible_pairs
from conformance.tiff_files import (
    CODING_FEATURES,
    COLOUR_FEATURES,
    COLOURS,
    STACK_FEATURES,
    Made,
    coding_exists,
    colours_exist,
    make_coding,
    make_colours,
    make_stack,
    predictor_fits,
    stack_exists,
)
from swin_umamba.data.image_io import Image, read_image, read_labels
from swin_umamba.errors import DataError

TABLES: dict[
    str, tuple[dict[str, Sequence[Any]], Callable[[Combination], bool], Callable[[Combination], Made]]
] = {
    "TIFF": (CODING_FEATURES, coding_exists, make_coding),
    "TIFF colours": (COLOUR_FEATURES, colours_exist, make_colours),
    "TIFF pages": (STACK_FEATURES, stack_exists, make_stack),
}


def check(path: Path, read: Callable[[Path], Image], made: Made, expected: np.ndarray | None) -> str:
    """Return what is wrong with what became of a file, or nothing."""
    try:
        image = read(path)
    except DataError as error:
        if expected is not None:
            return f"refused: {error}"
        return "" if re.search(made.why, str(error)) and "damaged" not in str(error) else f"refused: {error}"
    if expected is None:
        return "read, should be refused"
    if image.data.dtype != expected.dtype or image.data.shape != expected.shape:
        return f"{image.data.dtype} {image.data.shape}, should be {expected.dtype} {expected.shape}"
    wanted = made.spacing or (1.0,) * (expected.ndim - 1)
    if image.has_spacing != (made.spacing is not None) or not np.allclose(
        image.spacing, wanted, rtol=1e-6, atol=0
    ):
        return f"spacing {image.spacing}, known {image.has_spacing}; should be {made.spacing}"
    if image.has_orientation or not image.data.flags.c_contiguous or not image.data.dtype.isnative:
        return "not as images are"
    if made.slack:
        off = int(np.abs(image.data.astype(int) - expected).max())
        return f"wrong by {off}" if off > made.slack else ""
    return "" if np.array_equal(image.data, expected) else "other values"


def outcomes_of(name: str, folder: Path, at_least: int) -> Outcomes:
    features, exists, make = TABLES[name]
    outcomes = Outcomes(name)
    for combination in covering_combinations(features, exists, at_least=at_least):
        made = make(combination)
        path = folder / "a_0000.tif"
        path.write_bytes(made.content)
        for file in folder.glob("*.json"):
            file.unlink()
        for beside, content in made.beside.items():
            (folder / beside).write_text(content)
        for read, expected in ((read_image, made.image), (read_labels, made.labels)):
            wrong = check(path, read, made, expected)
            outcomes.differences += [f"{combination} {read.__name__}: {wrong}"] if wrong else []
        outcomes.add(combination, "refused" if made.image is None else "read")
    return outcomes


THOUSANDS = [pytest.param(name, 3000, marks=pytest.mark.slow) for name in TABLES]


@pytest.mark.parametrize(
    ("name", "at_least"), [("TIFF", 180), ("TIFF colours", 150), ("TIFF pages", 100), *THOUSANDS]
)
def test_files_are_read_as_meant_or_refused(
    tmp_path: Path, name: str, at_least: int, record_property: Callable[[str, object], None]
) -> None:
    outcomes_of(name, tmp_path, at_least).check(possible_pairs(*TABLES[name][:2]), record_property)


@pytest.mark.parametrize("predictor", ["horizontal", "floating point"])
def test_predictors_that_programs_read_differently_are_refused(tmp_path: Path, predictor: str) -> None:
    plain = {"bytes": "little-endian", "pixels in": "strips", "channels": "one", "bits in a byte": "usual"}
    refused = 0
    for compression, values in itertools.product(CODING_FEATURES["compression"], CODING_FEATURES["values"]):
        features = {**plain, "compression": compression, "values": values, "predictor": predictor}
        if not predictor_fits(features) and (compression != "JPEG" or values == "8 bits"):
            made = make_coding(features)
            (tmp_path / "a.tif").write_bytes(made.content)
            assert check(tmp_path / "a.tif", read_image, made, None) == "", features
            refused += 1
    assert refused > 20


def by_tifffile(content: bytes) -> np.ndarray:
    """Return ``(channels, y, x)``; it knows nothing of alpha and orientation."""
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        data = page.asarray()
    return data[None] if data.ndim == 2 else data if page.planarconfig == 2 else data.transpose(2, 0, 1)


def by_libtiff(content: bytes) -> np.ndarray:
    """Return red, green and blue ``(3, y, x)``, which libtiff makes of anything."""
    return imagecodecs.tiff_decode(content, index=0, asrgb=True)[..., :3].transpose(2, 0, 1)


def by_pillow(content: bytes) -> np.ndarray:
    """Return ``(channels, y, x)``; it stretches few bits, and knows no unnamed channels."""
    with PillowImage.open(io.BytesIO(content)) as picture:
        data = np.asarray(picture.convert("RGB") if picture.mode in ("P", "YCbCr") else picture)
    return data[None] if data.ndim == 2 else data.transpose(2, 0, 1)


# What the second readers know; both are silent about the rest, or wrong.
CONFIRMED: list[tuple[str, Callable[[bytes], np.ndarray], dict[str, Sequence[Any]]]] = [
    ("TIFF", by_tifffile, {}),
    (
        "TIFF",
        by_pillow,
        {
            "values": ("1 bit", "8 bits", "12 bits", "16 bits", "float 32"),
            "channels": ("one",),
            "bits in a byte": ("usual",),
            "bytes": ("little-endian", "BigTIFF little-endian"),
        },
    ),
    (
        "TIFF",
        by_pillow,
        {
            "values": ("8 bits",),
            "bits in a byte": ("usual",),
            "bytes": ("little-endian", "big-endian", "BigTIFF little-endian"),
        },
    ),
    (
        "TIFF colours",
        by_tifffile,
        {"colours": [each for each in COLOURS if each not in ("0 is white", "YCbCr")]},
    ),
    (
        "TIFF colours",
        by_libtiff,
        {"values": ("8 bits",), "colours": ("grey", "RGB", "RGB and opaque alpha", "YCbCr")},
    ),
    (
        "TIFF colours",
        by_pillow,
        {
            "values": ("8 bits",),
            "channels": ("together",),
            "colours": (
                "grey",
                "0 is white",
                "RGB",
                "RGB and opaque alpha",
                "palette",
                "YCbCr",
                "YCbCr in JPEG",
                "YCbCr of half resolution in JPEG",
            ),
        },
    ),
]


@pytest.mark.parametrize(("name", "second_reader", "known"), CONFIRMED)
def test_a_second_reader_sees_what_the_files_were_made_of(
    name: str, second_reader: Callable[[bytes], np.ndarray], known: dict[str, Sequence[Any]]
) -> None:
    """The expected arrays are not wrong in the same way as the reader."""
    features, exists, make = TABLES[name]
    few = {"orientation": ("not said",), "pages": (1,)} if name == "TIFF colours" else {}
    confirmed = 0
    for combination in covering_combinations({**features, **few, **known}, exists, at_least=60):
        made = make(combination)
        if made.image is not None:
            data = second_reader(made.content)
            wanted = (
                made.labels
                if combination.get("colours", "").startswith("palette") and data.shape[0] == 1
                else made.image
            )
            assert data.shape[1:] == wanted.shape[1:], combination
            data = data[: len(wanted)].astype(wanted.dtype)
            np.testing.assert_allclose(data, wanted, rtol=0, atol=made.slack, err_msg=str(combination))
            confirmed += 1
    assert confirmed >= 8
