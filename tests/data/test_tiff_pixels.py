"""Strips and tiles: every one there, whole, and as large as the tags say."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image as PillowImage

from conformance.tiff_writer import BYTE, LONG, SHORT, Coding, Page, page_of, tiff_file
from little_memory import little_memory
from swin_umamba.data.image_io import read_image
from swin_umamba.errors import DataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 50, 1), np.uint8)
CODINGS = [
    Coding(compression=compression, **chunks)
    for compression in ("none", "LZW", "deflate", "PackBits", "Zstandard", "JPEG")
    for chunks in ({"rows": 16}, {"tile": (16, 32)})
]


def read(path: Path, page: Page) -> np.ndarray:
    path.write_bytes(tiff_file([page]))
    return read_image(path).data


def refusal(path: Path, page: Page, most: int = 5_000_000) -> str:
    """Return why a file is refused; reading it must not take more memory than ``most``."""
    with little_memory(most), pytest.raises(DataError) as caught:
        read(path, page)
    return str(caught.value)


@pytest.mark.parametrize("coding", CODINGS, ids=lambda each: f"{each.compression}-{each.rows}")
@pytest.mark.parametrize("number", [0, -1])
def test_a_strip_or_tile_that_is_cut_short(tmp_path: Path, coding: Coding, number: int) -> None:
    page = page_of(PIXELS, 1, coding)
    whole = page.segments[number]
    for length in (0, 1, len(whole) // 2, len(whole) * 3 // 4):
        page.segments[number] = whole[:length]
        assert "is damaged" in refusal(tmp_path / "a.tif", page)


@pytest.mark.parametrize("coding", CODINGS, ids=lambda each: f"{each.compression}-{each.rows}")
@pytest.mark.parametrize("change", [-1, 1])
def test_a_strip_or_tile_too_few_or_too_many(tmp_path: Path, coding: Coding, change: int) -> None:
    page = page_of(PIXELS, 1, coding)
    page.segments = page.segments[:-1] if change < 0 else [*page.segments, page.segments[0]]
    count = len(page.segments)
    why = refusal(tmp_path / "a.tif", page)
    assert f"it lists {count} of {count - change}" in why or f"has {count} values, at most {count - 1}" in why


@pytest.mark.parametrize("compression", ["none", "LZW", "deflate", "Zstandard"])
def test_a_last_strip_with_rows_that_no_image_has(tmp_path: Path, compression: str) -> None:
    """Some writers fill it up; and bytes behind the pixels are nobody's."""
    padded = np.concatenate([PIXELS, PIXELS[:8]])
    page = page_of(padded, 1, Coding(compression=compression, rows=16))
    page.tags[257] = (SHORT, 40)
    page.segments[0] += b"behind" if compression in ("none", "LZW") else b""
    np.testing.assert_array_equal(read(tmp_path / "a.tif", page)[0], PIXELS[..., 0])


def test_strips_of_unlimited_rows_and_without_lengths(tmp_path: Path) -> None:
    page = page_of(PIXELS, 1, Coding())
    for rows in ((LONG, 2**32 - 1), (LONG, 0), None):
        page.tags.pop(278, None)
        if rows:
            page.tags[278] = rows
        np.testing.assert_array_equal(read(tmp_path / "a.tif", page)[0], PIXELS[..., 0])
    content = bytearray(tiff_file([page]))
    place = content.index((279).to_bytes(2, "little") + b"\4\0")
    content[place : place + 2] = (60000).to_bytes(2, "little")
    (tmp_path / "a.tif").write_bytes(content)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data[0], PIXELS[..., 0])


def test_lengths_of_plain_strips_that_are_too_large(tmp_path: Path) -> None:
    """Strips at the very end of the file, of which too many bytes are claimed."""
    page = page_of(PIXELS, 1, Coding())
    content = tiff_file([page])
    place = content.index((279).to_bytes(2, "little") + b"\4\0") + 8
    at = content.index((273).to_bytes(2, "little") + b"\4\0") + 8
    changed = bytearray(content + PIXELS.tobytes())
    changed[place : place + 4] = (8000).to_bytes(4, "little")
    changed[at : at + 4] = len(content).to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(changed)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data[0], PIXELS[..., 0])
    (tmp_path / "a.tif").write_bytes(changed[:-1])
    with pytest.raises(DataError, match="pixels are missing"):
        read_image(tmp_path / "a.tif")


def claim(page: Page, **tags: int) -> Page:
    return Page(
        {**page.tags, **{int(tag[1:]): (LONG, value) for tag, value in tags.items()}},
        page.segments,
        page.tiled,
    )


@pytest.mark.parametrize("coding", CODINGS, ids=lambda each: f"{each.compression}-{each.rows}")
def test_sizes_that_so_few_bytes_cannot_have(tmp_path: Path, coding: Coding) -> None:
    page = page_of(PIXELS[:16, :32], 1, coding)
    path = tmp_path / "a.tif"
    for size in (8000, 30_000, 2**31):
        why = refusal(
            path,
            claim(
                page, t256=size, t257=size, t278=size, **({"t322": size, "t323": size} if page.tiled else {})
            ),
        )
        assert any(each in why for each in ("is damaged", "limit", "not supported"))


