"""BMP: palettes, masks, and headers that are not read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conformance import bmp_files
from conformance.picture import refusal
from swin_umamba.data.image_io import read_image, read_labels

GREY = np.arange(6).reshape(2, 3, 1)


def test_a_bmp_mask_with_two_colours_in_eight_bits(tmp_path: Path) -> None:
    """Pillow takes it for a picture of one bit a pixel."""
    mask = np.random.default_rng(0).integers(0, 2, (5, 21))
    content = bmp_files.bmp_file(bmp_files.bmp_rows(mask, 8), 21, 5, 8, palette=[(0, 0, 0), (255, 255, 255)])
    (tmp_path / "a.bmp").write_bytes(content)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.bmp").data[0], mask)
    np.testing.assert_array_equal(read_image(tmp_path / "a.bmp").data, np.stack([mask * 255] * 3))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_bmp_palette_of_its_own_numbers_is_grey(tmp_path: Path, bits: int) -> None:
    values = np.arange(2**bits)[None]
    palette = [(i, i, i) for i in range(2**bits)]
    content = bmp_files.bmp_file(bmp_files.bmp_rows(values, bits), 2**bits, 1, bits, palette=palette)
    (tmp_path / "a.bmp").write_bytes(content)
    data = read_image(tmp_path / "a.bmp").data
    # A colour of few bits that is not a ramp to white stays a colour.
    np.testing.assert_array_equal(data, values[None] if bits == 8 else np.stack([values] * 3))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"planes": 3}, "3 planes"),
        ({"compression": 4}, "not supported"),
        ({"compression": 11}, "not supported"),
        ({"bits": 64}, "not supported"),
        ({"header": 64, "compression": 3}, "not supported"),
        ({"width": -3}, "-3 x 2"),
        ({"width": 0}, "0 x 2"),
        ({"height": 3}, "cut off"),
        ({"width": 2**30, "height": 2**30}, "the limit is"),
        ({"bits": 32, "compression": 3, "masks": (0xF0F, 0xF0, 0xF000), "width": 1, "height": 1}, "0xf0f"),
        (
            {"bits": 16, "compression": 3, "masks": (0x1F0000, 0x7E0, 0x1F), "width": 1, "height": 1},
            "0x1f0000",
        ),
        ({"bits": 32, "compression": 3, "masks": (0, 0, 0), "width": 1, "height": 1}, "mask 0x0"),
    ],
)
def test_bmp_headers_that_are_not_read(tmp_path: Path, change: dict[str, int], why: str) -> None:
    options = {"width": 3, "height": 2, "bits": 24, **change}
    content = bmp_files.bmp_file(bmp_files.bmp_rows(GREY[..., 0], 24), **options)
    assert why in refusal(tmp_path / "a.bmp", content)


def test_an_array_of_os2_bitmaps_is_no_bmp_picture(tmp_path: Path) -> None:
    assert "not a BMP picture" in refusal(tmp_path / "a.bmp", b"BA" + bytes(100))
