"""Pages and tags of TIFF files: hostile claims end before memory is taken for them."""

from __future__ import annotations

import itertools
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from conformance.tiff_writer import ASCII, LONG, RATIONAL, SHORT, Coding, page_of, tiff_file
from little_memory import little_memory
from swin_umamba.data import tiff_tags
from swin_umamba.data.image_io import read_image
from swin_umamba.data.tiff_tags import MAX_TAGS_OF_A_PAGE, read_pages
from swin_umamba.errors import DataError

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)


def refusal(path: Path, content: bytes) -> str:
    """Return why a file is refused; reading it must take no memory to speak of."""
    path.write_bytes(content)
    with little_memory(20_000_000), pytest.raises(DataError) as caught:
        read_image(path)
    assert caught.value.where == str(path)
    assert caught.value.hint
    return str(caught.value)


def directory(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """Return a little-endian directory of (tag, type, count, value)."""
    return (
        struct.pack("<H", len(entries))
        + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        + struct.pack("<I", following)
    )


HEAD = b"II*\0" + struct.pack("<I", 8)


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n" + bytes(40), b"%PDF-1.7", b"II", b"II*", b"MM\0\x2b\0\x09"]
)
def test_what_is_no_tiff_file_is_not_called_damaged_pixels(tmp_path: Path, content: bytes) -> None:
    assert any(text in refusal(tmp_path / "a.tif", content) for text in ("not a TIFF file", "first bytes"))


def test_a_large_file_of_something_else_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with path.open("wb") as file:
        file.write(b"RIFF")
        os.truncate(path, 2**31)
    with little_memory(1_000_000), pytest.raises(DataError, match="not a TIFF file"):
        read_image(path)


def test_tags_that_claim_a_whole_large_file(tmp_path: Path) -> None:
    """Each tag that is looked at, with as many values as a file of 2 GiB of nothing can hold."""
    path = tmp_path / "a.tif"
    tags = (*range(256, 260), 254, 262, 266, 270, 273, 274, 277, 278, 279, 284, 305, 317, 320, 322, 338, 339)
    for tag in tags:
        good = {256: 4, 257: 3, 258: 8, 259: 1, 262: 3, 273: 8, 277: 1, 278: 3, 279: 12} | (
            {322: 16, 323: 16} if tag == 322 else {}
        )
        entries = [(each, 4, 1, value) for each, value in sorted((good | {tag: 0}).items())]
        entries = [
            (tag, 2 if tag in (270, 305) else 4, 2**28, 4096) if each[0] == tag else each for each in entries
        ]
        path.write_bytes(HEAD + directory(*entries))
        os.truncate(path, 2**31)
        with little_memory(20_000_000), pytest.raises(DataError):
            read_image(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (HEAD + directory((256, 4, 1, 5), following=8), "circle"),
        (HEAD + directory((256, 4, 1, 5), following=26) + directory((256, 4, 1, 5), following=8), "circle"),
        (HEAD + directory((256, 4, 1, 5), following=10**9), "leads to byte 1000000000"),
        (b"II*\0" + struct.pack("<I", 0) + bytes(20), "no pages"),
        (HEAD + struct.pack("<H", 0) + bytes(10), "claims 0 tags"),
        (HEAD + struct.pack("<H", MAX_TAGS_OF_A_PAGE + 1) + bytes(70000), "4097 tags"),
        (HEAD + struct.pack("<H", 100) + bytes(50), "cut off"),
        (HEAD + directory((256, 4, 2**31, 8)), "outside the file"),
        (HEAD + directory((256, 2, 4, 0)), "no numbers"),
        (HEAD + directory((256, 11, 1, 0)), "no whole number"),
        (b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63), "9223372036854775808 tags"),
        (b"II+\0\x04\0\0\0" + bytes(30), "first bytes"),
    ],
)
def test_broken_chains_and_tags(tmp_path: Path, content: bytes, why: str) -> None:
    assert why in refusal(tmp_path / "a.tif", content)


def test_more_pages_than_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_tags, "MAX_PAGES", 50)
    pages = [page_of(PIXELS, 1, Coding())] * 51
    assert "still more pages" in refusal(tmp_path / "a.tif", tiff_file(pages))
    (tmp_path / "a.tif").write_bytes(tiff_file(pages[:50]))
    assert read_image(tmp_path / "a.tif").spatial_shape == (50, 3, 4)


def test_a_small_file_of_many_tags_that_share_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directories that overlap: a thousand pages of a thousand tags in 40 kB."""
    monkeypatch.setattr(tiff_tags, "MAX_TAGS", 20_000)
    # Each directory begins with the number 1024 and ends 12290 bytes on; that of page n begins 4 bytes later.
    content = bytearray(HEAD + struct.pack("<I", 1024) * 4096)
    places = range(8, 4008, 4)
    for place, following in itertools.pairwise(places):
        struct.pack_into("<I", content, place + 2 + 12 * 1024, following)
    assert "still more pages" in refusal(tmp_path / "a.tif", bytes(content))


def test_values_of_every_type(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tags = {"t282": (RATIONAL, [(1, 3), (1, 0)]), "t270": (ASCII, "µm"), "t320": (SHORT, [1, 2, 65535])}
    for order in ("<", ">"):
        for big in (False, True):
            page = page_of(PIXELS, 1, Coding(order=order), **tags)
            path.write_bytes(tiff_file([page, page], order, big))
            with path.open("rb") as file:
                pages = read_pages(path, file)
                assert len(pages) == 2
                np.testing.assert_array_equal(pages[1].array(282), [1 / 3, np.inf])
                assert pages[1].texts(270) == ["µm"]
                assert pages[1].array(320).tolist() == [1, 2, 65535]
                assert pages[1].array(320).dtype.isnative
                assert (pages[0].number_of(257, 0), pages[0].number_of(999, 7), pages[0].number) == (3, 7, 0)


def test_texts_of_other_encodings_and_unknown_types(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    page = page_of(PIXELS, 1, Coding())
    page.tags[270] = (1, "µm".encode("latin-1"))
    page.tags[65000] = (LONG, 1)
    content = bytearray(tiff_file([page]))
    content[content.index(struct.pack("<HHI", 65000, LONG, 1)) + 2] = 99
    path.write_bytes(content)
    with path.open("rb") as file:
        (found,) = read_pages(path, file)
        assert found.texts(270) == ["µm"]
        assert 65000 not in found
    np.testing.assert_array_equal(read_image(path).data[0], PIXELS[..., 0])
