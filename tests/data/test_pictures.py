"""PNG, BMP and JPEG: values of every mode, and damaged files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from swin_umamba.data import pictures
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.errors import DataError


@pytest.fixture
def rgb() -> np.ndarray:
    """Random colours, uint8 (y, x, 3)."""
    return np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)


def save(path: Path, array: np.ndarray, mode: str | None = None) -> Path:
    picture = PillowImage.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path)
    return path


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    """Assemble a PNG file of any bit depth."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_colours(tmp_path: Path, rgb: np.ndarray, suffix: str) -> None:
    image = read_image(save(tmp_path / f"a{suffix}", rgb))
    np.testing.assert_array_equal(image.data, rgb.transpose(2, 0, 1))
    assert image.spacing == (1.0, 1.0)
    assert image.data.flags.c_contiguous


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_grey(tmp_path: Path, rgb: np.ndarray, suffix: str) -> None:
    np.testing.assert_array_equal(
        read_image(save(tmp_path / f"a{suffix}", rgb[..., 0])).data, rgb[None, ..., 0]
    )


def test_16_bit_grey(tmp_path: Path) -> None:
    grey = np.array([[0, 1, 255], [256, 40000, 65535]], np.uint16)
    for read in (read_image, read_labels):
        data = read(save(tmp_path / "a.png", grey)).data
        np.testing.assert_array_equal(data, grey[None])
        assert data.dtype == np.uint16


def test_jpeg_holds_images_but_no_labels(tmp_path: Path) -> None:
    smooth = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (64, 64, 3))
    path = save(tmp_path / "a.jpg", np.ascontiguousarray(smooth))
    np.testing.assert_allclose(read_image(path).data, smooth.transpose(2, 0, 1), atol=3)
    with pytest.raises(DataError, match="JPEG"):
        read_labels(path)


@pytest.mark.parametrize(("depth", "row"), [(1, 0b01100000), (2, 0b00011011), (4, 0x0F)])
def test_few_bits_of_grey_keep_their_values(tmp_path: Path, depth: int, row: int) -> None:
    width = {1: 4, 2: 4, 4: 2}[depth]
    (tmp_path / "a.png").write_bytes(png(width, 1, depth, 0, bytes([0, row])))
    expected = {1: [0, 1, 1, 0], 2: [0, 1, 2, 3], 4: [0, 15]}[depth]
    assert read_labels(tmp_path / "a.png").data.tolist() == [[expected]]


def test_palette_gives_indices_as_labels_and_colours_as_image(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    picture = PillowImage.fromarray(indices).convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    picture.putdata(indices.ravel().tolist())
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png").data, indices[None])
    colours = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]])[indices]
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").data, colours.transpose(2, 0, 1))


def test_opaque_alpha_is_dropped_and_transparency_refused(tmp_path: Path, rgb: np.ndarray) -> None:
    rgba = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", rgba)).data, rgb.transpose(2, 0, 1))
    grey_alpha = save(tmp_path / "la.png", rgba, "LA")
    assert read_image(grey_alpha).num_channels == 1
    rgba[2, 3, 3] = 254
    with pytest.raises(DataError, match="1 pixels are transparent"):
        read_image(save(tmp_path / "b.png", rgba))


def test_modes_that_lose_values_are_refused(tmp_path: Path, rgb: np.ndarray) -> None:
    with pytest.raises(DataError, match="CMYK"):
        read_image(save(tmp_path / "a.jpg", rgb, "CMYK"))


def test_animation(tmp_path: Path, rgb: np.ndarray) -> None:
    frames = [PillowImage.fromarray(rgb), PillowImage.fromarray(255 - rgb)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="animation"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg"])
def test_every_truncation_is_refused(tmp_path: Path, rgb: np.ndarray, suffix: str) -> None:
    content = save(tmp_path / f"whole{suffix}", rgb).read_bytes()
    path = tmp_path / f"cut{suffix}"
    for length in range(1, len(content) - 2, 7):
        path.write_bytes(content[:length])
        with pytest.raises(DataError) as caught:
            read_image(path)
        assert caught.value.where == str(path)


def test_every_flipped_bit_of_a_png_is_refused(tmp_path: Path, rgb: np.ndarray) -> None:
    content = save(tmp_path / "a.png", rgb).read_bytes()
    for bit in range(0, 8 * len(content), 5):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "flipped.png").write_bytes(flipped)
        with pytest.raises(DataError):
            read_image(tmp_path / "flipped.png")


@pytest.mark.parametrize("suffix", [".bmp", ".jpg"])
def test_mutations_end_in_a_picture_or_a_data_error(tmp_path: Path, rgb: np.ndarray, suffix: str) -> None:
    content = save(tmp_path / f"a{suffix}", rgb).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / f"mutated{suffix}"
    refused = 0
    for _ in range(300):
        mutated = bytearray(content)
        for _ in range(3):
            mutated[int(rng.integers(0, len(mutated)))] = rng.integers(0, 256)
        path.write_bytes(mutated)
        try:
            image = read_image(path)
            assert image.data.dtype in (np.uint8, np.uint16)
            assert image.num_channels in (1, 3)
        except DataError:
            refused += 1
    assert refused > 0


def test_pixel_limit_is_checked_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(12000, 12000, 8, 0, bytes(10)))
    with pytest.raises(DataError, match=f"the limit is {pictures.MAX_PIXELS}"):
        read_image(tmp_path / "bomb.png")
    (tmp_path / "huge.png").write_bytes(png(2**30, 2**30, 8, 0, bytes(10)))
    with pytest.raises(DataError, match=r"too large|limit"):
        read_image(tmp_path / "huge.png")


@pytest.mark.parametrize(("suffix", "other"), [(".png", ".jpg"), (".jpg", ".png"), (".bmp", ".png")])
def test_wrong_suffix(tmp_path: Path, rgb: np.ndarray, suffix: str, other: str) -> None:
    save(tmp_path / f"a{other}", rgb).rename(tmp_path / f"a{suffix}")
    with pytest.raises(DataError, match="not a"):
        read_image(tmp_path / f"a{suffix}")


def test_a_size_that_the_file_cannot_hold_is_refused_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(8000, 8000, 8, 2, bytes(10)))
    with pytest.raises(DataError, match="192000000 bytes of pixels, which the file does not hold"):
        read_image(tmp_path / "a.png")
