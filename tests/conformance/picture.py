"""What the generators of PNG, JPEG and BMP files share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conformance.combinations import Combination, generator_of
from conformance.exif import as_seen
from swin_umamba.data.image_io import read_image
from swin_umamba.errors import DataError

SIZES = ((1, 1), (1, 9), (5, 3), (8, 8), (9, 13), (17, 6))
ORIENTATIONS = ("not said", *range(1, 9))

# What a file must become: colours, the same as a label map, each None if refused and then why.
Expected = tuple[np.ndarray | None, np.ndarray | None, str]
Made = tuple[bytes, str, Expected]


def sizes_of(combination: Combination) -> tuple[np.random.Generator, int, int]:
    """Return random numbers and a size that depend on nothing but the combination."""
    generator = generator_of(combination)
    return generator, *SIZES[int(generator.integers(len(SIZES)))]


def turned(expected: Expected, orientation: int | str) -> Expected:
    if orientation == "not said":
        return expected
    image, labels, why = expected
    return *(each if each is None else as_seen(each, int(orientation)) for each in (image, labels)), why


def refusal(path: Path, content: bytes) -> str:
    """Return why a file of this content is not read."""
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_image(path)
    return str(caught.value)
