"""Pictures of all formats: values, transparency, limits, and damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from conformance import bmp_files, png_files
from conformance.picture import refusal
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.errors import DataError

GREY = np.arange(6).reshape(2, 3, 1)


@pytest.fixture
def rgb() -> np.ndarray:
    """Random colours, uint8 (y, x, 3)."""
    return np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)


def save(path: Path, array: np.ndarray) -> Path:
    PillowImage.fromarray(array).save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_colours(tmp_path: Path, rgb: np.ndarray, suffix: str) -> None:
    image = read_image(save(tmp_path / f"a{suffix}", rgb))
    np.testing.assert_array_equal(image.data, rgb.transpose(2, 0, 1))
    assert image.spacing == (1.0, 1.0)
    assert image.data.flags.c_contiguous


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg"])
def test_every_truncation_is_refused(tmp_path: Path, rgb: np.ndarray, suffix: str) -> None:
    content = save(tmp_path / f"whole{suffix}", rgb).read_bytes()
    path = tmp_path / f"cut{suffix}"
    for length in range(1, len(content) - 2, 7):
        path.write_bytes(content[:length])
        with pytest.raises(DataError) as caught:
            read_image(path)
        assert caught.value.where == str(path)


@pytest.mark.parametrize(("suffix", "other"), [(".png", ".jpg"), (".jpg", ".png"), (".bmp", ".png")])
def test_wrong_suffix(tmp_path: Path, rgb: np.ndarray, suffix: str, other: str) -> None:
    save(tmp_path / f"a{other}", rgb).rename(tmp_path / f"a{suffix}")
    with pytest.raises(DataError, match="not a"):
        read_image(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_an_index_beyond_the_palette_is_no_colour_but_a_label(tmp_path: Path, suffix: str) -> None:
    if suffix == ".png":
        content = png_files.png_file(GREY, 8, png_files.PALETTE, before=[(b"PLTE", bytes(range(15)))])
    else:
        palette = [(i, i, i) for i in range(5)]
        content = bmp_files.bmp_file(bmp_files.bmp_rows(GREY[..., 0], 8), 3, 2, 8, palette=palette)
    assert "colour 5" in refusal(tmp_path / f"a{suffix}", content)
    np.testing.assert_array_equal(read_labels(tmp_path / f"a{suffix}").data[0], GREY[..., 0])


def test_a_file_larger_than_any_picture_is_not_taken_into_memory(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(DataError, match="the file has 2147483648 bytes"):
        read_image(tmp_path / "a.png")
