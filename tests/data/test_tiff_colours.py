"""Palettes, YCbCr and alpha of TIFF files, beyond what the conformance tests try."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.tiff_writer import RATIONAL, SHORT, Coding, page_of, tiff_file
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.errors import DataError

RNG = np.random.default_rng(0)
INDICES = RNG.integers(0, 256, (6, 7, 1), np.uint8)


def write(path: Path, stored: np.ndarray, photometric: int, **tags: tuple[int, Any]) -> Path:
    path.write_bytes(tiff_file([page_of(stored, photometric, Coding(bits=8 * stored.itemsize), **tags)]))
    return path


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        (lambda colours: colours * 257, lambda colours: colours),  # as the standard and most programs have it
        (lambda colours: colours * 256, lambda colours: colours),  # as ImageJ has it
        (lambda colours: colours, lambda colours: colours),  # wrong, and common
        (lambda colours: np.minimum(colours * 257 + 100, 65535), lambda colours: colours),  # more than 8 bits
    ],
)
def test_palettes(tmp_path: Path, stored: Any, seen: Any) -> None:
    colours = RNG.integers(0, 256, (3, 256))
    colours[0, 0] = 255
    path = write(tmp_path / "a.tif", INDICES, 3, t320=(SHORT, stored(colours).ravel().tolist()))
    image = read_image(path).data
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - seen(colours)[:, INDICES[..., 0]]).max() <= 1
    np.testing.assert_array_equal(read_labels(path).data[0], INDICES[..., 0])


def test_pages_with_palettes_of_their_own(tmp_path: Path) -> None:
    tables = RNG.integers(0, 256, (2, 3, 256))
    pages = [page_of(INDICES, 3, Coding(), t320=(SHORT, (table * 257).ravel().tolist())) for table in tables]
    (tmp_path / "a.tif").write_bytes(tiff_file(pages))
    expected = np.stack([table[:, INDICES[..., 0]] for table in tables], axis=1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, expected)


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_alpha_is_dropped_only_where_it_is_opaque(tmp_path: Path, kind: int, dtype: type) -> None:
    opaque = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    stored = np.concatenate([RNG.integers(0, 2, (6, 7, 3)), np.full((6, 7, 1), opaque)], axis=2).astype(dtype)
    path = write(tmp_path / "a.tif", stored, 2, t338=(SHORT, kind))
    np.testing.assert_array_equal(read_image(path).data, stored[..., :3].transpose(2, 0, 1))
    stored[2, 3, 3] = 0
    stored[4, 1, 3] = opaque / 2
    with pytest.raises(DataError, match="2 pixels are transparent"):
        read_image(write(path, stored, 2, t338=(SHORT, kind)))


@pytest.mark.parametrize(
    ("samples", "extra", "kept"),
    [
        (4, None, [0, 1, 2, 3]),
        (4, (0,), [0, 1, 2, 3]),
        (8, (0,) * 5, [*range(8)]),
        (6, (0, 2, 0), [0, 1, 2, 3, 5]),
        (5, (2,), [0, 1, 2, 4]),
    ],
)
def test_what_is_not_called_alpha_is_a_channel(
    tmp_path: Path, samples: int, extra: tuple[int, ...] | None, kept: list[int]
) -> None:
    stored = RNG.integers(0, 256, (6, 7, samples), np.uint8)
    for number, kind in enumerate(extra or ()):
        stored[..., 3 + number] = 255 if kind == 2 else stored[..., 3 + number]
    tags = {"t338": (SHORT, list(extra))} if extra else {}
    image = read_image(write(tmp_path / "a.tif", stored, 2, **tags))
    np.testing.assert_array_equal(image.data, stored.transpose(2, 0, 1)[kept])


@pytest.mark.parametrize(
    "levels", [(0, 255, 128, 255, 128, 255), (16, 235, 128, 240, 128, 240), (0, 200, 100, 255, 90, 200)]
)
@pytest.mark.parametrize("weights", [(299, 587, 114), (2126, 7152, 722)])
def test_ycbcr_by_its_coefficients_and_levels(
    tmp_path: Path, levels: tuple[int, ...], weights: tuple[int, ...]
) -> None:
    """The colours are turned into YCbCr by the formulas of section 21, and must come back."""
    colours = RNG.integers(30, 220, (6, 7, 3)).astype(float)
    red, green, blue = (each / sum(weights) for each in weights)
    luma = colours @ np.array([red, green, blue])
    chroma = [(colours[..., 2] - luma) / (2 - 2 * blue), (colours[..., 0] - luma) / (2 - 2 * red)]
    ranges = zip([luma, *chroma], levels[::2], levels[1::2], (255, 127, 127), strict=True)
    stored = [black + values * (white - black) / most for values, black, white, most in ranges]
    rounded = np.clip(np.rint(np.stack(stored, axis=-1)), 0, 255).astype(np.uint8)
    path = write(
        tmp_path / "a.tif",
        rounded,
        6,
        t530=(SHORT, [1, 1]),
        t529=(RATIONAL, [(each, sum(weights)) for each in weights]),
        t532=(RATIONAL, [(each, 1) for each in levels]),
    )
    inside = (rounded > 0).all(axis=-1) & (rounded < 255).all(axis=-1)
    off = np.abs(read_image(path).data.transpose(1, 2, 0) - colours)[inside]
    assert len(off) > 20
    assert off.max() < 4  # one step of the stored numbers, which the levels make coarser
    with pytest.raises(DataError, match="make no sense"):
        read_image(write(path, rounded, 6, t530=(SHORT, [1, 1]), t532=(RATIONAL, [(0, 0)] * 6)))
