"""PNG: depths, chunks, palettes, and damaged files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from conformance import png_files
from conformance.picture import refusal
from swin_umamba.data import pictures
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.errors import DataError

GREY = np.arange(6).reshape(2, 3, 1)


def png(
    width: int, height: int, depth: int, colour_type: int, rows: bytes, *chunks: png_files.Chunk
) -> bytes:
    """Assemble a PNG file of any bit depth from bytes that may not fit it."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_files.png_chunk(*each) for each in body)


@pytest.mark.parametrize(("depth", "row"), [(1, 0b01100000), (2, 0b00011011), (4, 0x0F)])
def test_few_bits_of_grey_keep_their_values(tmp_path: Path, depth: int, row: int) -> None:
    width = {1: 4, 2: 4, 4: 2}[depth]
    (tmp_path / "a.png").write_bytes(png(width, 1, depth, 0, bytes([0, row])))
    expected = {1: [0, 1, 1, 0], 2: [0, 1, 2, 3], 4: [0, 15]}[depth]
    assert read_labels(tmp_path / "a.png").data.tolist() == [[expected]]


def test_animation(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    frames = [PillowImage.fromarray(rgb), PillowImage.fromarray(255 - rgb)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="animation"):
        read_image(tmp_path / "a.png")


def test_every_flipped_bit_of_a_png_is_refused(tmp_path: Path) -> None:
    content = png_files.png_file(GREY, 8, png_files.GREY)
    for bit in range(0, 8 * len(content), 3):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "flipped.png").write_bytes(flipped)
        with pytest.raises(DataError):
            read_image(tmp_path / "flipped.png")


def test_pixel_limit_is_checked_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(12000, 12000, 8, 0, bytes(10)))
    with pytest.raises(DataError, match=f"the limit is {pictures.MAX_PIXELS}"):
        read_image(tmp_path / "bomb.png")
    (tmp_path / "huge.png").write_bytes(png(2**30, 2**30, 8, 0, bytes(10)))
    with pytest.raises(DataError, match=r"too large|limit"):
        read_image(tmp_path / "huge.png")


def test_a_size_that_the_file_cannot_hold_is_refused_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(8000, 8000, 8, 2, bytes(10)))
    with pytest.raises(DataError, match="192000000 bytes of pixels, which the file does not hold"):
        read_image(tmp_path / "a.png")


def test_what_stands_beside_the_pixels_of_a_png_stops_nobody(tmp_path: Path) -> None:
    """Pillow refuses texts of more than a megabyte, and large profiles."""
    large = zlib.compress(bytes(2**21))
    chunks = [(b"iCCP", b"mine\0\0" + large), (b"zTXt", b"Comment\0\0" + large), (b"vpAg", b"?")]
    chunks.append((b"acTL", struct.pack(">LL", 1, 0)))  # an animation of one frame, which is the picture
    (tmp_path / "a.png").write_bytes(png_files.png_file(GREY, 8, png_files.GREY, before=chunks))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").data[0], GREY[..., 0])


@pytest.mark.parametrize(
    ("chunks", "why"),
    [
        ([(b"CgBI", b"\x50\0\x20\2")], "not supported"),
        ([(b"ABCD", b"")], "not supported"),
        ([(b"fdAT", b"\0\0\0\1x")], "animation, which is not supported"),
        ([(b"tRNS", b"\0")], "transparent colour has 1 bytes"),
    ],
)
def test_chunks_that_change_the_picture_are_refused(
    tmp_path: Path, chunks: list[png_files.Chunk], why: str
) -> None:
    message = refusal(tmp_path / "a.png", png_files.png_file(GREY, 8, png_files.GREY, before=chunks))
    assert why in message
    assert ("damaged" in message) == ("bytes" in why)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ((3, 2, 8, 0, 1, 0, 0), "not supported"),
        ((3, 2, 8, 0, 0, 64, 0), "not supported"),
        ((3, 2, 8, 0, 0, 0, 2), "not supported"),
        ((3, 2, 3, 0, 0, 0, 0), "3 bits and colour type 0"),
        ((3, 2, 4, 2, 0, 0, 0), "4 bits and colour type 2"),
        ((3, 2, 8, 5, 0, 0, 0), "colour type 5"),
        ((3, 2, 8, 3, 0, 0, 0), "the palette has 0 bytes"),
        ((0, 2, 8, 0, 0, 0, 0), "no pixels"),
    ],
)
def test_impossible_headers(tmp_path: Path, header: tuple[int, ...], why: str) -> None:
    content = bytearray(png_files.png_file(GREY, 8, png_files.GREY))
    content[8:33] = png_files.png_chunk(b"IHDR", struct.pack(">IIBBBBB", *header))
    assert why in refusal(tmp_path / "a.png", bytes(content))