def test_bytes_that_grow_beyond_what_the_tags_say(tmp_path: Path) -> None:
    """A stream of 16 MiB for a strip of 2 kB; the decoder gets room for the strip alone."""
    page = page_of(PIXELS, 1, Coding())
    page.tags[259], page.segments = (SHORT, 50000), [imagecodecs.zstd_encode(bytes(2**24))]
    assert "cannot be decompressed" in refusal(tmp_path / "a.tif", page, 1_000_000)
    page.tags[259], page.segments = (SHORT, 8), [zlib.compress(bytes(2**24), 9)]
    with little_memory(1_000_000):
        assert not read(tmp_path / "a.tif", page).any()


def test_zstandard_may_grow_as_deflate_may(tmp_path: Path) -> None:
    zeros = np.zeros((2000, 2000, 1), np.uint8)
    page = page_of(zeros, 1, Coding())
    for number, content in (
        (8, zlib.compress(zeros.tobytes(), 9)),
        (50000, imagecodecs.zstd_encode(zeros.tobytes())),
    ):
        page.tags[259], page.segments = (SHORT, number), [content]
        if number == 8:
            assert not read(tmp_path / "a.tif", page).any()
        else:
            assert "compressed more than 1032 times" in refusal(tmp_path / "a.tif", page)
            assert "damaged" not in refusal(tmp_path / "a.tif", page)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        *((number, "CCITT") for number in (2, 3, 4, 32771)),
        *((6, "old-style JPEG"), (34887, "LERC"), (34925, "LZMA"), (50001, "WebP"), (50002, "JPEG XL")),
        (12345, "number 12345"),
    ],
)
def test_other_compressions_are_not_called_damaged(tmp_path: Path, number: int, name: str) -> None:
    page = page_of(PIXELS, 1, Coding())
    page.tags[259] = (SHORT, number)
    why = refusal(tmp_path / "a.tif", page)
    assert f"compression {name} are not supported" in why
    assert "damaged" not in why


def test_lzw_of_before_tiff_6_is_not_called_damaged(tmp_path: Path) -> None:
    page = page_of(PIXELS, 1, Coding(compression="LZW"))
    page.segments = [b"\0\x01" + page.segments[0]]
    assert "before TIFF 6.0 are not supported" in refusal(tmp_path / "a.tif", page)


def jpeg(width: int, height: int, mode: str = "L", **options: Any) -> bytes:
    buffer = io.BytesIO()
    PillowImage.new(mode, (width, height), 77).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("stream", "photometric", "why"),
    [
        (jpeg(51, 40), 1, "40 x 51 pixels of 1 samples, the tags say 40 x 50 of 1"),
        (jpeg(50, 41), 1, "41 x 50 pixels"),
        (jpeg(50, 39), 1, "39 rows of 40"),
        (jpeg(50, 40).replace(b"\0\x28\0\x32", b"\xff\xff\xff\xff"), 1, "65535 x 65535 pixels"),
        (jpeg(50, 40, "RGB"), 1, "of 3 samples"),
        (jpeg(50, 40, "CMYK"), 2, "of 4 samples"),
        (jpeg(50, 40, "RGB"), 2, "colours called RGB by a tag and YCbCr inside are not supported"),
        (jpeg(50, 40, "RGB", keep_rgb=True), 6, "called YCbCr by a tag and RGB inside are not supported"),
        (jpeg(50, 40).replace(b"\xff\xc0", b"\xff\xc3"), 1, "process 3 are not supported"),
        (jpeg(50, 40).replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c"), 1, "JPEG of 12 bits"),
        (b"\xff\xd8\xff\xd9" * 50, 1, "no frame"),
        (b"\xff\xd8" + b"\xff" * 500, 1, "no frame"),
        (b"\xff\xd8\xff\xe0\0\0" + bytes(100), 1, "no frame"),
        (b"\xff\xd8\xff\xc0\0\x04\x08\0" + b"\xff" * 90, 1, ""),
        (bytes(900), 1, "not a JPEG stream"),
    ],
)
def test_jpeg_streams_that_are_not_what_the_tags_say(
    tmp_path: Path, stream: bytes, photometric: int, why: str
) -> None:
    page = page_of(np.repeat(PIXELS, 1 if photometric == 1 else 3, axis=2), photometric, Coding())
    page.tags[259], page.segments = (SHORT, 7), [stream]
    assert why in refusal(tmp_path / "a.tif", page)


def test_jpeg_tables_of_a_page(tmp_path: Path) -> None:
    page = page_of(
        np.full((40, 50, 3), (200, 30, 90), np.uint8), 6, Coding(compression="JPEG", tile=(16, 16))
    )
    assert len(page.tags[347][1]) > 100
    assert (
        np.abs(read(tmp_path / "a.tif", page).astype(int) - np.array([200, 30, 90])[:, None, None]).max() <= 2
    )
    page.tags[347] = (BYTE, b"\xff\xd8\xff\xd9")
    assert "is damaged" in refusal(tmp_path / "a.tif", page)


def test_tiles_larger_than_the_image(tmp_path: Path) -> None:
    page = page_of(PIXELS, 1, Coding(tile=(256, 256), compression="LZW"))
    np.testing.assert_array_equal(read(tmp_path / "a.tif", page)[0], PIXELS[..., 0])
    assert "tiles or strips of 65536 x 65536" in refusal(
        tmp_path / "a.tif", claim(page, t322=2**16, t323=2**16)
    )
    assert "tiles or strips of 0 x 16" in refusal(tmp_path / "a.tif", claim(page, t322=16, t323=0))
