"""PNG, JPEG and BMP files of every pair of features are read as they were meant, or refused."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image as PillowImage

from conformance.bmp_files import BMP_FEATURES, bmp_exists, make_bmp
from conformance.combinations import Combination, Outcomes, covering_combinations, possible_pairs
from conformance.jpeg_files import JPEG_COLOURS, JPEG_FEATURES, jpeg_exists, make_jpeg
from conformance.picture import Made
from conformance.png_files import PNG_FEATURES, PNG_PIXELS, make_png, png_exists, with_right_checksums
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.errors import DataError

FORMATS: dict[
    str, tuple[dict[str, Sequence[Any]], Callable[[Combination], bool], Callable[[Combination], Made]]
]
FORMATS = {
    "PNG": (PNG_FEATURES, png_exists, make_png),
    "JPEG": (JPEG_FEATURES, jpeg_exists, make_jpeg),
    "BMP": (BMP_FEATURES, bmp_exists, make_bmp),
}


def check(path: Path, read: Callable[[Path], Any], expected: np.ndarray | None, why: str, slack: int) -> str:
    """Return what is wrong with what became of a file, or nothing."""
    try:
        image = read(path)
    except DataError as error:
        if expected is not None:
            return f"refused: {error}"
        return "" if re.search(why, str(error)) and "damaged" not in str(error) else f"refused with {error}"
    if expected is None:
        return "read, should be refused"
    if image.data.dtype != expected.dtype or image.data.shape != expected.shape:
        return f"{image.data.dtype} {image.data.shape}, should be {expected.dtype} {expected.shape}"
    off = int(np.abs(image.data.astype(int) - expected).max())
    return f"wrong by {off}" if off > slack else ""


def outcomes_of(name: str, folder: Path, at_least: int) -> Outcomes:
    features, exists, make = FORMATS[name]
    outcomes = Outcomes(name)
    for combination in covering_combinations(features, exists, at_least=at_least):
        content, suffix, (image, labels, why) = make(combination)
        path = folder / f"a{suffix}"
        path.write_bytes(content)
        # Decoders may round the conversion of JPEG's colours as they like.
        slack = int(str(combination.get("colours")).startswith("YCbCr"))
        wrong = check(path, read_image, image, why, slack)
        wrong_labels = check(path, read_labels, labels, f"{why}|channel|JPEG", 0)
        outcomes.differences += [f"{combination}: {each}" for each in (wrong, wrong_labels) if each]
        outcomes.add(combination, "refused" if image is None else "read")
    return outcomes


THOUSANDS = [pytest.param(name, 3000, marks=pytest.mark.slow) for name in FORMATS]


@pytest.mark.parametrize(("name", "at_least"), [("PNG", 150), ("JPEG", 120), ("BMP", 120), *THOUSANDS])
def test_files_are_read_as_meant_or_refused(
    tmp_path: Path, name: str, at_least: int, record_property: Callable[[str, object], None]
) -> None:
    outcomes_of(name, tmp_path, at_least).check(possible_pairs(*FORMATS[name][:2]), record_property)


def second_reader(name: str, content: bytes) -> np.ndarray:
    """Return ``(channels, y, x)`` as another library sees a file, as it is stored."""
    if name == "BMP":
        with PillowImage.open(io.BytesIO(content)) as picture:
            data = np.asarray(picture.convert("RGB") if picture.mode in ("P", "RGBA") else picture)
    else:
        data = (imagecodecs.png_decode if name == "PNG" else imagecodecs.jpeg8_decode)(content)
    return data[None] if data.ndim == 2 else data.transpose(2, 0, 1)


# What the second reader sees as well; libpng stretches few bits.
CONFIRMED: dict[str, dict[str, Sequence[Any]]] = {
    "PNG": {"pixels": [each for each in PNG_PIXELS if "grey" not in each or "8" in each or "16" in each]},
    "JPEG": {
        "process": ("baseline", "extended", "progressive"),
        "bits": (8,),
        "colours": [each for each in JPEG_COLOURS if "K" not in each and each != "two channels"],
    },
    "BMP": {
        "bits": (1, 4, 8, 16, 24, 32),
        "palette": ("no", "colours"),
        "pixels": ("plain", "5-6-5"),
        "header": ("12 bytes", "40 bytes", "56 bytes", "108 bytes", "124 bytes"),
        "before the pixels": ("nothing",),
    },
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_second_reader_sees_what_the_files_were_made_of(name: str) -> None:
    """The expected arrays are not wrong in the same way as the reader."""
    features, exists, make = FORMATS[name]
    confirmed = 0
    features = {**features, "orientation": ("not said",), **CONFIRMED[name]}
    for combination in covering_combinations(features, exists, at_least=60):
        content, _, (image, _, _) = make(combination)
        if image is not None:
            data = second_reader(name, content)[: len(image)]
            assert data.shape == image.shape, combination
            slack = int(str(combination.get("colours")).startswith("YCbCr"))
            assert np.abs(data.astype(int) - image).max() <= slack, combination
            confirmed += 1
    assert confirmed >= 30


@pytest.mark.parametrize("name", FORMATS)
def test_mutated_files_end_in_a_picture_or_a_data_error(tmp_path: Path, name: str) -> None:
    features, exists, make = FORMATS[name]
    few = {**features, "orientation": ("not said", 6)}
    few = {feature: values for feature, values in few.items() if feature in features}
    made = [make(each)[:2] for each in covering_combinations(few, exists)]
    generator = random.Random(0)
    ends = set()
    for number in range(400):
        content, suffix = made[number % len(made)]
        mutated = bytearray(content)
        for _ in range(generator.randrange(1, 4)):
            # Headers are where most can go wrong.
            end = len(mutated) if generator.randrange(2) else min(120, len(mutated))
            mutated[generator.randrange(end)] = generator.choice((0, 1, 128, 255, generator.randrange(256)))
        path = tmp_path / f"a{suffix}"
        path.write_bytes(with_right_checksums(mutated) if name == "PNG" else mutated)
        try:
            image = read_image(path)
            assert image.data.dtype in (np.uint8, np.uint16)
            assert image.num_channels in (1, 3)
            ends.add("read")
        except DataError as error:
            ends.add("refused" if error.where == str(path) else "refused without its name")
    assert ends == {"read", "refused"}
